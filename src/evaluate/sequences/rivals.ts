// What a Liquid model is measured against on a sequence: a linear map of the whole, and a plain convolutional network.
// Shapes: B rows, L steps of C numbers, D channels.
import type { Encoder, Head, Model } from '../../liquid/index.ts';
import { bias, defineModel, weight } from '../../liquid/index.ts';
import { take } from '../../liquid/parameter.ts';
import type { Tensor } from '../../tensor/index.ts';
import { add, concatenate, linear, maximum, mean, pad, reshape, sliceAxis } from '../../tensor/index.ts';

export interface Series {
  readonly length: number;
  readonly channels: number;
}

/**
 * A model that is its encoder and its head, without a backbone or a last norm. It takes a whole series as one step: its
 * length in a batch is 1.
 */
function endsOnly(hiddenSize: number, encoder: Encoder, head: Head): Model {
  const model = defineModel({ hiddenSize, encoder, head, layers: [] });
  const used = { ...encoder.parameters({ hiddenSize }), ...head.parameters({ hiddenSize }) };
  return {
    ...model,
    parameters: Object.fromEntries(Object.entries(model.parameters).filter(([name]) => name in used)),
    forward: (p, inputs) => ({ hidden_BTD: encoder.encode(p, inputs), states: {} }),
  };
}

const wholeSeries =
  ({ length, channels }: Series): Encoder['inputs'] =>
  (batch, steps) => ({
    values: { dtype: 'float32', shape: [batch, steps, length * channels] },
  });

/** The numbers of the whole series, and one that is always 1, straight into the head: multinomial or least-squares regression. */
export function linearRival(series: Series, head: Head): Model {
  const width = series.length * series.channels + 1;
  const encoder: Encoder = {
    parameters: () => ({}),
    inputs: wholeSeries(series),
    encode: (_p, inputs) => pad(take(inputs, 'values'), [0, 0, 0], [0, 0, 1], 1),
  };
  return endsOnly(width, encoder, head);
}

/** Convolutions of kernel 5 over time, each followed by max(x, 0) and a mean of pairs, then the mean over time. */
export function convolutionalRival(series: Series, hiddenSize: number, depth: number, head: Head): Model {
  const { length, channels } = series;
  const widths = Array.from({ length: depth }, (_, at) => (at === 0 ? channels : hiddenSize));
  const encoder: Encoder = {
    parameters: () =>
      Object.fromEntries(
        widths.flatMap((width, at) => [
          [
            `conv.${at}.weight`,
            weight([hiddenSize, KERNEL * width], ['hidden', 'taps'], { std: (2 / (KERNEL * width)) ** 0.5 }),
          ],
          [`conv.${at}.bias`, bias([hiddenSize], ['hidden'])],
        ]),
      ),
    inputs: wholeSeries(series),
    encode: (p, inputs) => {
      const values = take(inputs, 'values');
      const start = reshape(values, [values.dim(0), length, channels]);
      const last = widths.reduce((x, _, at) => {
        const y = add(convolve(x, take(p, `conv.${at}.weight`)), take(p, `conv.${at}.bias`));
        return pairMeans(maximum(y, 0));
      }, start);
      return reshape(mean(last, [1]), [values.dim(0), 1, hiddenSize]);
    },
  };
  return endsOnly(hiddenSize, encoder, head);
}

const KERNEL = 5;

/** y[t] = Σ_k w_k x[t + k - 2], zeros outside: x [B, L, C] -> [B, L, D]. */
function convolve(x: Tensor, w: Tensor): Tensor {
  const side = (KERNEL - 1) / 2;
  const wide = pad(x, [0, side, 0], [0, side, 0]);
  const taps = Array.from({ length: KERNEL }, (_, k) => sliceAxis(wide, 1, k, k + Number(x.dim(1))));
  return linear(concatenate(taps, 2), w);
}

/** Means of steps 2t and 2t + 1; an odd last step is left out. A single step stays. */
function pairMeans(x: Tensor): Tensor {
  const length = Number(x.dim(1));
  if (length === 1) return x;
  const even = sliceAxis(x, 1, 0, length - (length % 2));
  return mean(reshape(even, [x.dim(0), Math.floor(length / 2), 2, x.dim(2)]), [2]);
}
