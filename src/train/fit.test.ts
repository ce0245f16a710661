// Examples as batches, and a fit of numbers to numbers.
import { expect, it } from 'vitest';
import { onnxEngine } from '../engines/onnx/engine.node.ts';
import { defineModel, layer, regressionHead, shortConv, swiglu, valueEncoder } from '../liquid/index.ts';
import { Random } from '../tensor/index.ts';
import type { Examples } from './examples.ts';
import { batchOf, rowsOfBatch } from './examples.ts';
import { fit } from './fit.ts';

/** Rows of noise; what is asked for at the last step is the difference of the last two values. */
function differences(count: number, length: number, seed: number): Examples {
  const random = new Random(seed);
  const values = Float32Array.from({ length: count * length }, () => random.normal());
  const last = (at: number) => at % length === length - 1;
  const labels = values.map((value, at) => (last(at) ? value - (values[at - 1] ?? 0) : 0));
  return { count, arrays: { values, labels, weights: values.map((_, at) => (last(at) ? 1 : 0)) } };
}

it('batches hold whole rows, weights that add up to 1, and each example once before any comes again', () => {
  const examples = differences(6, 4, 1);
  const batch = batchOf(examples, [5, 0]);
  expect(batch['values']).toEqual(
    Float32Array.of(...(examples.arrays['values']?.slice(20) ?? []), ...(examples.arrays['values']?.slice(0, 4) ?? [])),
  );
  expect(batch['weights']).toEqual(Float32Array.of(0, 0, 0, 0.5, 0, 0, 0, 0.5));
  const seen = [0, 1, 2, 3, 4, 5].map((index) => rowsOfBatch(6, 2, index, 9));
  expect(seen.slice(0, 3).flat().toSorted()).toEqual([0, 1, 2, 3, 4, 5]);
  expect(seen.slice(3).flat().toSorted()).toEqual([0, 1, 2, 3, 4, 5]);
  expect(seen.slice(3)).not.toEqual(seen.slice(0, 3));
  expect(() => batchOf({ count: 7, arrays: examples.arrays }, [0])).toThrow(/24 elements, which are not 7/);
});

it('fits numbers, scores them by their squared error over every example once, and gives its memory back', async () => {
  const engine = await onnxEngine({ threads: 1 });
  const model = defineModel({
    encoder: valueEncoder({ channels: 1 }),
    head: regressionHead({ outputs: 1 }),
    hiddenSize: 16,
    initializerRange: 0.2,
    layers: [layer(shortConv(), swiglu({ intermediateSize: 16 }))],
  });
  const options = {
    engine,
    model,
    train: differences(256, 6, 2),
    test: differences(45, 6, 3),
    learningRate: 0.02,
    seed: 4,
  };
  const batch = { size: 16, length: 6 };
  const before = await fit({ ...options, batch, steps: 1 });
  const after = await fit({ ...options, batch, steps: 150 });
  expect(before.score).toBeGreaterThan(0.5);
  expect(after.score).toBeLessThan(0.1);
  expect(after.score).toBeGreaterThan(0);
  expect(engine.live().buffers).toBe(0);
  await engine.close();
});
