// For tests: what every operator promises, whatever it computes. The parallel and the recurrent form agree, padding leaves no
// trace, packed documents do not see each other, and gradients are slopes.
import { expect, it } from 'vitest';
import type { Engine } from '../engines/engine.ts';
import type { Model, Operator } from './index.ts';
import { defineModel, gradientProgram, layer, lossProgram, swiglu } from './index.ts';
import type { Host } from './testing.ts';
import { difference, float32, int32, padded, randomTokens, rowsOf, run, stepper, weightsOf } from './testing.ts';

/** Two layers of the operator, of width 16 over 30 tokens. */
export function modelOf(operator: Operator): Model {
  return defineModel({
    vocabSize: 30,
    hiddenSize: 16,
    initializerRange: 0.2,
    layers: [layer(operator, swiglu({ intermediateSize: 16 })), layer(operator, swiglu({ intermediateSize: 16 }))],
  });
}

/** The tests of each operator, by name; these must fit a hidden size of 16. */
export function itKeepsThePromises(engine: Engine | undefined, operators: Readonly<Record<string, Operator>>): void {
  it.each(Object.entries(operators))(
    '%s: a token at a time, in parts and padded, as all at once',
    async (_, operator) => {
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
    },
  );

  it.each(Object.entries(operators))('%s: documents packed into a row do not see each other', async (_, operator) => {
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

  it.each(Object.entries(operators))('%s: gradients are slopes of the loss', async (_, operator) => {
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
}
