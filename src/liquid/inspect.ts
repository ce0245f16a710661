// What a model is made of and what it costs, as plain figures: `lfm inspect`, and the server's page of a model.
import type { Device, Memory, RunType, Speed } from './accounting.ts';
import { decodeFlops, memoryAt, parameterCounts, prefillFlops, speedOn, stateBytes } from './accounting.ts';
import { printGenome } from './genome/genome.ts';
import { genomeOf } from './genome/model.ts';
import { operatorsOf } from './layer.ts';
import type { Model } from './model.ts';
import { nameOf } from './operator.ts';
import type { Link } from './place.ts';
import { LfmError } from '../tensor/error.ts';
import { countOf } from '../tensor/index.ts';

/** Lengths at which the state is told, as far as the context reaches. */
const LENGTHS = [1, 1024, 4096, 8192, 16_384, 32_768, 65_536, 131_072];

export interface Inspection {
  readonly name: string;
  readonly architecture: unknown;
  /** Where a genome says all that its layers are. */
  readonly genome?: string;
  readonly vocabulary: number;
  readonly hiddenSize: number;
  readonly contextLength: number;
  readonly parameters: number;
  /** Those that a token reads. */
  readonly activeParameters: number;
  /** Of one text, by its length in tokens; float32, as it runs here. */
  readonly stateBytes: Readonly<Record<string, number>>;
  /** Floating-point operations by length: of a prompt taken in at once, of the token after as many. */
  readonly flops: Readonly<Record<string, { readonly prefill: number; readonly decode: number }>>;
  /** Bytes for one text by its length, in the element type asked for. */
  readonly memory: Readonly<Record<string, Memory>>;
  /** The least seconds on the device asked for, by length. */
  readonly speed?: Readonly<Record<string, Speed>>;
  readonly layers: readonly {
    readonly operators: readonly string[];
    /** What its operators have of those at earlier depths. */
    readonly links: readonly string[];
    readonly parameters: number;
    readonly states: readonly string[];
  }[];
}

export interface InspectOptions {
  /** Adds the least times on it. */
  readonly device?: Device | undefined;
  /** Of weights, state and activations. Default bfloat16. */
  readonly dtype?: RunType | undefined;
}

/** Figures from the definition alone; no weight is read. */
export function inspect(name: string, model: Model, { device, dtype = 'bfloat16' }: InspectOptions = {}): Inspection {
  const { total, active } = parameterCounts(model);
  const genome = genomeTextOf(model);
  const lengths = [...LENGTHS.filter((length) => length < model.contextLength), model.contextLength];
  const at = <T>(cost: (length: number) => T): Readonly<Record<string, T>> =>
    Object.fromEntries(lengths.map((length) => [length, cost(length)]));
  return {
    name,
    architecture: model.config?.['model_type'] ?? null,
    ...(genome !== undefined && { genome }),
    vocabulary: model.head.classes,
    hiddenSize: model.hiddenSize,
    contextLength: model.contextLength,
    parameters: total,
    activeParameters: active,
    stateBytes: at((length) => stateBytes(model, length, 'float32')),
    flops: at((length) => ({ prefill: prefillFlops(model, length), decode: decodeFlops(model, length) })),
    memory: at((length) => memoryAt(model, length, { dtype })),
    ...(device && { speed: at((length) => speedOn(model, device, length, { dtype })) }),
    layers: model.layers.map((layer, depth) => {
      const within = (key: string) => key.startsWith(`model.layers.${depth}.`);
      const shapes = Object.entries(model.parameters).filter(([key]) => within(key));
      const states = Object.entries(model.states).filter(([key]) => key.startsWith(`layers.${depth}.`));
      return {
        operators: operatorsOf(layer).map(nameOf),
        links: model.links.filter((link) => link.depth === depth).map(describeLink),
        parameters: shapes.reduce((sum, [, { shape }]) => sum + countOf(shape), 0),
        states: states.map(
          ([key, { kind, shape }]) => `${key.slice(`layers.${depth}.`.length)}: ${kind} [${shape.join(', ')}]`,
        ),
      };
    }),
  };
}

function genomeTextOf(model: Model): string | undefined {
  try {
    return printGenome(genomeOf(model).genome);
  } catch (error) {
    if (error instanceof LfmError && error.code === 'no-genome') return undefined;
    throw error;
  }
}

function describeLink({ kind, operator, leader, names }: Link): string {
  return `${operator}: ${kind === 'weights' ? 'weights' : names.join(', ')} of layer ${leader}`;
}
