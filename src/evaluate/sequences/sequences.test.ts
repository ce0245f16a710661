// Sequence tasks as examples, the rivals, and a stream of a trained-size hybrid on real pictures where they are at hand.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../../../test/root.ts';
import { onnxEngine } from '../../engines/onnx/engine.node.ts';
import { parseIdx } from '../../image/idx.ts';
import { initialise, outputProgram, stateTypes, stepProgram } from '../../liquid/index.ts';
import type { Host } from '../../liquid/testing.ts';
import { difference, float32, int32, numbers, run } from '../../liquid/testing.ts';
import { convolutionalRival, linearRival } from './rivals.ts';
import { hybrid } from './run.ts';
import type { SequenceTask } from './tasks.ts';
import { digitRows, irregularOscillators, spokenDigits, steppedExamples, wholeExamples } from './tasks.ts';

const oscillators = irregularOscillators(6, 2, 1);

describe('examples', () => {
  it('ask at every step of the second half in training, at the last in test', () => {
    const { arrays } = steppedExamples(oscillators, oscillators.train, 'train');
    const first = Array.from(arrays['weights']?.subarray(0, 48) ?? []);
    expect(first).toEqual([...new Array<number>(24).fill(0), ...new Array<number>(24).fill(1)]);
    expect(new Set(arrays['labels']?.subarray(48, 96))).toEqual(new Set([oscillators.train.labels[1]]));
    const test = steppedExamples(oscillators, oscillators.test, 'test').arrays['weights'];
    expect(Array.from(test ?? []).filter((weight) => weight === 1)).toHaveLength(2);
    expect(test?.[47]).toBe(1);
  });

  it('give a rival the whole series with its time steps between the values', () => {
    const { train } = oscillators;
    const { values, weights } = wholeExamples(oscillators, train).arrays;
    expect(values).toHaveLength(6 * 48 * 2);
    expect([values?.[2], values?.[3]]).toEqual([train.values[1], train.timeSteps?.[1]]);
    expect(weights).toHaveLength(6);
  });

  it('hold the end of a spoken digit, with silence before a short one, raw or by bands', () => {
    const samples = Float32Array.from({ length: 1280 }, (_, i) => 0.1 * Math.sin(i));
    const clips = [0, 4, 5].map((index) => ({ samples, rate: 8000, digit: index, index }));
    const raw = spokenDigits(clips, 'raw');
    expect([raw.length, raw.channels, raw.train.count, raw.test.count]).toEqual([80, 64, 1, 2]);
    expect(raw.train.values.subarray(0, 5120 - 1280).every((value) => value === 0)).toBe(true);
    const power = raw.train.values.reduce((sum, value) => sum + value * value, 0) / 1280;
    expect(power).toBeCloseTo(1, 3);
    const mel = spokenDigits(clips, 'log-mel');
    expect(mel.train.values).toHaveLength(mel.length * mel.channels);
    expect(Array.from(raw.test.labels)).toEqual([0, 4]);
  });
});

function weightsOf(model: ReturnType<typeof hybrid>): Record<string, Host> {
  const arrays = initialise(model, 2);
  return Object.fromEntries(
    Object.entries(model.parameters).map(([name, { shape }]) => [name, float32(shape, arrays[name] ?? [])]),
  );
}

describe('rivals', () => {
  const series = { length: 4, channels: 2 };

  it('are a linear map with a shift, and a network that sees as far as its kernels', async () => {
    const engine = await onnxEngine({ threads: 1 });
    const values = Array.from({ length: 8 }, (_, i) => Math.cos(3 * i));
    const linear = linearRival(series, oscillators.head);
    expect(Object.keys(linear.parameters)).toEqual(['regression.weight']);
    const own = weightsOf(linear);
    const outputsOf = async (given: readonly number[]) =>
      numbers(
        (
          await run(engine, outputProgram(linear, { batch: 1, length: 1 }), {
            ...own,
            values: float32([1, 1, 8], given),
          })
        ).outputs,
      )[0];
    const weights = numbers(own['regression.weight']);
    const expected = [...values, 1].reduce((sum, value, at) => sum + value * (weights[at] ?? 0), 0);
    expect(await outputsOf(values)).toBeCloseTo(expected, 5);

    const network = convolutionalRival({ length: 6, channels: 1 }, 3, 1, oscillators.head);
    const found = await run(engine, outputProgram(network, { batch: 1, length: 1 }), {
      ...weightsOf(network),
      values: float32([1, 1, 6], [0, 0, 1, 0, 0, 0]),
      'regression.weight': float32([1, 3], [1, 0, 0]),
    });
    // A pulse at step 2 meets each tap once within the six steps; the mean over time of max(tap, 0) is what is left.
    const taps = numbers(weightsOf(network)['conv.0.weight']).slice(0, 5);
    const sum = taps.reduce((total, tap) => total + Math.max(0, tap), 0);
    expect(numbers(found.outputs)[0]).toBeCloseTo(sum / 6, 5);
    await engine.close();
  });
});

const folder = ['shared/data', '../shared/data'].map((path) => join(ROOT, path, 'images/mnist')).find(existsSync);

/** The hybrid's outputs for one series at once and step by step. */
async function streamed(task: SequenceTask, timed: boolean) {
  const engine = await onnxEngine({ threads: 1 });
  const model = hybrid(task, timed);
  const { length, channels } = task;
  const weights = weightsOf(model);
  const [values, steps] = [task.test.values.slice(0, length * channels), task.test.timeSteps?.slice(0, length)];
  const inputs = (from: number, to: number) => ({
    values: float32([1, to - from, channels], values.slice(from * channels, to * channels)),
    ...(steps && { time_steps: float32([1, to - from], steps.slice(from, to)) }),
  });
  const { outputs } = await run(engine, outputProgram(model, { batch: 1, length }), {
    ...weights,
    ...inputs(0, length),
  });
  let state: Record<string, Host> = Object.fromEntries(
    Object.entries(stateTypes(model, { batch: 1, capacity: length })).map(([name, { shape }]) => {
      const sizes = shape.map(Number);
      return [`state.${name}`, float32(sizes, new Float32Array(sizes.reduce((a, b) => a * b)))];
    }),
  );
  const program = stepProgram(model, { batch: 1, capacity: length, length: 1 });
  const stream: number[] = [];
  for (let at = 0; at < length; at++) {
    const place = { starts: int32([1], [at]), lengths: int32([1], [1]) };
    const { logits, ...next } = await run(engine, program, { ...weights, ...state, ...inputs(at, at + 1), ...place });
    stream.push(...numbers(logits));
    state = next;
  }
  await engine.close();
  return { outputs, stream: float32([1, length, model.head.classes], stream) };
}

describe('a stream, a step at a time, gives what the whole series gives', () => {
  it('for oscillators at random times', async () => {
    const { outputs, stream } = await streamed(oscillators, true);
    expect(difference(stream, outputs)).toBeLessThan(1e-4);
  });

  it.skipIf(!folder)('for the rows of a picture (../shared/data)', async () => {
    const read = (name: string) => parseIdx(gunzipSync(readFileSync(join(folder ?? '', `${name}-ubyte.gz`))));
    const part = { images: read('t10k-images-idx3'), labels: read('t10k-labels-idx1') };
    const task = digitRows(part, part);
    expect([task.length, task.channels, task.test.count]).toEqual([28, 28, 1000]);
    const { outputs, stream } = await streamed(task, false);
    expect(difference(stream, outputs)).toBeLessThan(1e-4);
  });
});
