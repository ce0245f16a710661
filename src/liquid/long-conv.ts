// long_conv: y = out(C * conv(B * u)) where the convolution is as long as the sequence and its filter is a function of the
// distance (Hyena of order 2, Poli et al. 2023, arXiv 2302.10866, 3.3). Shapes: B batch, T tokens, D channels, C rows of state.
import type { Tensor } from '../tensor/index.ts';
import {
  add,
  cast,
  causalConv,
  concatenate,
  cos,
  exp,
  expandDims,
  gatherFrom,
  ge,
  iota,
  LfmError,
  linear,
  longConv as convolve,
  maximum,
  mul,
  neg,
  reshape,
  scatterInto,
  select,
  sin,
  split,
  sub,
  sum,
} from '../tensor/index.ts';
import type { Dim } from '../tensor/index.ts';
import { operator } from './operator.ts';
import { bias, gain, set, weight } from './parameter.ts';
import { fixed, rows } from './state.ts';

export interface LongConvOptions {
  /** Tokens that the filter's clock takes to run from 0 to 1. */
  readonly length?: number;
  /** Width of the function that makes the filter, and how many waves of the clock it sees. */
  readonly filterOrder?: number;
  readonly filterBands?: number;
  /** Taps of the short convolution before. */
  readonly kernel?: number;
  readonly chunkSize?: number;
}

/** Rates whose exponentials fall to 1/100 between three tenths and one and a half of the clock's time. */
function decays(channels: number): number[] {
  const [slow, fast] = [Math.log(100) / 1.5, Math.log(100) / 0.3];
  return Array.from({ length: channels }, (_, i) => slow + ((fast - slow) * i) / Math.max(1, channels - 1));
}

/** [count, 1 + 2 bands]: the clock, and cosines and sines of it, as the paper's positional encoding. */
function clockFeatures(time: Tensor, length: number, bands: number): Tensor {
  const steps = reshape(cast(iota('int32', [bands], 0), 'float32'), [1, bands]);
  const speeds = add(mul(steps, (bands - 1 - 1e-4) / Math.max(1, bands - 1)), 1e-4);
  // The clock ends at 1 on its last token, its waves turn once in all of its tokens.
  const angles = mul(mul(time, speeds), (2 * Math.PI * (length - 1)) / length);
  return concatenate([time, cos(angles), neg(sin(angles))], 1);
}

type Filter = Readonly<
  Record<
    `filter.${'in' | 'hidden'}.${'weight' | 'bias'}` | 'filter.out.weight' | 'filter.frequency' | 'filter.decay',
    Tensor
  >
>;

/**
 * Training is a product with Toeplitz blocks: T² D multiplications a row. A token of decoding reads all inputs that came
 * before, C D of them, and makes the filter anew: C (F² + F D) more for a function of width F.
 */
export const longConv = operator('long_conv', (options: LongConvOptions) => {
  const { length = 2048, filterOrder: f = 64, filterBands = 1, kernel = 3, chunkSize = 32 } = options;
  if (!(length >= 2) || !(kernel >= 2) || !(filterBands >= 1))
    throw new LfmError(
      'bad-filter',
      `long_conv: expected a length and a kernel of 2 or more and a band; found ${length}, ${kernel} and ${filterBands}.`,
    );
  const filterOf = (p: Filter, count: Dim): Tensor => {
    const time = mul(cast(iota('int32', [count, 1], 0), 'float32'), 1 / (length - 1));
    const wide = (name: keyof Filter) => cast(p[name], 'float32');
    const layer = (x: Tensor, name: 'in' | 'hidden') =>
      sin(mul(add(linear(x, wide(`filter.${name}.weight`)), wide(`filter.${name}.bias`)), wide('filter.frequency')));
    const inside = layer(layer(clockFeatures(time, length, filterBands), 'in'), 'hidden');
    return mul(linear(inside, wide('filter.out.weight')), exp(neg(mul(time, wide('filter.decay')))));
  };
  return {
    scope: 'conv',
    parameters: ({ hiddenSize: d }) => ({
      'in_proj.weight': weight([3 * d, d], ['channels', 'hidden']),
      'short.weight': weight([3 * d, 1, kernel], ['channels', 'one', 'tap'], { std: (3 * kernel) ** -0.5 }),
      'short.bias': bias([3 * d], ['channels']),
      'filter.in.weight': weight([f, 1 + 2 * filterBands], ['filter', 'clock'], { std: (3 + 6 * filterBands) ** -0.5 }),
      'filter.in.bias': bias([f], ['filter']),
      'filter.hidden.weight': weight([f, f], ['filter', 'filter'], { std: (3 * f) ** -0.5 }),
      'filter.hidden.bias': bias([f], ['filter']),
      'filter.out.weight': weight([d, f], ['channels', 'filter'], { std: (3 * f) ** -0.5 }),
      'filter.frequency': gain([f], ['filter']),
      'filter.decay': set(decays(d), ['channels']),
      skip: gain([d], ['channels']),
      'out_proj.weight': weight([d, d], ['hidden', 'channels']),
    }),
    state: ({ hiddenSize: d }) => ({ tail: fixed([kernel - 1, 3 * d]), inputs: rows([d]) }),
    featurize: (p, x_BTD, state, { lengths, segments }) => {
      const before = { tail: state.tail, lengths, segments };
      const { y, next } = causalConv(linear(x_BTD, p['in_proj.weight']), p['short.weight'], before);
      const { b, c, u } = split(add(y, p['short.bias']), ['b', 'c', 'u']);
      return [
        { c, z: mul(b, u) },
        { ...state, tail: state.tail && next },
      ];
    },
    mix: (p, { c, z }, state, { starts, segments }) => {
      const finish = (y: Tensor) => linear(mul(c, add(y, mul(z, p.skip))), p['out_proj.weight']);
      if (!state.inputs || !starts) {
        const taps = cast(filterOf(p, z.dim(1)), z.dtype);
        return [finish(convolve(taps, z, { segments, chunk: chunkSize })), state];
      }
      const at = add(expandDims(starts, 1), iota('int32', [1, z.dim(1)], 1));
      const inputs = scatterInto(state.inputs, at, cast(z, state.inputs.dtype), {
        axis: 1,
        batchDims: 1,
        reducer: 'assign',
      });
      const all = cast(inputs, z.dtype);
      const taps = cast(filterOf(p, all.dim(1)), z.dtype);
      const y =
        z.dim(1) === 1
          ? atLast(taps, all, starts)
          : gatherFrom(convolve(taps, all, { chunk: chunkSize }), at, { axis: 1, batchDims: 1 });
      return [finish(y), { ...state, inputs }];
    },
  };
});

/** The convolution at one token a row, [B, 1, D]: its inputs [B, C, D] end at `starts`. */
function atLast(taps: Tensor, inputs: Tensor, starts: Tensor): Tensor {
  const back = sub(expandDims(starts, 1), iota('int32', [1, inputs.dim(1)], 1));
  const factors = gatherFrom(taps, maximum(back, 0), { axis: 0, batchDims: 0 });
  const seen = select(expandDims(ge(back, 0), 2), mul(factors, inputs), 0);
  return expandDims(sum(seen, [1]), 1);
}
