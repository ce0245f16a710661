// For tests of models from the design space: one text whichever way its tokens come, and gradients that are slopes. As few
// programs as will do, since making them is what takes the time.
import { expect } from 'vitest';
import type { Engine } from '../../engines/engine.ts';
import { Random } from '../../tensor/index.ts';
import type { Model } from '../index.ts';
import { gradientProgram, lossProgram } from '../index.ts';
import { freshWeights } from '../testing-model.ts';
import type { Host } from '../testing.ts';
import { difference, float32, int32, numbers, padded, randomTokens, rowsOf, run, stepper } from '../testing.ts';

const LENGTH = 9;
/** Of the first row, where its second document begins. */
const CUT = 4;
const SHAPE = { batch: 2, length: LENGTH, segments: true };

/** Whole rows against ragged parts and single tokens. */
async function requireOneText(engine: Engine | undefined, model: Model, weights: Readonly<Record<string, Host>>) {
  const classes = model.head.classes;
  const tokens = randomTokens(1, 2, LENGTH, classes);
  const ids = numbers(tokens);
  const rows = [ids.slice(0, LENGTH), ids.slice(LENGTH)];
  const whole = await stepper(engine, model, weights, 2, 16).feed(tokens, [LENGTH, LENGTH]);
  const ragged = stepper(engine, model, weights, 2, 16);
  // A row pauses while the other goes on.
  const parts = [
    [4, 2],
    [0, 4],
    [1, 1],
    [1, 1],
    [1, 1],
    [1, 0],
    [1, 0],
  ];
  const done = [0, 0];
  const part = (logits: Host, length: number, from: number, to: number) =>
    rowsOf({ ...logits, shape: [2 * length, classes] }, from, to);
  for (const lengths of parts) {
    const length = Math.max(...lengths);
    const given = rows.map((row, b) => row.slice(done[b], (done[b] ?? 0) + (lengths[b] ?? 0)));
    const logits = await ragged.feed(padded(given, length, classes - 1), lengths);
    lengths.forEach((count, b) => {
      const from = done[b] ?? 0;
      const [mine, theirs] = [b * length, b * LENGTH + from];
      if (count > 0)
        expect(
          difference(part(logits, length, mine, mine + count), part(whole, LENGTH, theirs, theirs + count)),
        ).toBeLessThan(1e-4);
      done[b] = from + count;
    });
  }
  expect(done).toEqual([LENGTH, LENGTH]);
}

interface Row {
  readonly tokens: readonly number[];
  readonly segments: readonly number[];
  /** Positions that count. */
  readonly counted: readonly [number, number];
}

function inputsOf(rows: readonly Row[]): Record<string, Host> {
  const shape = [rows.length, LENGTH];
  return {
    tokens: int32(
      shape,
      rows.flatMap(({ tokens }) => tokens),
    ),
    // Any label will do, if it is the same for the same token.
    labels: int32(
      shape,
      rows.flatMap(({ tokens }) => tokens.map((id) => (id * 7 + 1) % 24)),
    ),
    weights: float32(
      shape,
      rows.flatMap(({ tokens, counted: [from, to] }) => tokens.map((_, t) => (t >= from && t < to ? 1 / LENGTH : 0))),
    ),
    segments: int32(
      shape,
      rows.flatMap(({ segments }) => segments),
    ),
  };
}

/**
 * A model says the same of a text at once, in ragged parts and token by token, and of documents packed into a row what it says
 * of each alone; its gradients are slopes, and a step along them lowers the loss.
 */
export async function requireSound(engine: Engine | undefined, model: Model): Promise<void> {
  const weights = freshWeights(model, 3);
  await requireOneText(engine, model, weights);
  const program = lossProgram(model, SHAPE);
  const lossOf = async (inputs: Readonly<Record<string, Host>>) =>
    Number((await run(engine, program, { ...weights, ...inputs })).loss?.data[0]);
  const [tokens = [], filler = []] = [5, 6].map((seed) => numbers(randomTokens(seed, 1, LENGTH, 24)));
  const one = tokens.map(() => 3);
  const two = tokens.map((_, t) => (t < CUT ? 5 : 2));
  const row = (own: Partial<Row>): Row => ({ tokens, segments: one, counted: [0, LENGTH], ...own });
  const idle = row({ tokens: filler, counted: [0, 0] });
  const alone = [...tokens.slice(CUT), ...filler].slice(0, LENGTH);
  const packed = await lossOf(inputsOf([row({ segments: two }), idle]));
  const first = await lossOf(inputsOf([row({ counted: [0, CUT] }), idle]));
  const second = await lossOf(inputsOf([idle, row({ tokens: alone, counted: [0, LENGTH - CUT] })]));
  expect(Math.abs(packed - first - second)).toBeLessThan(1e-4 * Math.max(1, packed));

  const given = inputsOf([row({ segments: two }), row({ tokens: filler })]);
  const names = Object.keys(model.parameters);
  const found = await run(engine, gradientProgram(model, SHAPE), { ...weights, ...given });
  const gradient = names.map((name) => numbers(found[`gradient.${name}`]));
  const norm = Math.hypot(...gradient.map((values) => Math.hypot(...values)));
  expect(norm).toBeGreaterThan(0);
  expect(Number.isFinite(norm)).toBe(true);
  type Direction = readonly (readonly number[])[];
  const lossAt = (direction: Direction, step: number) => {
    const moved = names.map((name, i): [string, Host] => {
      const values = numbers(weights[name]).map((value, j) => value + step * (direction[i]?.[j] ?? 0));
      return [name, float32(weights[name]?.shape ?? [], values)];
    });
    return lossOf({ ...given, ...Object.fromEntries(moved) });
  };
  const slope = async (direction: Direction, step: number) =>
    ((await lossAt(direction, step)) - (await lossAt(direction, -step))) / (2 * step);
  // Where the loss is steep it is curved, too. It has seven digits: its differences are good to about 1e-4 over the step.
  const reach = 1 / Math.max(1, norm);
  const most = 0.02 * norm + 2e-4;
  expect(Math.abs((await slope(gradient, (0.003 * reach) / norm)) / norm - norm)).toBeLessThan(most);
  const random = new Random(9);
  const noise = gradient.map((values) => values.map(() => random.normal()));
  const size = Math.hypot(...noise.map((values) => Math.hypot(...values)));
  const products = noise.flatMap((values, i) => values.map((value, j) => value * (gradient[i]?.[j] ?? 0)));
  const want = products.reduce((sum, value) => sum + value, 0);
  expect(Math.abs((await slope(noise, (0.005 * reach) / size)) - want) / size).toBeLessThan(most);
  expect(await lossAt(gradient, (-0.02 * reach) / norm)).toBeLessThan(await lossAt(gradient, 0));
}
