// gated_delta: a matrix state that forgets by a gate and corrects what it holds under a key (Gated DeltaNet, Yang et al. 2024,
// arXiv 2412.06464); parameters as in transformers' Qwen3NextGatedDeltaNet. Shapes: B batch, T tokens, G key heads of width K,
// H value heads of width V, R = H / G.
import type { Tensor } from '../tensor/index.ts';
import {
  add,
  cast,
  causalConv,
  concatenate,
  exp,
  expandDims,
  LfmError,
  linear,
  linearRecurrence,
  logistic,
  mul,
  neg,
  reshape,
  rmsNorm,
  rsqrt,
  silu,
  sliceAxis,
  softplus,
  sum,
} from '../tensor/index.ts';
import { operator } from './operator.ts';
import { gain, set, weight } from './parameter.ts';
import { decayRates, timeStepBiases } from './rates.ts';
import { fixed } from './state.ts';

export interface GatedDeltaOptions {
  readonly keyHeads: number;
  /** Default: `keyHeads`. */
  readonly valueHeads?: number;
  readonly keyHeadDim: number;
  readonly valueHeadDim: number;
  readonly convKernel?: number;
  readonly chunkSize?: number;
}

/** Each head's vector over its length. */
function unit(x: Tensor): Tensor {
  return mul(x, rsqrt(add(expandDims(sum(mul(x, x), [-1]), -1), 1e-6)));
}

export const gatedDelta = operator('gated_delta', (options: GatedDeltaOptions) => {
  const { keyHeads: g, valueHeads: h = g, keyHeadDim: k, valueHeadDim: v, convKernel = 4, chunkSize = 64 } = options;
  const r = h / g;
  if (!Number.isInteger(r))
    throw new LfmError(
      'indivisible',
      `gated_delta: ${g} key heads do not divide ${h} value heads: choose a divisor of ${h}.`,
    );
  const [keys, values] = [g * k, h * v];
  const mixed = 2 * keys + values;
  return {
    scope: 'linear_attn',
    parameters: ({ hiddenSize: d }) => ({
      'in_proj_qkvz.weight': weight([2 * keys + 2 * values, d], ['projections', 'hidden']),
      'in_proj_ba.weight': weight([2 * h, d], ['projections', 'hidden']),
      'conv1d.weight': weight([mixed, 1, convKernel], ['mixed', 'one', 'tap'], { std: (3 * convKernel) ** -0.5 }),
      dt_bias: set(timeStepBiases(h), ['stateHeads']),
      A_log: set(decayRates(h), ['stateHeads']),
      'norm.weight': gain([v], ['headDim']),
      'out_proj.weight': weight([d, values], ['hidden', 'channels']),
    }),
    state: () => ({ tail: fixed([convKernel - 1, mixed]), memory: fixed([h, k, v]) }),
    featurize: (p, x_BTD, state, { lengths, segments }) => {
      const [b, t] = [x_BTD.dim(0), x_BTD.dim(1)];
      // A key head's rows stand together: its query, its key, its values, their gates.
      const rows = reshape(linear(x_BTD, p['in_proj_qkvz.weight']), [b, t, g, 2 * k + 2 * r * v]);
      const rates = reshape(linear(x_BTD, p['in_proj_ba.weight']), [b, t, g, 2 * r]);
      const cut = (y: Tensor, from: number, width: number, all: number) =>
        reshape(sliceAxis(y, 3, from, from + width), [b, t, all]);
      const parts = [cut(rows, 0, k, keys), cut(rows, k, k, keys), cut(rows, 2 * k, r * v, values)];
      const { y, next } = causalConv(concatenate(parts, 2), p['conv1d.weight'], {
        tail: state.tail,
        lengths,
        segments,
      });
      const seen = silu(y);
      const split = (from: number, heads: number, width: number) =>
        reshape(sliceAxis(seen, 2, from, from + heads * width), [b, t, heads, width]);
      const step = softplus(add(cast(cut(rates, r, r, h), 'float32'), cast(p.dt_bias, 'float32')));
      const features = {
        q: mul(unit(split(0, g, k)), k ** -0.5),
        k: unit(split(keys, g, k)),
        v: split(2 * keys, h, v),
        gate: reshape(cut(rows, 2 * k + r * v, r * v, values), [b, t, h, v]),
        beta: logistic(cut(rates, 0, r, h)),
        decay: mul(step, neg(exp(cast(p.A_log, 'float32')))),
      };
      return [features, { ...state, tail: state.tail && next }];
    },
    mix: (p, features, state, { lengths, segments, normEps }) => {
      const { q, gate, decay, beta } = features;
      const { y, next } = linearRecurrence(q, features.k, features.v, {
        decay,
        beta,
        state: state.memory,
        lengths,
        segments,
        chunk: chunkSize,
      });
      const gated = mul(rmsNorm(y, p['norm.weight'], normEps), silu(gate));
      return [
        linear(reshape(gated, [q.dim(0), q.dim(1), values]), p['out_proj.weight']),
        { ...state, memory: state.memory && next },
      ];
    },
  };
});
