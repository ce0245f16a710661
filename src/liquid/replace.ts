// Hybridisation: a model with other operators at some depths, without some layers, or with narrower MLPs, all else as it is.
import { LfmError } from '../tensor/error.ts';
import type { Layer } from './layer.ts';
import type { Model } from './model.ts';
import { defineModel } from './model.ts';
import { mixerAt } from './objectives.ts';
import type { Operator } from './operator.ts';
import { swiglu } from './swiglu.ts';

/**
 * The model with the operator that mixes tokens at each depth given (the first of the layer) replaced. It has the norms, the
 * ends and all other operators of `model`, under the same names; a configuration it has not.
 * Errors: `bad-layers` for a depth that is not there, or whose operator shares parameters or features with others; what an
 * operator says of sizes.
 */
export function withOperators(model: Model, replacements: ReadonlyMap<number, Operator>): Model {
  for (const depth of replacements.keys()) {
    const { name } = mixerAt(model, depth);
    if (mixerAt(model, depth).sharing)
      throw new LfmError(
        'bad-layers',
        `Layer ${depth}: its ${name} has parameters or features in common with other layers, so it cannot be replaced alone.`,
      );
  }
  const layers = model.layers.map((layer, depth): Layer => {
    const operator = replacements.get(depth);
    return operator
      ? {
          blocks: layer.blocks.map((one, i) =>
            i > 0 ? one : { ...one, operators: [operator, ...one.operators.slice(1)] },
          ),
        }
      : layer;
  });
  return withLayers(model, layers);
}

/** The model with some layers left out: the others keep their order. Errors: `bad-layers`. */
export function withoutLayers(model: Model, depths: ReadonlySet<number>): Model {
  const missing = [...depths].find((depth) => !model.layers[depth]);
  if (missing !== undefined)
    throw new LfmError('bad-layers', `There is no layer ${missing}: the model has ${model.layers.length}, from 0.`);
  if (model.links.length > 0)
    throw new LfmError('bad-layers', 'Layers of the model share parameters or features, so none can be left out.');
  if (depths.size === model.layers.length) throw new LfmError('bad-layers', 'No layer would be left.');
  const layers = model.layers.filter((_, depth) => !depths.has(depth));
  return withLayers(model, layers);
}

/** The model with every gated MLP of `intermediateSize` units. Errors: `bad-layers` where a layer has none, or fewer units. */
export function withNarrowMlps(model: Model, intermediateSize: number): Model {
  const narrow = swiglu({ intermediateSize });
  const { hiddenSize } = model;
  const units = (operator: Operator) => operator.parameters({ hiddenSize })['w1.weight']?.shape[0] ?? 0;
  const layers = model.layers.map(({ blocks }, depth): Layer => {
    const gated = blocks.flatMap(({ operators }) => operators.filter(({ name }) => name === narrow.name));
    if (gated.length === 0 || gated.some((operator) => operator.sharing || units(operator) < intermediateSize))
      throw new LfmError(
        'bad-layers',
        `Layer ${depth}: expected a ${narrow.name} of its own with at least ${intermediateSize} units; found ${gated.map(units).join(', ') || 'none'}.`,
      );
    const replaced = (operator: Operator) => (operator.name === narrow.name ? narrow : operator);
    return { blocks: blocks.map((one) => ({ ...one, operators: one.operators.map(replaced) })) };
  });
  return withLayers(model, layers);
}

function withLayers(model: Model, layers: readonly Layer[]): Model {
  const { encoder, head, hiddenSize, normEps, finalNorm, initializerRange, contextLength } = model;
  return defineModel({ encoder, head, layers, hiddenSize, normEps, finalNorm, initializerRange, contextLength });
}
