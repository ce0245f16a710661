// GGUF models as a whole against transformers: tiny ones (tools/oracles/gguf_models.py, gguf_architectures.py) and the real one (real_model.py).
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as z from 'zod';
import { hasRealModel, REAL_MODEL, without } from '../../test/real-model.ts';
import { load } from './load.ts';
import type { LanguageModel } from './model.ts';

const fixtures = new URL('../../test/fixtures/gguf/', import.meta.url);
const json = (name: string): unknown => JSON.parse(readFileSync(new URL(name, fixtures), 'utf8'));
const rows = z.array(z.array(z.number()));
const tiny = z.record(z.string(), z.object({ ids: z.array(z.number()), logits: rows })).parse(json('models.json'));
const real = z
  .object({
    stride: z.number(),
    cases: z.array(
      z.object({
        prompt: z.array(z.number()),
        range: z.tuple([z.number(), z.number()]),
        logits: rows,
        tokens: z.array(z.number()),
        gaps: z.array(z.number()),
      }),
    ),
  })
  .parse(json('real-model.json'));

/** The logits after each token, one token a call. */
async function logitsOf({ generator }: LanguageModel, ids: readonly number[]): Promise<Float32Array[]> {
  const state = await generator.open(ids.length);
  try {
    const found: Float32Array[] = [];
    for (const id of ids) found.push((await generator.feed(state, [[id]]))[0] ?? new Float32Array());
    return found;
  } finally {
    generator.release(state);
  }
}

function largestDifference(found: readonly ArrayLike<number>[], wanted: readonly (readonly number[])[]): number {
  expect(found.map(({ length }) => length)).toEqual(wanted.map(({ length }) => length));
  return Math.max(...wanted.flatMap((row, t) => row.map((value, i) => Math.abs(value - (found[t]?.[i] ?? NaN)))));
}

describe.each(['lfm2', 'llama'])('%s', (name) => {
  it('gives the logits of transformers from its GGUF', async () => {
    await using model = await load(new URL(`${name}.gguf`, fixtures).pathname, {
      engine: 'reference',
      numerics: 'exact',
    });
    const { ids = [], logits = [] } = tiny[name] ?? {};
    const range = Math.max(...logits.flat()) - Math.min(...logits.flat());
    expect(largestDifference(await logitsOf(model, ids), logits)).toBeLessThan(1e-4 * range);
    expect([...model.tokenizer.encode(' he')].length).toBe(2);
  });
});

const others = z
  .record(z.string(), z.object({ ids: z.array(z.number()), range: z.number(), stride: z.number(), logits: rows }))
  .parse(json('architectures.json'));

describe.each(Object.entries(others))('%s', (name, { ids, range, stride, logits }) => {
  it('gives the logits of transformers from its GGUF', async () => {
    await using model = await load(new URL(`${name}.gguf`, fixtures).pathname, { engine: 'reference' });
    const found = (await logitsOf(model, ids)).map((row) => row.filter((_, i) => i % stride === 0));
    expect(largestDifference(found, logits)).toBeLessThan(1e-4 * range);
  });
});

describe.skipIf(!hasRealModel)(`the real GGUF${hasRealModel ? '' : without('tools/real-model.sh')}`, () => {
  let model: LanguageModel;
  beforeAll(async () => void (model = await load(REAL_MODEL, { numerics: 'exact' })), 60_000);
  afterAll(() => model[Symbol.asyncDispose]());

  it('gives the logits of transformers for the prompts', async () => {
    for (const { prompt, range, logits } of real.cases.slice(0, 4)) {
      const found = (await logitsOf(model, prompt)).map((row) => row.filter((_, i) => i % real.stride === 0));
      expect(largestDifference(found, logits)).toBeLessThan(1e-4 * (range[1] - range[0]));
    }
  });

  it('gives them with its matrices held packed, in stable arithmetic', async () => {
    await using held = await load(REAL_MODEL);
    expect(held.generator.model.parameters['model.embed_tokens.weight']?.quantized?.form.bits).toBe(8);
    for (const { prompt, range, logits } of real.cases.slice(0, 2)) {
      const found = (await logitsOf(held, prompt)).map((row) => row.filter((_, i) => i % real.stride === 0));
      expect(largestDifference(found, logits)).toBeLessThan(1e-4 * (range[1] - range[0]));
    }
  });

  it('gives its greedy tokens, or parts from them at a tie', async () => {
    const [{ prompt, tokens, gaps, range } = { prompt: [], tokens: [], gaps: [], range: [0, 0] }] = real.cases;
    const ours: number[] = [];
    const options = { maxTokens: 40, temperature: 0 };
    for await (const { id } of model.scheduler.generate(prompt, options)) ours.push(id);
    const at = ours.findIndex((id, i) => id !== tokens[i]);
    if (at >= 0) expect(gaps[at]).toBeLessThan(1e-4 * ((range[1] ?? 0) - (range[0] ?? 0)));
    expect(ours).toHaveLength(40);
  });

  it('knows the capital of France', async () => {
    const reply = await model.chat([{ role: 'user', content: 'What is the capital of France?' }], { temperature: 0 });
    expect(String(await reply.text)).toContain('Paris');
  });
});
