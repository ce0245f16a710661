// Sequence tasks that are not text, as examples for any model: rows of a picture, spoken digits, oscillators at random times.
import { logMel } from '../../audio/log-mel.ts';
import type { Waveform } from '../../audio/wav.ts';
import type { IdxArray } from '../../image/idx.ts';
import type { Head } from '../../liquid/index.ts';
import { classHead, regressionHead } from '../../liquid/index.ts';
import { dampedOscillators } from '../../series/oscillators.ts';
import { LfmError } from '../../tensor/error.ts';
import type { Examples } from '../../train/examples.ts';

/** Series of one length, and what each of them is: a class or a number. */
export interface SeriesSet {
  readonly count: number;
  /** [count, length, channels]. */
  readonly values: Float32Array;
  /** [count, length]; absent: evenly spaced. */
  readonly timeSteps?: Float32Array;
  /** [count]: classes, or numbers of about unit size. */
  readonly labels: Int32Array | Float32Array;
}

export interface SequenceTask {
  readonly name: string;
  readonly length: number;
  readonly channels: number;
  readonly head: Head;
  readonly train: SeriesSet;
  readonly test: SeriesSet;
}

/**
 * One step of the model for one of the series. In training, every step of the second half is asked what the series is; in
 * test, the last one is.
 */
export function steppedExamples({ length }: SequenceTask, set: SeriesSet, split: 'train' | 'test'): Examples {
  const { count, values, timeSteps, labels } = set;
  const first = split === 'train' ? Math.floor(length / 2) : length - 1;
  const each = labels instanceof Int32Array ? new Int32Array(count * length) : new Float32Array(count * length);
  return {
    count,
    arrays: {
      values,
      ...(timeSteps && { time_steps: timeSteps }),
      labels: each.map((_, at) => labels[Math.floor(at / length)] ?? 0),
      weights: Float32Array.from(each, (_, at) => (at % length >= first ? 1 : 0)),
    },
  };
}

/** A whole series as one step: its values and, where there are any, time steps as a channel more. */
export function wholeExamples({ channels }: SequenceTask, { count, values, timeSteps, labels }: SeriesSet): Examples {
  const width = channels + 1;
  const joined = timeSteps
    ? Float32Array.from({ length: timeSteps.length * width }, (_, at) => {
        const [step, channel] = [Math.floor(at / width), at % width];
        return (channel < channels ? values[step * channels + channel] : timeSteps[step]) ?? 0;
      })
    : values;
  return { count, arrays: { values: joined, labels, weights: new Float32Array(count).fill(1) } };
}

interface LabelledImages {
  readonly images: IdxArray;
  readonly labels: IdxArray;
}

/** MNIST: the rows of a picture, from the top. Errors: `bad-file` where pictures and labels are not of one number. */
export function digitRows(train: LabelledImages, test: LabelledImages): SequenceTask {
  const setOf = ({ images, labels }: LabelledImages): SeriesSet => {
    const [count = 0] = images.shape;
    if (labels.shape[0] !== count || images.shape.length !== 3)
      throw new LfmError(
        'bad-file',
        `Expected a label for each picture; found [${labels.shape}] for [${images.shape}].`,
      );
    return {
      count,
      values: Float32Array.from(images.data, (pixel) => pixel / 128 - 0.5),
      labels: Int32Array.from(labels.data),
    };
  };
  const [, length = 0, channels = 0] = train.images.shape;
  return {
    name: 'digit rows',
    length,
    channels,
    head: classHead({ classes: 10 }),
    train: setOf(train),
    test: setOf(test),
  };
}

export interface SpokenDigit extends Waveform {
  readonly digit: number;
  /** The data set's own split: test clips are those of index 0 to 4. */
  readonly index: number;
}

const CLIP = 5120;
const PATCH = 64;
const FRAME = 128;
const BANDS = 32;

/** The last 0.64 s of a clip at 8 kHz, at an effective value of 1; silence before a shorter one. */
function clipOf(samples: Float32Array): Float32Array {
  const end = samples.subarray(-CLIP);
  const power = end.reduce((sum, sample) => sum + sample * sample, 0) / end.length;
  const clip = new Float32Array(CLIP);
  clip.set(
    end.map((sample) => sample / Math.sqrt(power + 1e-9)),
    CLIP - end.length,
  );
  return clip;
}

/** Spoken digits as patches of 64 raw samples, or as frames of 128 in 32 bands of pitch. */
export function spokenDigits(clips: readonly SpokenDigit[], form: 'raw' | 'log-mel'): SequenceTask {
  const setOf = (part: readonly SpokenDigit[]): SeriesSet => {
    const rows = part.map(({ samples, rate }) => {
      const clip = clipOf(samples);
      // Logarithms of power lie between about -14, silence, and 10.
      return form === 'raw' ? clip : logMel(clip, { rate, frame: FRAME, bands: BANDS }).map((value) => value / 6);
    });
    const values = new Float32Array(rows.reduce((sum, row) => sum + row.length, 0));
    rows.reduce((at, row) => (values.set(row, at), at + row.length), 0);
    return { count: part.length, values, labels: Int32Array.from(part, ({ digit }) => digit) };
  };
  const [channels, length] = form === 'raw' ? [PATCH, CLIP / PATCH] : [BANDS, CLIP / FRAME];
  return {
    name: `spoken digits, ${form}`,
    length,
    channels,
    head: classHead({ classes: 10 }),
    train: setOf(clips.filter(({ index }) => index > 4)),
    test: setOf(clips.filter(({ index }) => index <= 4)),
  };
}

/** The frequency of an oscillator from 48 observations at random times; guessing the mean errs by 0.333. */
export function irregularOscillators(trainCount: number, testCount: number, seed: number): SequenceTask {
  const length = 48;
  const setOf = (count: number, stream: number): SeriesSet => {
    const { values, timeSteps, frequencies } = dampedOscillators(count, length, seed * 2 + stream);
    return { count, values, timeSteps, labels: frequencies };
  };
  return {
    name: 'irregular oscillators',
    length,
    channels: 1,
    head: regressionHead({ outputs: 1 }),
    train: setOf(trainCount, 0),
    test: setOf(testCount, 1),
  };
}
