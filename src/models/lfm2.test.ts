// LFM2 against transformers: test/fixtures/lfm2, which tools/oracles/lfm2.py writes.
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { openSafetensors } from '../files/safetensors.node.ts';
import { gradientProgram, lossProgram } from '../liquid/index.ts';
import type { Host } from '../liquid/testing.ts';
import {
  difference,
  describeOnEngines,
  float32,
  int32,
  numbers,
  padded,
  rowsOf,
  run,
  stepper,
} from '../liquid/testing.ts';
import { modelFromConfig } from './index.ts';

const folder = new URL('../../test/fixtures/lfm2/tiny/', import.meta.url);

async function readJson(name: string): Promise<unknown> {
  return JSON.parse(await readFile(new URL(name, folder), 'utf8'));
}

async function readTensors(name: string): Promise<Record<string, Host>> {
  await using file = await openSafetensors(new URL(name, folder).pathname);
  const found: Record<string, Host> = {};
  for (const { name: key, shape } of file.tensors.values()) found[key] = float32(shape, await file.readFloat32(key));
  return found;
}

const summary = z.object({ mean: z.number(), norm: z.number(), projection: z.number() });
const expectation = z.object({
  parameters: z.number(),
  ids: z.array(z.array(z.number())),
  padded: z.object({ mask: z.array(z.array(z.number())) }),
  loss: z.number(),
  gradients: z.record(z.string(), summary),
});

const model = modelFromConfig(await readJson('config.json'));
const weights = await readTensors('model.safetensors');
const expected = expectation.parse(await readJson('expected.json'));
const arrays = await readTensors('expected.safetensors');
const { ids } = expected;
const [batch, length] = [ids.length, ids[0]?.length ?? 0];

/** Next-token loss of all rows, as a mean: what transformers computes from labels equal to the ids. */
const language = {
  tokens: int32([batch, length], ids.flat()),
  labels: int32(
    [batch, length],
    ids.flatMap((row) => [...row.slice(1), 0]),
  ),
  weights: float32(
    [batch, length],
    ids.flatMap((row) => row.map((_, t) => (t + 1 < length ? 1 / (batch * (length - 1)) : 0))),
  ),
};

/** The oracle's summary of a tensor: a wrong or misplaced entry changes one of its numbers. */
function summarise({ data }: Host) {
  let [total, squares, projection] = [0, 0, 0];
  for (let i = 0; i < data.length; i++) {
    const value = Number(data[i]);
    total += value;
    squares += value * value;
    projection += value * Math.cos(i + 1);
  }
  return { mean: total / data.length, norm: Math.sqrt(squares), projection };
}

describe('parameters', () => {
  it('have the names and shapes of the checkpoint', () => {
    const ours = Object.entries(model.parameters).map(([name, { shape }]) => [name, shape]);
    const stored = Object.entries(weights).map(([name, { shape }]) => [name, shape]);
    expect(Object.fromEntries(ours)).toEqual(Object.fromEntries(stored));
  });
});

describeOnEngines('lfm2 against transformers', (engine) => {
  it('gives the logits of whole sequences', async () => {
    const logits = await stepper(engine, model, weights, batch, length).feed(language.tokens, [length, length]);
    expect(difference(logits, arrays.logits)).toBeLessThan(1e-4);
  });

  it('gives the same logits token by token', async () => {
    const generation = stepper(engine, model, weights, 1, length);
    const steps: Host[] = [];
    for (const token of ids[0] ?? []) steps.push(await generation.feed(int32([1, 1], [token]), [1]));
    const decoded = float32([1, length, 128], steps.flatMap(numbers));
    expect(difference(decoded, arrays.decoded_logits)).toBeLessThan(1e-4);
  });

  it('gives the logits of a padded batch, whatever the padding', async () => {
    const { mask } = expected.padded;
    const lengths = mask.map((row) => row.reduce((total, bit) => total + bit, 0));
    const ragged = padded(
      ids.map((row, b) => row.slice(0, lengths[b])),
      length,
      99,
    );
    const logits = await stepper(engine, model, weights, batch, length).feed(ragged, lengths);
    lengths.forEach((valid, b) => {
      // The oracle pads on the left: a row's valid positions are its last.
      const [mine, theirs] = [logits, arrays.padded_logits].map(
        (host) => host && rowsOf({ ...host, shape: [batch * length, 128] }, b * length, (b + 1) * length),
      );
      const [first, last] = [mine && rowsOf(mine, 0, valid), theirs && rowsOf(theirs, length - valid, length)];
      expect(difference(first, last)).toBeLessThan(1e-4);
    });
  });

  it('gives the loss', async () => {
    const { loss } = await run(engine, lossProgram(model, { batch, length }), { ...weights, ...language });
    expect(loss?.data[0]).toBeCloseTo(expected.loss, 5);
  });

  it.each([false, true])('gives every gradient, recomputation %s', async (checkpoint) => {
    const program = gradientProgram(model, { batch, length, checkpoint });
    const found = await run(engine, program, { ...weights, ...language });
    for (const [name, summary_] of Object.entries(expected.gradients)) {
      const gradient = found[`gradient.${name}`];
      expect(gradient?.shape, name).toEqual(weights[name]?.shape);
      const mine = gradient && summarise(gradient);
      const tolerance = 1e-4 * summary_.norm + 1e-6;
      expect(Math.abs((mine?.projection ?? Infinity) - summary_.projection), name).toBeLessThan(tolerance);
      expect(Math.abs((mine?.norm ?? Infinity) - summary_.norm), name).toBeLessThan(tolerance);
      const whole = arrays[`gradient.${name}`];
      if (whole) expect(difference(gradient, whole), name).toBeLessThan(1e-4);
    }
  });
});
