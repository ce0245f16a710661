// Plans: what divides over which devices, what a run out of memory is told, and the estimate beside what a compiler planned.
import { describe, expect, it } from 'vitest';
import { referenceEngine } from '../engines/reference/index.ts';
import type { Mesh } from '../engines/xla/mesh.ts';
import { defineModel, initialise, layer, moe, shortConv } from '../liquid/index.ts';
import { model } from '../liquid/testing-model.ts';
import { LfmError } from '../tensor/error.ts';
import type { PlanRequest } from './plan.ts';
import { explainMemory, expectedSpeed, nearestFitting, planTraining } from './plan.ts';
import { createTrainer } from './trainer.ts';

const request: PlanRequest = {
  model,
  batch: { size: 8, length: 64, accumulate: 1 },
  dtype: 'float32',
  recompute: false,
};
const parameters = Object.values(model.parameters).reduce(
  (sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1),
  0,
);

describe('planTraining', () => {
  it('holds parameters and two moments in float32, and a pass besides', () => {
    const { memory, ...plan } = planTraining(request);
    expect(plan).toMatchObject({ devices: 1, parameters, tokensPerStep: 512, collectives: {} });
    expect(memory.state).toBe(12 * parameters);
    expect(memory.pass).toBeGreaterThan(4 * parameters);
    expect(memory.total).toBe(memory.state + memory.pass);
  });

  it('takes less where layers are recomputed, rows are fewer, or devices share', () => {
    const { pass } = planTraining(request).memory;
    for (const less of [
      { recompute: true },
      { batch: { ...request.batch, size: 4 } },
      { mesh: { data: 2 } },
      { mesh: { tensor: 2 } },
      { mesh: { sequence: 2 } },
    ])
      expect(planTraining({ ...request, ...less }).memory.pass).toBeLessThan(pass);
  });

  it('divides parameters, moments and gradients over fsdp, and only rows over data', () => {
    const [one, data, fsdp] = [{ data: 1 }, { data: 2 }, { fsdp: 2 }].map((mesh) => planTraining({ ...request, mesh }));
    expect(data?.memory.state).toBe(one?.memory.state);
    expect(fsdp?.memory.state).toBeLessThan(0.6 * (one?.memory.state ?? 0));
    expect(fsdp?.memory.pass).toBeLessThanOrEqual(data?.memory.pass ?? 0);
    // Twice half of the gradients to sum them; as much to gather weights twice, and half of it for gradients.
    expect(data?.collectives).toEqual({ 'summing gradients (data, sequence)': 4 * parameters });
    const [gathered, scattered] = Object.values(fsdp?.collectives ?? {});
    expect(gathered).toBe(2 * (scattered ?? 0));
  });

  it('divides experts over the axis of that name: memory, and sums in place of weights that are gathered', () => {
    const routed = moe({ experts: 8, activeExperts: 2, intermediateSize: 64, expertBias: true });
    const mixture = defineModel({
      vocabSize: 64,
      hiddenSize: 64,
      layers: [layer(shortConv(), routed), layer(shortConv(), routed)],
    });
    const of = (mesh: Mesh) => planTraining({ ...request, model: mixture, mesh });
    const [one, four] = [of({}), of({ expert: 4 })];
    const experts = 2 * 8 * 3 * 64 * 64;
    expect(one.memory.state - four.memory.state).toBe(12 * experts * (3 / 4));
    expect(four.memory.pass).toBeLessThan(one.memory.pass);
    // A sum of outputs and one of inputs' gradients for each of two layers, as rings move them.
    const { size, length, accumulate } = request.batch;
    const sums = 2 * 2 * 2 * (3 / 4) * 4 * size * length * 64 * accumulate;
    expect(four.collectives).toEqual({ "summing experts' outputs (expert)": sums });
    // Arithmetic of two experts of eight.
    expect(four.flopsPerStep).toBe(one.flopsPerStep);
    expect(four.flopsPerStep / four.tokensPerStep).toBeLessThan(6 * (four.parameters - experts / 2));
  });

  it('refuses a batch that the devices cannot share', () => {
    expect(() => planTraining({ ...request, mesh: { data: 3 } })).toThrow(/6 or 9 would/);
  });

  it('expects a step as long as its products, or as its collectives where those take longer', () => {
    const plan = planTraining({ ...request, mesh: { data: 2 } });
    const slow = expectedSpeed(plan, false, 1e9);
    expect(slow.secondsPerStep).toBeCloseTo(plan.flopsPerStep / (2 * 1e9 * slow.mfu));
    const fast = expectedSpeed(plan, false, 1e20);
    expect(fast.secondsPerStep).toBe(fast.secondsOfCollectives);
    expect(fast.mfu).toBeLessThan(slow.mfu);
  });
});

describe('out of memory', () => {
  it('names the nearest plan that fits: fewer rows a pass first, then recomputing', () => {
    const { memory } = planTraining(request);
    const fewer = nearestFitting(request, memory.total - 1);
    expect(fewer?.change).toBe('batch.size 4 with batch.accumulate 2');
    expect(fewer?.plan.tokensPerStep).toBe(512);
    expect(nearestFitting(request, memory.state)).toBeUndefined();
    const odd = { ...request, batch: { ...request.batch, size: 3 } };
    expect(nearestFitting(odd, planTraining(odd).memory.total - 1)?.change).toBe('engine.recompute true');
  });

  it('says from data parallelism how to divide what every device holds', () => {
    const mesh = { data: 2 };
    const least = { ...request, recompute: true, mesh, batch: { ...request.batch, size: 2 } };
    const found = nearestFitting(least, planTraining(least).memory.total - 1);
    expect(found?.change).toContain('fsdp=2 in place of data');
  });

  it('tells a run what was too big, of how much, and what would fit', async () => {
    const engine = referenceEngine();
    const bytes = planTraining(request).memory.total * 0.95;
    const failing = {
      ...engine,
      device: { kind: 'small', memoryBytes: bytes },
      compile: () => Promise.reject(new LfmError('out-of-device-memory', 'RESOURCE_EXHAUSTED: 12345 bytes')),
    };
    const values = initialise(model, 1);
    const work = createTrainer({ ...request, engine: failing, start: (key) => values[key] });
    await expect(work).rejects.toMatchObject({
      code: 'out-of-device-memory',
      message: expect.stringMatching(/about .* GB on each device .* there\. Set batch\.size 4 .*12345 bytes/) as string,
    });
    expect(explainMemory(new Error('else'), request, bytes)).toEqual(new Error('else'));
    await engine.close();
  });
});
