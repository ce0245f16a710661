// For tests of models from the design space: one text whichever way its tokens come, and gradients that are slopes.
import { expect } from 'vitest';
import type { Engine } from '../../engines/engine.ts';
import { Random } from '../../tensor/index.ts';
import type { Model } from '../index.ts';
import { gradientProgram, lossProgram } from '../index.ts';
import { freshWeights, lossInputs } from '../testing-model.ts';
import type { Host } from '../testing.ts';
import { difference, float32, int32, numbers, padded, randomTokens, rowsOf, run, stepper } from '../testing.ts';

const LENGTH = 9;

/** Whole rows against single tokens and ragged parts; a packed row against its two documents alone. */
export async function requireOneMeaning(engine: Engine | undefined, model: Model, most: number): Promise<void> {
  const classes = model.head.classes;
  const weights = freshWeights(model, 3);
  const tokens = randomTokens(1, 2, LENGTH, classes);
  const ids = numbers(tokens);
  const rows = [ids.slice(0, LENGTH), ids.slice(LENGTH)];
  const whole = await stepper(engine, model, weights, 2, 16).feed(tokens, [LENGTH, LENGTH]);
  const flat = (logits: Host, length: number) => ({ ...logits, shape: [2 * length, classes] });
  const requireSame = (logits: Host, length: number, row: number, from: number, to: number, at: number) => {
    const mine = rowsOf(flat(logits, length), row * length + at, row * length + at + to - from);
    const theirs = rowsOf(flat(whole, LENGTH), row * LENGTH + from, row * LENGTH + to);
    expect(difference(mine, theirs)).toBeLessThan(most);
  };
  // Parts of unequal lengths, in which a row may pause; then token by token.
  const ragged = stepper(engine, model, weights, 2, 16);
  const parts = [
    [4, 2],
    [0, 3],
    [1, 1],
    [1, 1],
    [1, 1],
    [1, 1],
    [1, 0],
  ];
  const done = [0, 0];
  for (const lengths of parts) {
    const length = Math.max(...lengths);
    const given = rows.map((row, b) => row.slice(done[b], (done[b] ?? 0) + (lengths[b] ?? 0)));
    const logits = await ragged.feed(padded(given, length, classes - 1), lengths);
    lengths.forEach((count, b) => {
      const from = done[b] ?? 0;
      if (count > 0) requireSame(logits, length, b, from, from + count, 0);
      done[b] = from + count;
    });
  }
  const [row = []] = rows;
  const cut = 4;
  const lossOf = async (text: readonly number[], segments?: readonly number[]) => {
    const shape = [1, text.length];
    const program = lossProgram(model, { batch: 1, length: text.length, segments: segments !== undefined });
    const given = {
      ...weights,
      tokens: int32(shape, text),
      labels: int32(shape, text),
      weights: float32(
        shape,
        text.map(() => 1 / LENGTH),
      ),
      ...(segments && { segments: int32(shape, segments) }),
    };
    return Number((await run(engine, program, given)).loss?.data[0]);
  };
  const packed = await lossOf(
    row,
    row.map((_, t) => (t < cut ? 5 : 2)),
  );
  const apart = (await lossOf(row.slice(0, cut))) + (await lossOf(row.slice(cut)));
  expect(Math.abs(packed - apart)).toBeLessThan(1e-4 * Math.max(1, apart));
}

/** The slope along the gradient, and along one random direction; then one step that lowers the loss. */
export async function requireTrainable(engine: Engine | undefined, model: Model): Promise<void> {
  const weights = freshWeights(model, 4);
  const rows = [0, 1].map((seed) => numbers(randomTokens(seed + 20, 1, 6, model.head.classes)));
  const given = { ...weights, ...lossInputs(rows, 1 / 10) };
  const names = Object.keys(model.parameters);
  const found = await run(engine, gradientProgram(model, { batch: 2, length: 6 }), given);
  const gradient = names.map((name) => numbers(found[`gradient.${name}`]));
  const norm = Math.hypot(...gradient.map((values) => Math.hypot(...values)));
  expect(norm).toBeGreaterThan(0);
  expect(Number.isFinite(norm)).toBe(true);
  const random = new Random(9);
  const noise = gradient.map((values) => values.map(() => random.normal()));
  const size = Math.hypot(...noise.map((values) => Math.hypot(...values)));
  const program = lossProgram(model, { batch: 2, length: 6 });
  const lossAt = async (direction: readonly (readonly number[])[], step: number) => {
    const moved = names.map((name, i): [string, Host] => {
      const start = numbers(weights[name]);
      const values = start.map((value, j) => value + step * (direction[i]?.[j] ?? 0));
      return [name, float32(weights[name]?.shape ?? [], values)];
    });
    return Number((await run(engine, program, { ...given, ...Object.fromEntries(moved) })).loss?.data[0]);
  };
  const slope = async (direction: readonly (readonly number[])[], step: number) =>
    ((await lossAt(direction, step)) - (await lossAt(direction, -step))) / (2 * step);
  // Where the loss is steep it is curved, too.
  const reach = 1 / Math.max(1, norm);
  const along = await slope(gradient, (0.003 * reach) / norm);
  // The loss has seven digits: its differences are good to about 1e-4 over the step.
  expect(Math.abs(along / norm - norm)).toBeLessThan(0.02 * norm + 2e-4);
  const want = noise.reduce(
    (sum, values, i) => sum + values.reduce((part, value, j) => part + value * (gradient[i]?.[j] ?? 0), 0),
    0,
  );
  expect(Math.abs((await slope(noise, (0.005 * reach) / size)) - want) / size).toBeLessThan(0.02 * norm + 2e-4);
  expect(await lossAt(gradient, (-0.02 * reach) / norm)).toBeLessThan(await lossAt(gradient, 0));
}
