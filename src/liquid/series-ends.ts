// Ends for data that is not text: an encoder of numbers, with the time between them, and a head that predicts numbers.
// Shapes: B rows, T steps, C numbers a step, D hidden size, N = B * T positions, K numbers predicted.
import type { Tensor } from '../tensor/index.ts';
import { add, cast, concatenate, expandDims, linear, mean, mul, sub, sum } from '../tensor/index.ts';
import type { Encoder, Head, Objective } from './ends.ts';
import { classHead } from './ends.ts';
import { bias, take, weight } from './parameter.ts';

const map = 'model.encoder.weight';
const shift = 'model.encoder.bias';

export interface ValueEncoderOptions {
  /** Numbers of a step: columns of a series, pixels of a row, samples of a patch of a waveform. */
  readonly channels: number;
  /**
   * Whether there is an input `time_steps`, float32 [B, T], the time from the step before to each one. `operators`: those that
   * know of time read it from their context; `channel`: they do, and the linear map takes it as one number more.
   */
  readonly timeSteps?: 'none' | 'operators' | 'channel';
}

/**
 * A linear map of the numbers of each step. Its program input is `values`, float32 [B, T, C]: a raw waveform of T * C samples
 * is T patches as it lies in memory.
 */
export function valueEncoder({ channels, timeSteps = 'none' }: ValueEncoderOptions): Encoder {
  const width = timeSteps === 'channel' ? channels + 1 : channels;
  return {
    parameters: ({ hiddenSize }) => ({
      // Values of about unit size become hidden states of unit size.
      [map]: weight([hiddenSize, width], ['hidden', 'samples'], { std: width ** -0.5 }),
      [shift]: bias([hiddenSize], ['hidden']),
    }),
    inputs: (batch, length) => ({
      values: { dtype: 'float32', shape: [batch, length, channels] },
      ...(timeSteps !== 'none' && { time_steps: { dtype: 'float32', shape: [batch, length] } }),
    }),
    encode: (p, inputs) => {
      const values = take(inputs, 'values');
      const all =
        timeSteps === 'channel' ? concatenate([values, expandDims(take(inputs, 'time_steps'), 2)], 2) : values;
      const w = take(p, map);
      return add(linear(cast(all, w.dtype), w), take(p, shift));
    },
  };
}

/** Weighted sum over positions of the squared error's mean over K numbers; `labels` are float32 [B, T, K]. */
export function meanSquaredError(outputs: number): Objective {
  return {
    labels: (batch, length) => ({ dtype: 'float32', shape: [batch, length, outputs] }),
    loss: (found_NK: Tensor, labels_NK: Tensor, weights_N: Tensor) => {
      const error_NK = sub(cast(found_NK, 'float32'), labels_NK);
      return sum(mul(weights_N, mean(mul(error_NK, error_NK), [1])), [0]);
    },
  };
}

/** Predicts numbers at each position, by least squares. The last norm stands before it: labels should be of about unit size. */
export function regressionHead({ outputs, name = 'regression' }: { outputs: number; name?: string }): Head {
  return { ...classHead({ classes: outputs, name }), objective: meanSquaredError(outputs) };
}
