// A smaller model that guesses ahead: the same tokens as without, whoever guesses and however tokens are drawn.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../engines/engine.ts';
import type { Model } from '../liquid/index.ts';
import { initialise } from '../liquid/index.ts';
import type { GeneratorOptions } from './generator.ts';
import { Generator } from './generator.ts';
import { load } from './load.ts';
import { engines, upload, writeModelFolder } from './testing.node.ts';
import { alone, attentionOnly, distance, hybrid, plain, schedulerOf, take, tokensOf } from './testing-requests.node.ts';

const prompt = tokensOf(5, 30);
const greedy = { temperature: 0, maxTokens: 30 };
const drawn = { temperature: 0.9, seed: 8, maxTokens: 30, topP: 0.9, repetitionPenalty: 1.2, frequencyPenalty: 0.1 };

const generatorOf = async (engine: Engine, model: Model, seed: number, options: GeneratorOptions = {}) =>
  new Generator(engine, model, await upload(engine, model, initialise(model, seed)), options);

describe.each(engines)('a draft [%s]', (_, open) => {
  let engine: Engine;
  beforeAll(async () => void (engine = await open()));
  afterAll(async () => {
    expect(engine.live().buffers).toBe(0);
    await engine.close();
  });

  it.each([
    ['of every kind of state', hybrid],
    ['of rows alone', attentionOnly],
  ])('of the same weights is right every time: a model %s', async (__, model) => {
    await using scheduler = await schedulerOf(engine, model);
    await using generator = await generatorOf(engine, model, 7);
    for (const options of [greedy, drawn]) {
      const stream = scheduler.generate(prompt, { ...options, draft: { generator, tokens: 4 } });
      expect(distance(await take(stream), await alone(engine, prompt, options, model))).toBeLessThan(1e-4);
      expect(stream.guessed).toBeGreaterThan(20);
      expect(stream.guessedRight).toBe(stream.guessed);
    }
  });

  it.each([
    ['other weights', hybrid, hybrid],
    ['fewer layers', hybrid, plain],
    ['rows alone, for rows alone', attentionOnly, attentionOnly],
  ])('of %s is often wrong, and the tokens are the same', async (__, model, smaller) => {
    await using scheduler = await schedulerOf(engine, model);
    await using generator = await generatorOf(engine, smaller, 9);
    // A narrow vocabulary: guesses are right now and then.
    const narrow = { logitBias: { 1: 30, 2: 30, 5: 30 } };
    for (const options of [
      { ...greedy, ...narrow },
      { ...drawn, ...narrow },
    ]) {
      const stream = scheduler.generate(prompt, { ...options, draft: { generator, tokens: 3 } });
      expect(distance(await take(stream), await alone(engine, prompt, options, model))).toBeLessThan(1e-4);
      expect(stream.guessedRight).toBeGreaterThan(0);
      expect(stream.guessed).toBeGreaterThan(stream.guessedRight);
    }
  });

  it('takes a long prompt in by chunks, while the text goes on; many texts share it, and leave nothing', async () => {
    await using scheduler = await schedulerOf(engine, plain, { cacheBytes: 0 });
    await using generator = await generatorOf(engine, plain, 7, { chunk: 8 });
    const draft = { generator, tokens: 3 };
    const streams = scheduler.generateAll(prompt, { ...drawn, n: 2, draft });
    const left = scheduler.generate(prompt, { ...drawn, draft });
    await left.next();
    await left.return();
    const [first] = await Promise.all(streams.map(take));
    expect(first && distance(first, await alone(engine, prompt, drawn, plain))).toBeLessThan(1e-4);
    // Four chunks of the prompt, with a token between each two.
    const guessed = streams[0]?.guessed ?? 0;
    expect(guessed).toBeGreaterThan(10);
    expect(guessed).toBeLessThan(drawn.maxTokens - 3);
    expect(streams[0]?.guessedRight).toBe(guessed);
  });

  it('guesses nothing past its own context, or of tokens that it does not have', async () => {
    await using scheduler = await schedulerOf(engine, plain, { cacheBytes: 0 });
    await using short = await generatorOf(engine, { ...plain, contextLength: 40 }, 7);
    const stream = scheduler.generate(prompt, { ...greedy, draft: { generator: short, tokens: 4 } });
    expect(distance(await take(stream), await alone(engine, prompt, greedy, plain))).toBeLessThan(1e-4);
    expect(stream.guessed).toBeGreaterThan(0);
    expect(stream.guessed).toBeLessThan(12);
    const draft = { generator: short, tokens: 0 };
    expect(() => scheduler.generate(prompt, { draft })).toThrow(/draftTokens: expected a whole number from 1; found 0/);
  });
});

describe('a language model with a draft [onnx]', () => {
  const text = 'Once upon a time there was a';
  const options = { maxTokens: 40, temperature: 0.8, seed: 2 };
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lfm-draft-'));
    await writeModelFolder(folder);
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('answers the same, and refuses another tokenizer', async () => {
    await using model = await load('brook-7m', { draft: 'brook-7m', draftTokens: 5 });
    const guessed = await model.generate(text, options);
    expect(guessed.text).toBe((await model.generate(text, { ...options, draftTokens: 0 })).text);
    await using other = await load(folder);
    await expect((async () => model.generate(text, { draft: other }))()).rejects.toMatchObject({
      code: 'draft-mismatch',
    });
    await expect(load('brook-7m', { draft: folder })).rejects.toMatchObject({ code: 'draft-mismatch' });
  });
});
