// cfc: the closed-form continuous-time cell (Hasani et al. 2022, arXiv 2106.13898, eq. 10): a sigmoid of the elapsed time blends
// two functions of input and state; parameters as in ncps' CfCCell. Shapes: B batch, T tokens, U units, K backbone units.
import type { Tensor } from '../tensor/index.ts';
import { add, cast, concatenate, linear, logistic, mul, sliceAxis, sub, tanh } from '../tensor/index.ts';
import { elapsed, runCell } from './cell.ts';
import { operator } from './operator.ts';
import { bias, weight } from './parameter.ts';
import { fixed } from './state.ts';

export interface CfcOptions {
  /** Default: the hidden size. */
  readonly units?: number;
  /** Width of the layer that all four parts read. */
  readonly backboneUnits?: number;
}

const parts = ['ff1', 'ff2', 'time_a', 'time_b'] as const;

/** Like ltc without its solver; there is no parallel form here either. */
export const cfc = operator('cfc', ({ units, backboneUnits: k = 128 }: CfcOptions) => {
  const unitsOf = (hiddenSize: number) => units ?? hiddenSize;
  return {
    scope: 'cell',
    parameters: ({ hiddenSize: d }) => {
      const u = unitsOf(d);
      const std = k ** -0.5;
      return {
        'backbone.weight': weight([k, d + u], ['backbone', 'hidden'], { std: (d + u) ** -0.5 }),
        'backbone.bias': bias([k], ['backbone']),
        'ff1.weight': weight([u, k], ['units', 'backbone'], { std }),
        'ff1.bias': bias([u], ['units']),
        'ff2.weight': weight([u, k], ['units', 'backbone'], { std }),
        'ff2.bias': bias([u], ['units']),
        'time_a.weight': weight([u, k], ['units', 'backbone'], { std }),
        'time_a.bias': bias([u], ['units']),
        'time_b.weight': weight([u, k], ['units', 'backbone'], { std }),
        'time_b.bias': bias([u], ['units']),
        'out_proj.weight': weight([d, u], ['hidden', 'units']),
      };
    },
    state: ({ hiddenSize: d }) => ({ cell: fixed([unitsOf(d)]) }),
    featurize: (p, x_BTD) => {
      const seen = linear(x_BTD, sliceAxis(p['backbone.weight'], 1, 0, x_BTD.dim(2)));
      return { drive: add(cast(seen, 'float32'), cast(p['backbone.bias'], 'float32')) };
    },
    mix: (p, { drive }, { cell }, context) => {
      const [all, u] = [p['backbone.weight'], Number(p['ff1.bias'].dim(0))];
      const recurrent = cast(sliceAxis(all, 1, Number(all.dim(1)) - u, all.dim(1)), 'float32');
      const joined = (name: 'weight' | 'bias') =>
        cast(
          concatenate(
            parts.map((part) => p[`${part}.${name}`]),
            0,
          ),
          'float32',
        );
      const [weights, biases] = [joined('weight'), joined('bias')];
      const inputs = [drive, ...elapsed(context)];
      const { states_BTU, next } = runCell(inputs, cell, u, context, (before, [seen = drive, time]) => {
        // LeCun's tanh.
        const inside = mul(tanh(mul(add(seen, linear(before, recurrent)), 0.666)), 1.7159);
        const found = add(linear(inside, weights), biases);
        const [ff1, ff2, a, b] = parts.map((_, i) => sliceAxis(found, 1, i * u, (i + 1) * u)) as [
          Tensor,
          Tensor,
          Tensor,
          Tensor,
        ];
        const blend = logistic(add(time ? mul(a, time) : a, b));
        return add(mul(tanh(ff1), sub(1, blend)), mul(tanh(ff2), blend));
      });
      const w = p['out_proj.weight'];
      return [linear(cast(states_BTU, w.dtype), w), { cell: cell && cast(next, cell.dtype) }];
    },
  };
});
