// linear_attention: y_i = φ(q_i) Σ_j φ(k_j)ᵀ v_j / φ(q_i) Σ_j φ(k_j)ᵀ, φ = elu + 1 (Katharopoulos et al. 2020, arXiv
// 2006.16236). Its matrix over tokens has low rank, its state a fixed size. Shapes: B batch, T tokens, H heads, W their width.
import type { Tensor } from '../tensor/index.ts';
import {
  add,
  concatenate,
  div,
  exp,
  full,
  LfmError,
  linear,
  linearRecurrence,
  maximum,
  minimum,
  reshape,
  sliceAxis,
} from '../tensor/index.ts';
import { operator } from './operator.ts';
import { weight } from './parameter.ts';
import { fixed } from './state.ts';

/** elu(x) + 1: above 0 everywhere. */
function positive(x: Tensor): Tensor {
  return add(maximum(x, 0), exp(minimum(x, 0)));
}

export const linearAttention = operator(
  'linear_attention',
  ({ heads, chunk = 64 }: { heads: number; chunk?: number }) => {
    const widthOf = (hiddenSize: number): number => {
      if (Number.isInteger(heads) && heads > 0 && hiddenSize % heads === 0) return hiddenSize / heads;
      throw new LfmError(
        'indivisible',
        `linear_attention: a hidden size of ${hiddenSize} cannot be cut into ${heads} heads: choose a divisor of ${hiddenSize}.`,
      );
    };
    return {
      scope: 'linear_attn',
      parameters: ({ hiddenSize: d }) => {
        void widthOf(d);
        return {
          'q_proj.weight': weight([d, d], ['heads', 'hidden']),
          'k_proj.weight': weight([d, d], ['heads', 'hidden']),
          'v_proj.weight': weight([d, d], ['heads', 'hidden']),
          'out_proj.weight': weight([d, d], ['hidden', 'heads']),
        };
      },
      // Values carry a one behind them, so that the sum of keys that divides is a column of the same state.
      state: ({ hiddenSize: d }) => ({ sums: fixed([heads, widthOf(d), widthOf(d) + 1]) }),
      featurize: (p, x_BTD) => {
        const [b, t, d] = [x_BTD.dim(0), x_BTD.dim(1), Number(x_BTD.dim(2))];
        const split = (y: Tensor) => reshape(y, [b, t, heads, widthOf(d)]);
        const v = split(linear(x_BTD, p['v_proj.weight']));
        return {
          q: positive(split(linear(x_BTD, p['q_proj.weight']))),
          k: positive(split(linear(x_BTD, p['k_proj.weight']))),
          v: concatenate([v, full(v.dtype, [b, t, heads, 1], 1)], 3),
        };
      },
      mix: (p, { q, k, v }, { sums }, { lengths, segments }) => {
        const { y, next } = linearRecurrence(q, k, v, { state: sums, lengths, segments, chunk });
        const width = Number(q.dim(3));
        const out = div(sliceAxis(y, 3, 0, width), sliceAxis(y, 3, width, width + 1));
        return [
          linear(reshape(out, [q.dim(0), q.dim(1), heads * width]), p['out_proj.weight']),
          { sums: sums && next },
        ];
      },
    };
  },
);
