// Low rank token mixing, T_ij = σ(c_i · b_j): softmax attention over rows that are kept, or linear attention over a state.
// Shapes: B batch, T tokens, H heads of width W, G = H / repeat heads of b and v.
import type { Tensor } from '../../tensor/index.ts';
import {
  concatenate,
  div,
  full,
  LfmError,
  linearRecurrence,
  mul,
  reshape,
  rotary,
  sliceAxis,
} from '../../tensor/index.ts';
import { attendWithState } from '../attention.ts';
import { take } from '../parameter.ts';
import { fixed, rows } from '../state.ts';
import { windowRows } from '../window-rows.ts';
import type { PlacedGroup } from './featurizers.ts';
import type { Mixer } from './mixer.ts';
import { groupsOf, headsOf, nonlinearityOf, repeatEach, requireAlike, requireSingle, toHeads } from './mixer.ts';
import type { LivOptions } from './parts.ts';
import { badLiv } from './parts.ts';

/** Channel mixing is by heads: one for each channel, of some channels, or one of all. */
export function lowRank(options: LivOptions, d: number): Mixer {
  const { c, b, v } = groupsOf(options, ['c', 'b', 'v'], []);
  const expansion = requireAlike('expansion', { c, b, v });
  const repeat = requireAlike('repeat', { b, v });
  requireSingle({ c });
  const { channelMixing } = options;
  const wanted = { diagonal: { headDim: 1 }, dense: { headDim: d * expansion }, grouped: options }[channelMixing];
  const { heads, headDim } = headsOf(d, wanted as LivOptions, expansion, repeat);
  const width = heads * headDim;
  const place = (role: 'c' | 'b' | 'v', group: typeof c, of: number, axis: string): PlacedGroup => ({
    role,
    group,
    width: of,
    blocks: heads / repeat,
    axis,
  });
  const shape = {
    groups: [
      place('c', c, width, 'heads'),
      place('b', b, width / repeat, 'keyValueHeads'),
      place('v', v, width / repeat, 'keyValueHeads'),
    ],
    width,
    axis: 'heads',
  };
  return options.nonlinearity === 'softmax'
    ? softmaxAttention(options, shape, headDim, heads / repeat)
    : linearAttention(options, shape, headDim, repeat);
}

type Shape = Pick<Mixer, 'groups' | 'width' | 'axis'>;

/** With rotary positions, where a head is wide enough for them. */
function softmaxAttention({ theta = 10_000, window }: LivOptions, shape: Shape, headDim: number, kept: number): Mixer {
  if (headDim > 1 && headDim % 2 === 1)
    throw new LfmError('indivisible', `liv: rotary positions need heads of an even width; found ${headDim}.`);
  if (window !== undefined && window < 2)
    throw badLiv(`window: one of ${window} tokens sees nothing of the past; expected 2 or more`);
  const row = [kept, headDim];
  const state = window === undefined ? rows(row) : windowRows(row, { window, sinks: 0 });
  return {
    ...shape,
    parameters: {},
    states: { keys: state, values: state },
    prepare: (made, _p, _x, { rotaryTables }) => {
      const turn = (x: Tensor) => (headDim > 1 ? rotary(x, rotaryTables(headDim, theta)) : x);
      const heads = (role: string) => toHeads(take(made, role), headDim);
      return { c: turn(heads('c')), b: turn(heads('b')), v: heads('v') };
    },
    mix: (_p, features, { keys, values }, { starts, lengths, segments }) => {
      const [c, b, v] = [take(features, 'c'), take(features, 'b'), take(features, 'v')];
      const before = { keys, values, starts, lengths, segments };
      const { out, ...next } = attendWithState(c, b, v, before, { scale: headDim ** -0.5, window });
      return [reshape(out, [c.dim(0), c.dim(1), shape.width]), next];
    },
  };
}

/** Without softmax the sum over tokens is a state; where features are above 0, `elu + 1`, it is divided by their own sum. */
function linearAttention(options: LivOptions, shape: Shape, headDim: number, repeat: number): Mixer {
  const activation = nonlinearityOf(options);
  const isNormalised = options.nonlinearity === 'elu + 1';
  const carried = headDim + (isNormalised ? 1 : 0);
  return {
    ...shape,
    parameters: {},
    states: { sums: fixed([shape.width / headDim, headDim, carried]) },
    prepare: (made) => {
      const heads = (role: string) => toHeads(take(made, role), headDim);
      const v = heads('v');
      return {
        c: activation(heads('c')),
        b: activation(heads('b')),
        // A one behind the values, so that the sum that divides is a column of the same state.
        v: isNormalised ? concatenate([v, full(v.dtype, [...v.shape.slice(0, 3), 1], 1)], 3) : v,
      };
    },
    mix: (_p, features, { sums }, { lengths, segments }) => {
      const [c, b, v] = [take(features, 'c'), take(features, 'b'), take(features, 'v')];
      const past = { state: sums, lengths, segments };
      const { y, next } = linearRecurrence(c, repeatEach(b, 2, repeat), repeatEach(v, 2, repeat), past);
      const out = isNormalised
        ? div(sliceAxis(y, 3, 0, headDim), sliceAxis(y, 3, headDim, carried))
        : mul(y, headDim ** -0.5);
      return [reshape(out, [c.dim(0), c.dim(1), shape.width]), { sums: sums && next }];
    },
  };
}
