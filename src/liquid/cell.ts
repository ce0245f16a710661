// A cell whose next state is any function of its state, one token after the other. Shapes: B batch, T tokens, U units.
import type { Tensor } from '../tensor/index.ts';
import {
  and,
  cast,
  expandDims,
  gt,
  iota,
  lt,
  mul,
  ne,
  pad,
  reshape,
  scan,
  select,
  sliceAxis,
  sub,
  transpose,
  zeros,
} from '../tensor/index.ts';
import type { Context } from './context.ts';

/** Time that passed before each token, as an input of a cell, [B, T, 1]: none where nothing is said, which means 1. */
export function elapsed({ timeSteps }: Context): Tensor[] {
  return timeSteps ? [expandDims(cast(timeSteps, 'float32'), 2)] : [];
}

/**
 * The states after each token [B, T, U] and after the last valid one [B, U], in float32. `step` sees the state and one token of
 * each of `inputs` [B, T, X] as [B, X]. Padding leaves the state as it was, a document begins with none.
 */
export function runCell(
  inputs: readonly Tensor[],
  before: Tensor | undefined,
  units: number,
  { positions, lengths, segments }: Context,
  step: (state: Tensor, inputs: readonly Tensor[]) => Tensor,
): { states_BTU: Tensor; next: Tensor } {
  const [batch, length] = [positions.dim(0), positions.dim(1)];
  const places = iota('int32', [1, length], 1);
  const valid = lengths && cast(lt(places, expandDims(lengths, 1)), 'float32');
  const border = segments && cast(beginsDocument(segments), 'float32');
  const flags = [valid, border].flatMap((flag) => (flag ? [reshape(flag, [batch, length, 1])] : []));
  const start = before ? cast(before, 'float32') : zeros('float32', [batch, units]);
  const timeFirst = [...inputs, ...flags].map((x) => transpose(x, [1, 0, 2]));
  const { carries, outputs } = scan(length, [start], timeFirst, (_index, [held = start], slices) => {
    const rest = slices.slice(inputs.length);
    const counts = valid && rest.shift();
    const [begins] = rest;
    const state = begins ? mul(held, sub(1, begins)) : held;
    const made = step(state, slices.slice(0, inputs.length));
    const after = counts ? select(gt(counts, 0), made, state) : made;
    return { carries: [after], outputs: [after] };
  });
  const [next = start] = carries;
  const [states = start] = outputs;
  return { states_BTU: transpose(states, [1, 0, 2]), next };
}

/** [B, T]: whether the token before is of another document; the first one goes on with what the state holds. */
function beginsDocument(segments: Tensor): Tensor {
  const before = sliceAxis(pad(segments, [0, 1], [0, 0]), 1, 0, segments.dim(1));
  return and(ne(before, segments), gt(iota('int32', [1, segments.dim(1)], 1), 0));
}
