// Balancing of experts in training: with the rule the load evens out, without it not; what it does is resumed to the bit.
import { describe, expect, it } from 'vitest';
import { onnxEngine } from '../engines/onnx/engine.node.ts';
import type { Model } from '../liquid/index.ts';
import { attention, defineModel, gradientProgram, initialise, layer, moe } from '../liquid/index.ts';
import { Random } from '../tensor/index.ts';
import { createTrainer } from './trainer.ts';

const [vocabSize, rows, length] = [256, 8, 32];
const bias = 'model.layers.0.feed_forward.expert_bias';

function mixture(balanceRate: number): Model {
  const routed = moe({
    experts: 8,
    activeExperts: 2,
    intermediateSize: 8,
    routing: 'sigmoid',
    expertBias: true,
    balanceRate,
  });
  return defineModel({
    vocabSize,
    hiddenSize: 16,
    initializerRange: 0.3,
    layers: [layer(attention({ heads: 2 }), routed)],
  });
}

const tokensOf = (step: number) => {
  const random = new Random(7, step);
  return Int32Array.from({ length: rows * (length + 1) }, () => Math.floor(vocabSize * random.uniform()));
};

/** Trains from one step to another, from values by name or from the beginning; answers all values. */
async function trained(model: Model, from: number, to: number, begin?: Readonly<Record<string, Float32Array>>) {
  const engine = await onnxEngine({ threads: 1 });
  const values: Readonly<Record<string, Float32Array>> = begin ?? initialise(model, 3);
  const batch = { size: rows / 2, length, accumulate: 2 };
  const trainer = await createTrainer({ engine, model, batch, start: (key) => values[key] });
  const norms: number[] = [];
  for (let step = from; step <= to; step++)
    norms.push((await (await trainer.step(tokensOf(step), step, 0.003)).result).norm);
  const after: Record<string, Float32Array> = {};
  for (const name of Object.keys(model.parameters))
    for (const key of [name, `first.${name}`, `second.${name}`]) after[key] = await trainer.read(key);
  trainer.dispose();
  await engine.close();
  return { after, norms };
}

/** The busiest expert's tokens over the mean, over a few batches. */
async function unevenness(model: Model, values: Readonly<Record<string, Float32Array>>): Promise<number> {
  const engine = await onnxEngine({ threads: 1 });
  const program = gradientProgram(model, { batch: rows, length });
  const executable = await engine.compile(program);
  const total = new Array<number>(8).fill(0);
  for (let step = 1001; step <= 1008; step++) {
    const inputs = { tokens: tokensOf(step).subarray(0, rows * length), labels: new Int32Array(rows * length) };
    const given = { ...values, ...inputs, weights: new Float32Array(rows * length).fill(1) };
    const buffers = Object.fromEntries(
      await Promise.all(
        program.inputs.map(async ({ name, value }) => {
          const data = given[name as keyof typeof given] ?? new Float32Array();
          return [name, await engine.upload(value.dtype, value.shape.map(Number), data)] as const;
        }),
      ),
    );
    const outputs = await executable.run(buffers);
    const load = outputs[`gradient.${bias}`];
    if (load) (await engine.download(load)).forEach((count, i) => (total[i] = (total[i] ?? 0) + Number(count)));
    for (const buffer of [...Object.values(buffers), ...Object.values(outputs)]) buffer.dispose();
  }
  await engine.close();
  return (8 * Math.max(...total)) / total.reduce((a, b) => a + b, 0);
}

describe('balancing experts', () => {
  it('evens the load out; without it it stays uneven', async () => {
    const [with_, without] = [mixture(0.01), mixture(0)];
    const [balanced, free] = [await trained(with_, 1, 120), await trained(without, 1, 120)];
    expect(await unevenness(with_, balanced.after)).toBeLessThan(1.35);
    expect(await unevenness(without, free.after)).toBeGreaterThan(1.6);
    expect(Math.max(...(free.after[bias] ?? [1]))).toBe(0);
  });

  it('moves a bias by the rate a step whatever the passes, and goes on to the bit', async () => {
    const model = mixture(0.25);
    const first = await trained(model, 1, 1);
    for (const value of first.after[bias] ?? [NaN]) expect([-0.25, 0, 0.25]).toContain(value);
    expect(new Set(first.after[bias]).size).toBeGreaterThan(1);
    // No part of what AdamW keeps.
    expect(Math.hypot(...(first.after[`second.${bias}`] ?? [NaN]))).toBe(0);
    const [whole, rest] = [await trained(model, 1, 4), await trained(model, 2, 4, first.after)];
    expect(rest.after).toEqual(whole.after);
    expect([...first.norms, ...rest.norms]).toEqual(whole.norms);
  });
});
