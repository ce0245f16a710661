// Keys and values held as int8: a number is its level times a scale of its place in the row, which is the model's and the same for
// all tokens, so that a row never depends on others. Shapes: G heads, D width of one.
import type { Tensor } from '../tensor/index.ts';
import { constant, countOf, LfmError } from '../tensor/index.ts';
import type { Model } from './model.ts';
import type { StateDeclaration } from './state.ts';

/** By the names of states: a scale for each element of a row, [G, D]. */
export type RowScales = Readonly<Record<string, Float32Array>>;

/** States that their operators take as int8 too. */
export function scalableRows({ states }: Model): readonly string[] {
  return Object.entries(states).flatMap(([name, state]) =>
    state.kind === 'rows' && state.turned !== undefined ? [name] : [],
  );
}

/**
 * The model with the states named in `scales` held as int8. Errors: `bad-scales` for a state that cannot be, and where they are not
 * one positive number for each element of a row.
 */
export function withScaledRows(model: Model, scales: RowScales): Model {
  const states = Object.entries(scales).map(([name, own]): [string, StateDeclaration] => {
    const state = model.states[name];
    if (state?.kind !== 'rows' || state.turned === undefined)
      throw new LfmError('bad-scales', `${name} is no state of the model that can be held as int8.`);
    if (own.length !== countOf(state.shape) || !own.every((scale) => scale > 0 && scale < Infinity))
      throw new LfmError(
        'bad-scales',
        `${name}: expected ${countOf(state.shape)} scales above 0; found ${own.length}, or others among them.`,
      );
    return [name, { ...state, scales: own }];
  });
  return { ...model, states: { ...model.states, ...Object.fromEntries(states) } };
}

/** Within a program: the scales beside their states, as operators take them. */
export function scaleTensors({ states }: Model): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(states).flatMap(([name, state]) =>
      state.kind === 'rows' && state.scales
        ? [[`${name}Scales`, constant('float32', state.shape, state.scales)] as const]
        : [],
    ),
  );
}
