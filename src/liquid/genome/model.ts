// From a genome to a model, and back where a model is made of nothing that a genome cannot say.
import { LfmError } from '../../tensor/index.ts';
import type { Layer } from '../layer.ts';
import { block, stack } from '../layer.ts';
import type { Model, ModelOptions } from '../model.ts';
import { defineModel } from '../model.ts';
import type { Operator, Sharing } from '../operator.ts';
import { nameOf, shared } from '../operator.ts';
import type { LivClass } from '../space/classes.ts';
import { classOf, livClasses } from '../space/classes.ts';
import { liv } from '../space/liv.ts';
import { featureNames, partsOf } from '../space/named-points.ts';
import type { LivOptions } from '../space/parts.ts';
import type { Genome, LivGenes } from './genome.ts';
import { sharingGenes } from './genome.ts';
import type { SharingKind } from './strategies.ts';
import { sharedNames, strategyOf } from './strategies.ts';
import { validateGenome } from './validate.ts';

/** Sizes that a genome leaves open, as `liv` has them: each goes to the classes that have such a size. */
export type LivSizes = Pick<LivOptions, 'headDim' | 'intermediateSize' | 'theta'>;

export type GenomeSizes = LivSizes & DistributiveOmit<ModelOptions, 'layers'>;

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

/** A LIV a layer, each behind a norm of its own and added to the stream. Errors: `bad-genome`, naming the gene. */
export function layersFromGenome(genome: Genome, sizes: LivSizes): Layer[] {
  validateGenome(genome);
  const operators = new Map(livClasses.map((one) => [one.id, liv(withSizes(one, sizes))]));
  return genome.flatMap((genes) => {
    const one = livClasses[genes[0] - 1];
    const operator = operators.get(genes[0]);
    if (!one || !operator) return [];
    const sharing = sharingOf(one, genes);
    return [stack(block(sharing ? shared(operator, sharing) : operator))];
  });
}

/**
 * The model of a genome. Errors: `bad-genome`, naming the gene; `indivisible`, with the sizes that would do; `bad-sharing`,
 * naming both layers.
 */
export function modelFromGenome(genome: Genome, sizes: GenomeSizes): Model {
  return defineModel({ ...sizes, layers: layersFromGenome(genome, sizes) });
}

function withSizes({ parts }: LivClass, { headDim, intermediateSize, theta }: LivSizes): LivOptions {
  const { tokenMixing, nonlinearity } = parts;
  const isHeaded = tokenMixing === 'low rank' || tokenMixing === 'semi-separable';
  return {
    ...parts,
    ...(isHeaded && headDim !== undefined && { headDim }),
    ...(tokenMixing === 'diagonal' && intermediateSize !== undefined && { intermediateSize }),
    ...(nonlinearity === 'softmax' && theta !== undefined && { theta }),
  };
}

function sharingOf(one: LivClass, genes: LivGenes): Sharing | undefined {
  const [weights, features] = sharingGenes.map(({ kind, group, strategy }) => ({
    group: `${one.name} ${genes[group]}`,
    names: sharedNames(one, kind, genes[strategy]),
  }));
  const sharing: Sharing = {
    ...(weights && weights.names.length > 0 && { weights: { group: weights.group, features: weights.names } }),
    ...(features && features.names.length > 0 && { features }),
  };
  return sharing.weights || sharing.features ? sharing : undefined;
}

// --- back ---

/**
 * The genome of a model, and the sizes it leaves open. Operators of the library count as the class that they equal.
 * Errors: `no-genome`, naming the layer and what of it no genome says.
 */
export function genomeOf(model: Pick<Model, 'layers' | 'hiddenSize'>): { genome: Genome; sizes: LivSizes } {
  const sizes: { -readonly [K in keyof LivSizes]: LivSizes[K] } = {};
  const groups = new Map<string, Map<string, number>>();
  const genome = model.layers.flatMap(({ blocks }, depth) =>
    blocks.map(({ operators, norm, postNorm }): LivGenes => {
      const [operator, ...others] = operators;
      if (!operator || others.length > 0) throw noGenome(depth, `a block adds up ${operators.length} operators`);
      if (norm?.kind !== 'rms' || postNorm)
        throw noGenome(depth, 'its norms are not one RMS norm before each operator');
      const parts = partsOf(operator, model);
      const one = parts && classOf(parts);
      if (!one)
        throw noGenome(depth, `${nameOf(operator)} with its options is none of the ${livClasses.length} classes`);
      keepSizes(sizes, parts, depth);
      const [weights, features] = sharingGenes.map(({ kind }) => sharingGenesOf(one, operator, kind, depth, groups));
      return [one.id, ...(weights ?? [1, 1]), ...(features ?? [1, 1])];
    }),
  );
  return { genome, sizes };
}

/** Group and strategy. */
function sharingGenesOf(
  one: LivClass,
  operator: Operator,
  kind: SharingKind,
  depth: number,
  groups: Map<string, Map<string, number>>,
): [number, number] {
  const { weights, features } = operator.sharing ?? {};
  const found = kind === 'featurizer' ? weights && { group: weights.group, names: weights.features } : features;
  if (!found) return [1, 1];
  const names = found.names && featureNames(operator, found.names);
  const strategy = names && strategyOf(one, kind, names);
  if (!strategy)
    throw noGenome(depth, `no strategy of ${one.name} shares ${found.names?.join(', ') ?? 'all parameters'}`);
  // Numbers from 2: those that share nothing are in group 1.
  const numbers = groups.get(`${kind} ${one.name}`) ?? new Map<string, number>();
  groups.set(`${kind} ${one.name}`, numbers);
  const number = numbers.get(found.group) ?? numbers.size + 2;
  numbers.set(found.group, number);
  return [number, strategy];
}

function keepSizes(sizes: { -readonly [K in keyof LivSizes]: LivSizes[K] }, parts: LivOptions, depth: number): void {
  for (const key of ['headDim', 'intermediateSize', 'theta'] as const) {
    const [known, found] = [sizes[key], parts[key]];
    if (found === undefined) continue;
    if (known !== undefined && known !== found)
      throw noGenome(depth, `its ${key} is ${found}, that of layers before it ${known}`);
    sizes[key] = found;
  }
}

function noGenome(depth: number, why: string): LfmError {
  return new LfmError('no-genome', `No genome says what the model is at layer ${depth}: ${why}.`);
}
