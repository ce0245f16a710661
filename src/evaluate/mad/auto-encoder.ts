// MAD's compression: a sequence told again from one hidden state. Shapes: B rows, T tokens, D hidden size.
import type { Model, Tensors } from '../../liquid/index.ts';
import { bias, gain, weight } from '../../liquid/index.ts';
import { take } from '../../liquid/parameter.ts';
import { add, broadcastTo, constant, LfmError, linear, rmsNorm, silu, sliceAxis } from '../../tensor/index.ts';

const layers = ['decoder.0', 'decoder.1'];

/** Sines and cosines of each position [T, D], of wavelengths from 2 pi to 20,000 pi (Vaswani et al. 2017, arXiv 1706.03762). */
function positionTable(length: number, width: number): Float32Array {
  const half = width / 2;
  return Float32Array.from({ length: length * width }, (_, at) => {
    const [position, channel] = [Math.floor(at / width), at % width];
    const angle = position * 10_000 ** -((channel % half) / (half - 1));
    return channel < half ? Math.sin(angle) : Math.cos(angle);
  });
}

/**
 * The model with a decoder behind it: every position's scores come from the last position's hidden state, the position's own
 * number and a two-layer perceptron. It cannot decode as a stream.
 */
export function autoEncoder(model: Model): Model {
  const { hiddenSize: d, normEps } = model;
  const declared = layers.flatMap((name) => [
    [`${name}.norm.weight`, gain([d], ['hidden'])] as const,
    [`${name}.weight`, weight([d, d], ['hidden', 'channels'])] as const,
    [`${name}.bias`, bias([d], ['hidden'])] as const,
  ]);
  const own = Object.fromEntries(
    [...declared, ['decoder.norm.weight', gain([d], ['hidden'])] as const].map(([name, parameter]) => [
      name,
      { init: { std: d ** -0.5 }, ...parameter },
    ]),
  );
  return {
    ...model,
    parameters: { ...model.parameters, ...own },
    forward(p: Tensors, inputs, context, states, options) {
      const { hidden_BTD } = model.forward(p, inputs, context, states, options);
      const [, length = 0] = hidden_BTD.shape;
      if (typeof length !== 'number')
        throw new LfmError('unbound-symbol', `An auto-encoder tells a known number of tokens; found ${length}.`);
      const positions = constant('float32', [length, d], positionTable(length, d));
      const last = sliceAxis(hidden_BTD, 1, length - 1, length);
      const started = add(broadcastTo(last, hidden_BTD.shape), positions);
      const decoded = layers.reduce((x, name) => {
        const normed = rmsNorm(x, take(p, `${name}.norm.weight`), normEps);
        return silu(add(linear(normed, take(p, `${name}.weight`)), take(p, `${name}.bias`)));
      }, started);
      return { hidden_BTD: rmsNorm(decoded, take(p, 'decoder.norm.weight'), normEps), states: {} };
    },
  };
}
