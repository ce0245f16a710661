// Mixtures of experts against transformers', and their forms against each other: gathered, in blocks, all experts over all.
import { describe, expect, it } from 'vitest';
import { countOf } from '../tensor/index.ts';
import type { Dim } from '../tensor/index.ts';
import type { MoeOptions } from './index.ts';
import { attention, defineModel, gradientProgram, layer, lossProgram, moe, parameterCounts } from './index.ts';
import type { Host, Stored } from './testing.ts';
import { readFixture } from './testing-fixture.node.ts';
import {
  describeOnEngines,
  difference,
  float32,
  int32,
  numbers,
  operatorProgram,
  padded,
  randomTokens,
  rowsOf,
  run,
  stepper,
  stored,
  weightsOf,
} from './testing.ts';

interface Fixture {
  readonly options: MoeOptions;
  readonly parameters: Readonly<Record<string, Stored>>;
  readonly x: Stored;
  readonly y: Stored;
}

const names = ['lfm2_moe', 'mixtral', 'qwen2_moe'];
const fixture = (name: string) => readFixture<Fixture>(`moe/${name}`);

const options: MoeOptions = {
  experts: 5,
  activeExperts: 2,
  intermediateSize: 12,
  routing: 'sigmoid',
  expertBias: true,
};
const model = defineModel({
  vocabSize: 30,
  hiddenSize: 16,
  initializerRange: 0.3,
  layers: [
    layer(attention({ heads: 2 }), moe(options)),
    layer(attention({ heads: 2 }), moe({ ...options, routing: 'softmax' })),
  ],
});
const weights = weightsOf(model, 5);

describeOnEngines('moe', (engine) => {
  it.each(names)('%s gives transformers’ output in every form', async (name) => {
    const found = fixture(name);
    const given = Object.fromEntries(Object.entries(found.parameters).map(([key, value]) => [key, stored(value)]));
    const [x, y] = [stored(found.x), stored(found.y)];
    const program = (batch: Dim, length: Dim) =>
      operatorProgram(moe(found.options), found.parameters, [batch, length, width]);
    const width = found.x.shape[2] ?? 0;
    // Many tokens: blocks.
    const whole = await run(engine, program(2, 9), { ...given, x });
    expect(difference(whole['y'], y)).toBeLessThan(1e-5);
    // Symbols: every expert over all.
    const all = await run(engine, program('B', 'T'), { ...given, x });
    expect(difference(all['y'], y)).toBeLessThan(1e-5);
    // Two tokens: their own experts' weights.
    const two = await run(engine, program(2, 1), {
      ...given,
      x: float32([2, 1, width], numbers(x).slice(0, 2 * width)),
    });
    expect(difference(two['y'], float32([2, 1, width], numbers(y).slice(0, 2 * width)))).toBeLessThan(1e-5);
  });

  it('a token at a time and padded, as all at once', async () => {
    const tokens = randomTokens(1, 2, 11, 30);
    const whole = await stepper(engine, model, weights, 2, 16).feed(tokens, [11, 11]);
    const rows = [0, 1].map((row) => numbers(tokens).slice(row * 11, row * 11 + 11));
    const at = (logits: Host, row: number, t: number, length: number) =>
      rowsOf({ ...logits, shape: [2 * length, 30] }, row * length + t, row * length + t + 1);
    const single = stepper(engine, model, weights, 2, 16);
    for (let t = 0; t < 11; t++) {
      const logits = await single.feed(int32([2, 1], [rows[0]?.[t] ?? 0, rows[1]?.[t] ?? 0]), [1, 1]);
      for (const row of [0, 1]) expect(difference(at(logits, row, 0, 1), at(whole, row, t, 11))).toBeLessThan(1e-4);
    }
    const ragged = stepper(engine, model, weights, 2, 16);
    await ragged.feed(padded([(rows[0] ?? []).slice(0, 7), (rows[1] ?? []).slice(0, 3)], 7, 29), [7, 3]);
    const rest = await ragged.feed(padded([(rows[0] ?? []).slice(7), (rows[1] ?? []).slice(3)], 8, 29), [4, 8]);
    expect(difference(at(rest, 0, 3, 8), at(whole, 0, 10, 11))).toBeLessThan(1e-4);
    expect(difference(at(rest, 1, 7, 8), at(whole, 1, 10, 11))).toBeLessThan(1e-4);
  });

  it.each([6, 1, 'T'] as const)('gradients of rows of %s tokens are slopes of the loss', async (length) => {
    const count = length === 'T' ? 6 : length;
    const share = float32([2, count], new Array<number>(2 * count).fill(1 / (2 * count)));
    const inputs = { tokens: randomTokens(3, 2, count, 30), labels: randomTokens(4, 2, count, 30), weights: share };
    const given = { ...weights, ...inputs };
    const found = await run(engine, gradientProgram(model, { batch: 2, length }), given);
    const loss = lossProgram(model, { batch: 2, length });
    const trained = Object.keys(model.parameters).filter((key) => key.includes('feed_forward'));
    for (const name of trained.filter((key) => !model.parameters[key]?.rule)) {
      const gradient = numbers(found[`gradient.${name}`] ?? int32([0], []));
      const norm = Math.hypot(...gradient);
      const step = 0.001 / Math.max(1, norm);
      const slopeAt = async (along: number) => {
        const moved = numbers(weights[name] ?? int32([0], [])).map(
          (value, i) => value + (along * (gradient[i] ?? 0)) / norm,
        );
        const reached = await run(engine, loss, { ...given, [name]: float32(weights[name]?.shape ?? [], moved) });
        return Number(reached.loss?.data[0]);
      };
      const slope = ((await slopeAt(step)) - (await slopeAt(-step))) / (2 * step);
      expect(Math.abs(slope - norm), name).toBeLessThan(0.02 * norm + 5e-4);
    }
  });

  it('stands the load in the place of the bias’ gradient, padding left out, also where layers are recomputed', async () => {
    const inputs = { tokens: randomTokens(3, 2, 6, 30), labels: randomTokens(4, 2, 6, 30) };
    const counted = float32([2, 6], [1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 0]);
    const name = 'gradient.model.layers.0.feed_forward.expert_bias';
    const loads = async (valid: typeof counted, checkpoint: boolean) => {
      const program = gradientProgram(model, { batch: 2, length: 6, checkpoint });
      return numbers((await run(engine, program, { ...weights, ...inputs, weights: valid }))[name] ?? int32([0], []));
    };
    const found = await loads(counted, false);
    // Two experts for each of eight tokens.
    expect(found.reduce((a, b) => a + b, 0)).toBe(16);
    expect(await loads(counted, true)).toEqual(found);
    expect(await loads(float32([2, 6], new Array<number>(12).fill(0)), false)).toEqual([0, 0, 0, 0, 0]);
  });
});

describe('moe', () => {
  it('reads a token’s own experts alone', () => {
    const big = defineModel({
      vocabSize: 8,
      hiddenSize: 16,
      layers: [layer(attention({ heads: 2 }), moe({ ...options, experts: 16 }))],
    });
    const { total, active } = parameterCounts(big);
    const expert = 3 * 12 * 16;
    expect(total - active).toBeGreaterThanOrEqual(14 * expert);
    expect(total - active).toBeLessThan(14 * expert + 8 * 16);
    expect(
      Object.values(big.parameters).every(({ shape, axes }) => countOf(shape) > 0 && axes.length === shape.length),
    ).toBe(true);
  });

  it('refuses more active experts than there are', () => {
    expect(() => moe({ experts: 2, activeExperts: 3, intermediateSize: 4 })).toThrowError(/found 3 of 2 experts/);
  });
});
