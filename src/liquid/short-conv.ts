// short_conv: y = out(C * conv(B * u)), with B, C, u made from x. LFM2's gated short convolution (arXiv 2511.23404).
import type { Tensor } from '../tensor/index.ts';
import { add, causalConv, chunk, LfmError, linear, mul, reshape } from '../tensor/index.ts';
import { operator } from './operator.ts';
import { bias, weight } from './parameter.ts';
import { fixed } from './state.ts';

function project(x: Tensor, w: Tensor, b: Tensor | undefined): Tensor {
  return b ? add(linear(x, w), b) : linear(x, w);
}

/** `kernel`: how many tokens the convolution sees, its own included; `bias`: whether its three parts have one. */
export const shortConv = operator(
  'short_conv',
  ({ kernel = 3, bias: biased = false }: { kernel?: number; bias?: boolean }) => ({
    scope: 'conv',
    parameters: ({ hiddenSize: d }) => ({
      'in_proj.weight': weight([3 * d, d], ['channels', 'hidden']),
      // A channel sums over `kernel` inputs, not over a whole hidden state: the model's range would all but close it.
      'conv.weight': weight([d, 1, kernel], ['channels', 'one', 'tap'], { std: (3 * kernel) ** -0.5 }),
      'out_proj.weight': weight([d, d], ['hidden', 'channels']),
      ...(biased && {
        'in_proj.bias': bias([3 * d], ['channels']),
        'conv.bias': bias([d], ['channels']),
        'out_proj.bias': bias([d], ['hidden']),
      }),
    }),
    state: ({ hiddenSize: d }) => {
      if (!(kernel >= 2))
        throw new LfmError(
          'bad-kernel',
          `short_conv: a kernel of ${kernel} has no past to remember; expected 2 or more.`,
        );
      return { tail: fixed([kernel - 1, d]) };
    },
    // Three matrices of one product, seen as [3, d, d]: devices that divide channels then hold the same ones of all three.
    featurize: (p, x_BTD) => {
      const d = x_BTD.dim(-1);
      const parts_BT3D = linear(x_BTD, reshape(p['in_proj.weight'], [3, d, d]));
      const biased_BT3D = p['in_proj.bias'] ? add(parts_BT3D, reshape(p['in_proj.bias'], [3, d])) : parts_BT3D;
      const [b = x_BTD, c = x_BTD, u = x_BTD] = chunk(biased_BT3D, 3, biased_BT3D.rank - 2).map((part) =>
        reshape(part, x_BTD.shape),
      );
      return { b, c, u };
    },
    mix: (p, { b, c, u }, { tail }, { lengths, segments }) => {
      const { y, next } = causalConv(mul(b, u), p['conv.weight'], { tail, lengths, segments });
      const filtered = p['conv.bias'] ? add(y, p['conv.bias']) : y;
      return [project(mul(c, filtered), p['out_proj.weight'], p['out_proj.bias']), { tail: next }];
    },
  }),
);
