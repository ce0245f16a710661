// Operators with a matrix state: against transformers and formulas, all at once against token by token, padding, documents.
import { describe, expect, it } from 'vitest';
import { countOf } from '../tensor/index.ts';
import type { Model, Operator } from './index.ts';
import {
  decodeFlops,
  defineModel,
  gatedDelta,
  gradientProgram,
  layer,
  linearAttention,
  lossProgram,
  mamba,
  mamba2,
  stateBytes,
  swiglu,
} from './index.ts';
import type { Host, Stored } from './testing.ts';
import { readFixture } from './testing-fixture.node.ts';
import {
  describeOnEngines,
  difference,
  float32,
  int32,
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
  readonly options: never;
  readonly parameters: Readonly<Record<string, Stored>>;
  readonly x: Stored;
  readonly y: Stored;
}

const fixture = (name: string) => readFixture<Fixture>(`recurrences/${name}`);

const makers: Readonly<Record<string, (options: never) => Operator>> = {
  gated_delta: gatedDelta,
  linear_attention: linearAttention,
  mamba,
  mamba2,
  mamba_normed: mamba,
};
const small: Readonly<Record<string, Operator>> = {
  gated_delta: gatedDelta({ keyHeads: 2, valueHeads: 4, keyHeadDim: 4, valueHeadDim: 4, chunkSize: 4 }),
  linear_attention: linearAttention({ heads: 2, chunk: 4 }),
  mamba: mamba({ stateSize: 4, timeStepRank: 3, chunkSize: 4, bias: true, norms: true }),
  mamba2: mamba2({ headDim: 8, stateSize: 4, nGroups: 2, chunkSize: 4 }),
};

function modelOf(operator: Operator): Model {
  return defineModel({
    vocabSize: 30,
    hiddenSize: 16,
    initializerRange: 0.2,
    layers: [layer(operator, swiglu({ intermediateSize: 16 })), layer(operator, swiglu({ intermediateSize: 16 }))],
  });
}

describeOnEngines('recurrent operators', (engine) => {
  it.each(Object.entries(makers))('%s gives its oracle’s output', async (name, make) => {
    const { options, parameters, x, y } = fixture(name);
    const operator = make(options);
    const program = operatorProgram(operator, parameters, [2, 11, 16]);
    const inputs = Object.fromEntries(Object.entries(parameters).map(([key, value]) => [key, stored(value)]));
    const found = await run(engine, program, { ...inputs, x: stored(x) });
    expect(difference(found['y'], stored(y))).toBeLessThan(1e-4);
  });

  it.each(Object.entries(small))('%s: a token at a time, in parts and padded, as all at once', async (_, operator) => {
    const model = modelOf(operator);
    const weights = weightsOf(model, 5);
    const tokens = randomTokens(1, 2, 11, 30);
    const whole = await stepper(engine, model, weights, 2, 16).feed(tokens, [11, 11]);
    const rows = [0, 1].map((row) => Array.from(tokens.data, Number).slice(row * 11, row * 11 + 11));
    const at = (logits: Host, row: number, t: number, length: number) =>
      rowsOf({ ...logits, shape: [2 * length, 30] }, row * length + t, row * length + t + 1);
    const single = stepper(engine, model, weights, 2, 16);
    for (let t = 0; t < 11; t++) {
      const logits = await single.feed(int32([2, 1], [rows[0]?.[t] ?? 0, rows[1]?.[t] ?? 0]), [1, 1]);
      for (const row of [0, 1]) expect(difference(at(logits, row, 0, 1), at(whole, row, t, 11))).toBeLessThan(1e-4);
    }
    const ragged = stepper(engine, model, weights, 2, 16);
    await ragged.feed(padded([(rows[0] ?? []).slice(0, 7), (rows[1] ?? []).slice(0, 3)], 7, 29), [7, 3]);
    await ragged.feed(padded([[], (rows[1] ?? []).slice(3, 6)], 3, 29), [0, 3]);
    const rest = await ragged.feed(padded([(rows[0] ?? []).slice(7), (rows[1] ?? []).slice(6)], 5, 29), [4, 5]);
    expect(difference(at(rest, 0, 3, 5), at(whole, 0, 10, 11))).toBeLessThan(1e-4);
    expect(difference(at(rest, 1, 4, 5), at(whole, 1, 10, 11))).toBeLessThan(1e-4);
  });

  it.each(Object.entries(small))('%s: documents packed into a row do not see each other', async (_, operator) => {
    const model = modelOf(operator);
    const weights = weightsOf(model, 5);
    const tokens = randomTokens(2, 1, 9, 30);
    const inputs = (from: number, to: number, share: number): Record<string, Host> => ({
      tokens: int32([1, to - from], Array.from(tokens.data, Number).slice(from, to)),
      labels: int32([1, to - from], Array.from(tokens.data, Number).slice(from, to)),
      weights: float32([1, to - from], new Array<number>(to - from).fill(share)),
    });
    const loss = async (program: ReturnType<typeof lossProgram>, given: Record<string, Host>) =>
      Number((await run(engine, program, { ...weights, ...given })).loss?.data[0]);
    const packed = await loss(lossProgram(model, { batch: 1, length: 9, segments: true }), {
      ...inputs(0, 9, 1 / 9),
      segments: int32([1, 9], [4, 4, 4, 4, 7, 7, 7, 7, 7]),
    });
    const first = await loss(lossProgram(model, { batch: 1, length: 4 }), inputs(0, 4, 1 / 9));
    const second = await loss(lossProgram(model, { batch: 1, length: 5 }), inputs(4, 9, 1 / 9));
    expect(packed).toBeCloseTo(first + second, 4);
  });

  it.each(Object.entries(small))('%s: gradients are slopes of the loss', async (_, operator) => {
    const model = modelOf(operator);
    const weights = weightsOf(model, 5);
    const tokens = randomTokens(3, 2, 6, 30);
    const share = float32([2, 6], new Array<number>(12).fill(1 / 12));
    const given = { ...weights, tokens, labels: randomTokens(4, 2, 6, 30), weights: share };
    const found = await run(engine, gradientProgram(model, { batch: 2, length: 6 }), given);
    const loss = lossProgram(model, { batch: 2, length: 6 });
    for (const name of Object.keys(model.parameters).filter((key) => key.startsWith('model.layers.0'))) {
      const values = Array.from(found[`gradient.${name}`]?.data ?? [], Number);
      const norm = Math.hypot(...values);
      if (norm < 1e-3) continue;
      const step = 0.004 / Math.max(1, norm);
      const at = async (along: number) => {
        const start = Array.from(weights[name]?.data ?? [], Number);
        const moved = start.map((value, i) => value + (along * (values[i] ?? 0)) / norm);
        const reached = await run(engine, loss, { ...given, [name]: float32(weights[name]?.shape ?? [], moved) });
        return Number(reached.loss?.data[0]);
      };
      const slope = ((await at(step)) - (await at(-step))) / (2 * step);
      // The loss has seven digits: its differences are good to about 1e-4.
      expect(Math.abs(slope - norm), name).toBeLessThan(0.02 * norm + 2e-4);
    }
  });
});

describeOnEngines('over thousands of tokens', (engine) => {
  const far = engine?.name === 'onnx';
  it.runIf(far).each(Object.entries(makers))(
    '%s: the last of 4,096 tokens after the rest, as all at once',
    async (name, make) => {
      const { options } = fixture(name);
      const model = modelOf(make({ ...(options as object), chunk: 64, chunkSize: 64 } as never));
      const weights = weightsOf(model, 5);
      const tokens = randomTokens(7, 1, 4096, 30);
      const ids = Array.from(tokens.data, Number);
      const whole = await stepper(engine, model, weights, 1, 4096).feed(tokens, [4096]);
      const split = stepper(engine, model, weights, 1, 4096);
      await split.feed(int32([1, 4095], ids.slice(0, 4095)), [4095]);
      const last = await split.feed(int32([1, 1], ids.slice(4095)), [1]);
      const want = rowsOf({ ...whole, shape: [4096, 30] }, 4095, 4096);
      expect(difference({ ...last, shape: [1, 30] }, want)).toBeLessThan(1e-4);
    },
  );
});

describe('recurrent operators', () => {
  it.each(Object.entries(small))('%s: a state and a cost that do not grow', (_, operator) => {
    const model = modelOf(operator);
    expect(stateBytes(model, 4096)).toBe(stateBytes(model, 1));
    expect(decodeFlops(model, 4096)).toBe(decodeFlops(model, 16));
    expect(
      Object.values(model.parameters).every(({ shape, axes }) => countOf(shape) > 0 && axes.length === shape.length),
    ).toBe(true);
  });

  it('name the sizes that do not fit', () => {
    const define = (operator: Operator) => () =>
      defineModel({ vocabSize: 8, hiddenSize: 18, layers: [layer(operator, swiglu({ intermediateSize: 8 }))] });
    expect(define(linearAttention({ heads: 4 }))).toThrowError(/18 cannot be cut into 4 heads/);
    expect(define(mamba2({ headDim: 8 }))).toThrowError(/36 over heads of 8 gives 4.5 heads/);
    expect(() => gatedDelta({ keyHeads: 2, valueHeads: 3, keyHeadDim: 4, valueHeadDim: 4 })).toThrowError(
      /2 key heads do not divide 3/,
    );
  });
});
