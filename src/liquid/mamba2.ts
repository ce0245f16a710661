// mamba2: the selective state space with a scalar decay a head, as matrix products by chunks (Dao and Gu 2024, arXiv
// 2405.21060); parameters as in transformers' Mamba2Mixer. Shapes: B batch, T tokens, H heads of width P, G groups, N state size.
import type { Tensor } from '../tensor/index.ts';
import {
  add,
  cast,
  exp,
  expandDims,
  full,
  LfmError,
  linear,
  linearRecurrence,
  minimum,
  maximum,
  mul,
  neg,
  reshape,
  rmsNorm,
  silu,
  sliceAxis,
  softplus,
  causalConv,
} from '../tensor/index.ts';
import { operator } from './operator.ts';
import { bias, gain, set, weight } from './parameter.ts';
import { decayRates, timeStepBiases } from './rates.ts';
import { fixed } from './state.ts';

export interface Mamba2Options {
  /** Width of the inside over the hidden size. */
  readonly expand?: number;
  readonly headDim?: number;
  readonly stateSize?: number;
  /** Groups that share B and C. */
  readonly nGroups?: number;
  readonly convKernel?: number;
  readonly chunkSize?: number;
  /** Least and largest time step; without the largest, they are not bound. */
  readonly timeStepLimit?: readonly [least: number, most?: number];
}

/** RMS norm within each of some equal groups of channels. */
function groupNorm(x: Tensor, gains: Tensor, eps: number, groups: number): Tensor {
  if (groups === 1) return rmsNorm(x, gains, eps);
  const [b = 1, t = 1, width = 1] = x.shape;
  const size = Number(width) / groups;
  const even = rmsNorm(reshape(x, [b, t, groups, size]), full(x.dtype, [size], 1), eps);
  return mul(reshape(even, x.shape), gains);
}

interface Widths {
  readonly inner: number;
  readonly heads: number;
  /** x, B and C, which the short convolution sees. */
  readonly mixed: number;
}

export const mamba2 = operator('mamba2', (options: Mamba2Options) => {
  const { expand = 2, headDim = 64, stateSize = 128, nGroups = 1, convKernel = 4, chunkSize = 64 } = options;
  const { timeStepLimit } = options;
  const widths = (hiddenSize: number): Widths => {
    const inner = expand * hiddenSize;
    const heads = inner / headDim;
    if (!Number.isInteger(heads) || heads % nGroups !== 0)
      throw new LfmError(
        'indivisible',
        `mamba2: an inside of ${inner} over heads of ${headDim} gives ${heads} heads; expected a whole number that ${nGroups} groups divide.`,
      );
    return { inner, heads, mixed: inner + 2 * nGroups * stateSize };
  };
  return {
    scope: 'mixer',
    parameters: ({ hiddenSize: d }) => {
      const { inner, heads, mixed } = widths(d);
      return {
        'in_proj.weight': weight([inner + mixed + heads, d], ['projections', 'hidden']),
        'conv1d.weight': weight([mixed, 1, convKernel], ['mixed', 'one', 'tap'], { std: (3 * convKernel) ** -0.5 }),
        'conv1d.bias': bias([mixed], ['mixed']),
        dt_bias: set(timeStepBiases(heads), ['stateHeads']),
        A_log: set(decayRates(heads), ['stateHeads']),
        D: gain([heads], ['stateHeads']),
        'norm.weight': gain([inner], ['channels']),
        'out_proj.weight': weight([d, inner], ['hidden', 'channels']),
      };
    },
    state: ({ hiddenSize: d }) => {
      const { heads, mixed } = widths(d);
      return { tail: fixed([convKernel - 1, mixed]), ssm: fixed([heads, stateSize, headDim]) };
    },
    featurize: (p, x_BTD, state, { lengths, segments }) => {
      const { inner, heads, mixed } = widths(Number(x_BTD.dim(2)));
      const [b, t] = [x_BTD.dim(0), x_BTD.dim(1)];
      const all = linear(x_BTD, p['in_proj.weight']);
      const cut = (y: Tensor, from: number, width: number) => sliceAxis(y, 2, from, from + width);
      const before = { tail: state.tail, lengths, segments };
      const { y, next } = causalConv(cut(all, inner, mixed), p['conv1d.weight'], before);
      const seen = silu(add(y, p['conv1d.bias']));
      const size = nGroups * stateSize;
      const rates = softplus(add(cast(cut(all, inner + mixed, heads), 'float32'), cast(p.dt_bias, 'float32')));
      const [least = 0, most = Infinity] = timeStepLimit ?? [];
      const above = least > 0 ? maximum(rates, least) : rates;
      const features = {
        gate: cut(all, 0, inner),
        x: reshape(cut(seen, 0, inner), [b, t, heads, headDim]),
        b: reshape(cut(seen, inner, size), [b, t, nGroups, stateSize]),
        c: reshape(cut(seen, inner + size, size), [b, t, nGroups, stateSize]),
        dt: most < Infinity ? minimum(above, most) : above,
      };
      return [features, { ...state, tail: state.tail && next }];
    },
    mix: (p, { gate, x, b, c, dt }, state, { lengths, segments, normEps }) => {
      const decay = mul(dt, neg(exp(cast(p.A_log, 'float32'))));
      const stepped = mul(x, cast(expandDims(dt, 3), x.dtype));
      const { y, next } = linearRecurrence(c, b, stepped, {
        decay,
        state: state.ssm,
        lengths,
        segments,
        chunk: chunkSize,
      });
      const kept = add(y, mul(x, expandDims(p.D, 1)));
      const gated = mul(reshape(kept, gate.shape), silu(gate));
      return [
        linear(groupNorm(gated, p['norm.weight'], normEps, nGroups), p['out_proj.weight']),
        { ...state, ssm: state.ssm && next },
      ];
    },
  };
});
