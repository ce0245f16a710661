// mamba: the selective state space whose every number decays at a rate of its own (Gu and Dao 2023, arXiv 2312.00752);
// parameters as in transformers' MambaMixer, with `norms` JambaMambaMixer's. Shapes: B batch, T tokens, D inner channels,
// N state size, R rank of the time step.
import type { Tensor } from '../tensor/index.ts';
import {
  add,
  cast,
  causalConv,
  exp,
  linear,
  mul,
  neg,
  rmsNorm,
  selectiveScan,
  silu,
  sliceAxis,
  softplus,
} from '../tensor/index.ts';
import { operator } from './operator.ts';
import { bias, gain, set, weight } from './parameter.ts';
import { decayRates, timeStepBiases } from './rates.ts';
import { fixed } from './state.ts';

export interface MambaOptions {
  /** Width of the inside over the hidden size. */
  readonly expand?: number;
  readonly stateSize?: number;
  readonly convKernel?: number;
  /** Rank of what time steps are made of. Default: a sixteenth of the hidden size. */
  readonly timeStepRank?: number;
  /** Whether both projections have biases. */
  readonly bias?: boolean;
  readonly convBias?: boolean;
  /** Whether time steps, B and C are normalised (Jamba, arXiv 2403.19887). */
  readonly norms?: boolean;
  readonly chunkSize?: number;
}

function biased(y: Tensor, b: Tensor | undefined): Tensor {
  return b ? add(y, b) : y;
}

export const mamba = operator('mamba', (options: MambaOptions) => {
  const { expand = 2, stateSize: n = 16, convKernel = 4, chunkSize = 16 } = options;
  const { bias: withBias = false, convBias = true, norms = false } = options;
  const rankOf = (hiddenSize: number) => options.timeStepRank ?? Math.ceil(hiddenSize / 16);
  return {
    scope: 'mixer',
    parameters: ({ hiddenSize: d }) => {
      const [inner, rank] = [expand * d, rankOf(d)];
      return {
        'in_proj.weight': weight([2 * inner, d], ['channels', 'hidden']),
        'conv1d.weight': weight([inner, 1, convKernel], ['channels', 'one', 'tap'], { std: (3 * convKernel) ** -0.5 }),
        'x_proj.weight': weight([rank + 2 * n, inner], ['rates', 'channels']),
        'dt_proj.weight': weight([inner, rank], ['channels', 'rates'], { std: (3 * rank) ** -0.5 }),
        'dt_proj.bias': set(timeStepBiases(inner), ['channels']),
        A_log: set(decayRates(n), ['channels', 'state'], [inner, n]),
        D: gain([inner], ['channels']),
        'out_proj.weight': weight([d, inner], ['hidden', 'channels']),
        ...(convBias && { 'conv1d.bias': bias([inner], ['channels']) }),
        ...(withBias && { 'in_proj.bias': bias([2 * inner], ['channels']), 'out_proj.bias': bias([d], ['hidden']) }),
        ...(norms && {
          'dt_layernorm.weight': gain([rank], ['rates']),
          'b_layernorm.weight': gain([n], ['state']),
          'c_layernorm.weight': gain([n], ['state']),
        }),
      };
    },
    state: ({ hiddenSize: d }) => ({
      tail: fixed([convKernel - 1, expand * d]),
      ssm: fixed([expand * d, n]),
    }),
    featurize: (p, x_BTD, state, { lengths, segments, normEps }) => {
      const [inner, rank] = [Number(p.D.dim(0)), Number(p['dt_proj.weight'].dim(1))];
      const cut = (y: Tensor, from: number, width: number) => sliceAxis(y, 2, from, from + width);
      const both = biased(linear(x_BTD, p['in_proj.weight']), p['in_proj.bias']);
      const before = { tail: state.tail, lengths, segments };
      const { y, next } = causalConv(cut(both, 0, inner), p['conv1d.weight'], before);
      const x = silu(biased(y, p['conv1d.bias']));
      const rates = linear(x, p['x_proj.weight']);
      const normed = (part: Tensor, w: Tensor | undefined) => (w ? rmsNorm(part, w, normEps) : part);
      const step = linear(normed(cut(rates, 0, rank), p['dt_layernorm.weight']), p['dt_proj.weight']);
      const features = {
        gate: cut(both, inner, inner),
        x,
        b: normed(cut(rates, rank, n), p['b_layernorm.weight']),
        c: normed(cut(rates, rank + n, n), p['c_layernorm.weight']),
        dt: softplus(add(cast(step, 'float32'), cast(p['dt_proj.bias'], 'float32'))),
      };
      return [features, { ...state, tail: state.tail && next }];
    },
    mix: (p, { gate, x, b, c, dt }, state, { lengths, segments }) => {
      const rates = neg(exp(cast(p.A_log, 'float32')));
      const held = { state: state.ssm, lengths, segments, chunk: chunkSize };
      const { y, next } = selectiveScan(x, dt, rates, { b, c }, held);
      const gated = mul(add(y, mul(x, p.D)), silu(gate));
      return [biased(linear(gated, p['out_proj.weight']), p['out_proj.bias']), { ...state, ssm: state.ssm && next }];
    },
  };
});
