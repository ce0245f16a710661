// mlp: two matrices and an activation between them, or three with a gate, as transformers before SwiGLU have it.
import type { Tensor } from '../tensor/index.ts';
import { add, erf, linear, LfmError, maximum, mul, silu, tanh } from '../tensor/index.ts';
import { operator } from './operator.ts';
import { bias, weight } from './parameter.ts';

/** `gelu` is exact, `gelu_tanh` its approximation by tanh (Hendrycks and Gimpel 2016, arXiv 1606.08415). */
export const activations = {
  gelu: (x: Tensor) => mul(mul(x, 0.5), add(erf(mul(x, Math.SQRT1_2)), 1)),
  gelu_tanh: (x: Tensor) => {
    const cubed = mul(mul(x, x), x);
    return mul(mul(x, 0.5), add(tanh(mul(add(x, mul(cubed, 0.044715)), Math.sqrt(2 / Math.PI))), 1));
  },
  relu: (x: Tensor) => maximum(x, 0),
  silu,
} as const;

export interface MlpOptions {
  readonly intermediateSize: number;
  readonly activation?: keyof typeof activations;
  /** Whether a third matrix of the input is multiplied in (Gemma 2). */
  readonly gated?: boolean;
  readonly bias?: boolean;
}

export const mlp = operator('mlp', (options: MlpOptions) => {
  const { intermediateSize: f, activation = 'gelu', gated = false, bias: biased = false } = options;
  if (!Object.hasOwn(activations, activation))
    throw new LfmError(
      'bad-activation',
      `mlp: expected an activation of ${Object.keys(activations).join(', ')}; found "${activation}".`,
    );
  return {
    scope: 'mlp',
    parameters: ({ hiddenSize: d }) => ({
      'fc1.weight': weight([f, d], ['intermediate', 'hidden']),
      'fc2.weight': weight([d, f], ['hidden', 'intermediate']),
      ...(gated && { 'gate.weight': weight([f, d], ['intermediate', 'hidden']) }),
      ...(biased && { 'fc1.bias': bias([f], ['intermediate']), 'fc2.bias': bias([d], ['hidden']) }),
    }),
    featurize: (p, x_BTD) => {
      const y = linear(x_BTD, p['fc1.weight']);
      const up = p['fc1.bias'] ? add(y, p['fc1.bias']) : y;
      return { up, ...(p['gate.weight'] && { gate: linear(x_BTD, p['gate.weight']) }) };
    },
    mix: (p, { up, gate }, state) => {
      const inside = gate ? mul(activations[activation](gate), up) : activations[activation](up);
      const y = linear(inside, p['fc2.weight']);
      return [p['fc2.bias'] ? add(y, p['fc2.bias']) : y, state];
    },
  };
});
