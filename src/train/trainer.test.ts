// Steps on the reference and onnx engines: accumulation, the optimizer's arithmetic, learning, and memory given back.
import { describe, expect, it } from 'vitest';
import type { Engine } from '../engines/engine.ts';
import { onnxEngine } from '../engines/onnx/engine.node.ts';
import { referenceEngine } from '../engines/reference/engine.ts';
import { defineModel, initialise, layer, shortConv, swiglu } from '../liquid/index.ts';
import { Random } from '../tensor/index.ts';
import { createHeldOutMeasure } from './held-out.ts';
import type { Batch } from './trainer.ts';
import { createTrainer, splitRows } from './trainer.ts';

const vocabSize = 11;
const model = defineModel({ vocabSize, hiddenSize: 8, layers: [layer(shortConv(), swiglu({ intermediateSize: 12 }))] });
const length = 6;
const engines: readonly [string, () => Engine | Promise<Engine>][] = [
  ['reference', referenceEngine],
  ['onnx', () => onnxEngine({ threads: 1 })],
];
const weights = initialise(model, 3);
const start = (key: string) => weights[key];

function randomRows(rows: number, seed: number): Int32Array {
  const random = new Random(seed);
  return Int32Array.from({ length: rows * (length + 1) }, () => Math.floor(random.uniform() * vocabSize));
}

async function trained(engine: Engine, batch: { size: number; accumulate?: number }, steps: number, rate = 0.01) {
  const trainer = await createTrainer({ engine, model, batch: { ...batch, length }, start });
  const results = [];
  for (let step = 1; step <= steps; step++)
    results.push(await (await trainer.step(randomRows(4, 5), step, rate)).result);
  const values = Object.fromEntries(
    await Promise.all(Object.keys(model.parameters).map(async (name) => [name, await trainer.read(name)] as const)),
  );
  const moment = await trainer.read('first.model.embed_tokens.weight');
  trainer.dispose();
  return { results, values, moment };
}

describe.each(engines)('[%s]', (_, open) => {
  it('passes added up make the same step as one pass over all rows', async () => {
    const engine = await open();
    const whole = await trained(engine, { size: 4 }, 3);
    const parts = await trained(engine, { size: 1, accumulate: 4 }, 3);
    for (const [index, { loss, norm }] of whole.results.entries()) {
      expect(parts.results[index]?.loss).toBeCloseTo(loss, 5);
      expect(parts.results[index]?.norm).toBeCloseTo(norm, 5);
    }
    for (const [name, values] of Object.entries(whole.values)) {
      values.forEach((value, at) => expect(parts.values[name]?.[at]).toBeCloseTo(value, 4));
    }
    expect(engine.live()).toEqual({ buffers: 0, bytes: 0 });
    await engine.close();
  });

  it('begins at the loss of a guess, and learns the rows by heart', async () => {
    const engine = await open();
    const { results } = await trained(engine, { size: 4 }, 60, 0.02);
    expect(results[0]?.loss).toBeCloseTo(Math.log(vocabSize), 1);
    expect(results.at(-1)?.loss).toBeLessThan(1);
    await engine.close();
  });

  it('takes the same steps again, to the last bit', async () => {
    const engine = await open();
    const [one, other] = [await trained(engine, { size: 4 }, 4), await trained(engine, { size: 4 }, 4)];
    expect(other).toEqual(one);
    await engine.close();
  });
});

it('the first step follows AdamW as published', async () => {
  const engine = referenceEngine();
  const rate = 0.01;
  const { values, moment } = await trained(engine, { size: 4 }, 1, rate);
  const name = 'model.embed_tokens.weight';
  const before = start(name) ?? new Float32Array(0);
  // After one step both moments, corrected, are g and g²: the step is the gradient's sign, and decay takes rate * 0.1.
  before.forEach((old, at) => {
    const g = (moment[at] ?? 0) / (1 - 0.9);
    expect(values[name]?.[at]).toBeCloseTo(old * (1 - rate * 0.1) - (rate * g) / (Math.abs(g) + 1e-8), 5);
  });
});

describe.each(engines)('a batch of named arrays [%s]', (_, open) => {
  it('makes the very step that its tokens make, and counts only the positions that its weights say', async () => {
    const engine = await open();
    const rows = randomRows(4, 5);
    const { inputs, labels } = splitRows(rows, length);
    const first = async (batch: Int32Array | Batch, accumulate = 1) => {
      const trainer = await createTrainer({
        engine,
        model,
        batch: { size: 4 / accumulate, length, accumulate },
        start,
      });
      const result = await (await trainer.step(batch, 1, 0.01)).result;
      const table = await trainer.read('model.embed_tokens.weight');
      trainer.dispose();
      return { ...result, table };
    };
    expect(await first({ tokens: inputs, labels })).toEqual(await first(rows));
    const firstRow = Float32Array.from(labels, (_value, at) => (at < length ? 1 / length : 0));
    const others = labels.map((label, at) => (at < length ? label : 0));
    const some = await first({ tokens: inputs, labels, weights: firstRow });
    expect(await first({ tokens: inputs, labels: others, weights: firstRow })).toEqual(some);
    const parts = await first({ tokens: inputs, labels, weights: firstRow }, 2);
    expect(parts.loss).toBeCloseTo(some.loss, 5);
    expect(parts.norm).toBeCloseTo(some.norm, 5);
    await expect(first({ tokens: inputs })).rejects.toThrow(/"labels".*int32 \[4,6\]/);
    await engine.close();
  });
});

it('rows of T + 1 tokens become inputs and the tokens that follow them', () => {
  expect(splitRows(Int32Array.of(1, 2, 3, 7, 8, 9), 2)).toEqual({
    inputs: Int32Array.of(1, 2, 7, 8),
    labels: Int32Array.of(2, 3, 8, 9),
  });
});

describe('held-out loss', () => {
  const tokens = Int32Array.from({ length: 50 }, (_, index) => index % vocabSize);
  const reader = {
    length: 50,
    read: async (from: number, into: Int32Array) => into.set(tokens.subarray(from, from + into.length)),
  };
  const bytesOf = Int32Array.from({ length: vocabSize }, (_, id) => (id === 0 ? 0 : 2));

  it('of a model that knows nothing is the entropy of a guess, over every token once', async () => {
    const engine = referenceEngine();
    const measure = await createHeldOutMeasure({ engine, model, batch: { size: 2, length }, endOfText: 0, bytesOf });
    const parameters: Record<string, Awaited<ReturnType<Engine['zeros']>>> = {};
    for (const [name, { shape }] of Object.entries(model.parameters))
      parameters[name] = await engine.zeros('float32', shape);
    const all = await measure.measure(parameters, reader);
    expect(all.tokens).toBe(50);
    expect(all.bytes).toBe(2 * [...tokens].filter((id) => id !== 0).length);
    expect(all.natsPerToken).toBeCloseTo(Math.log(vocabSize), 6);
    expect(all.bitsPerByte).toBeCloseTo((50 * Math.log2(vocabSize)) / all.bytes, 6);
    const some = await measure.measure(parameters, reader, 20);
    expect(some.tokens).toBe(24); // two batches of 12
    expect(some.natsPerToken).toBeCloseTo(Math.log(vocabSize), 6);
    measure.dispose();
    for (const buffer of Object.values(parameters)) buffer.dispose();
    expect(engine.live().buffers).toBe(0);
  });
});
