// The cache: a text that begins like an earlier one gives the same tokens and log-probabilities as without; what goes, goes in order.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../engines/engine.ts';
import { referenceEngine } from '../engines/reference/engine.ts';
import type { GenerateOptions } from './scheduler.ts';
import { engines } from './testing.node.ts';
import { alone, attentionOnly, distance, hybrid, plain, schedulerOf, take, tokensOf } from './testing-requests.node.ts';

const greedy: GenerateOptions = { temperature: 0, maxTokens: 4 };
const prompt = tokensOf(21, 70);

/** The cache takes over the buffers of a state that a text fills to the half. */
const filled = { capacities: [128, 256] };

describe.each(engines)('a prefix cache [%s]', (_, open) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await open();
  });
  afterAll(async () => {
    expect(engine.live().buffers).toBe(0);
    await engine.close();
  });

  it.each([
    ['every kind of state', hybrid, {}],
    ['convolutions and rows', plain, {}],
    ['rows alone', attentionOnly, {}],
    ['every kind of state, which texts fill', hybrid, filled],
    ['rows alone, which texts fill', attentionOnly, filled],
  ])('reuses turns, edits and regenerates of %s exactly', async (_kind, model, limits) => {
    await using scheduler = await schedulerOf(engine, model, { chunk: 32 }, limits);
    const ask = async (text: readonly number[], options = greedy) => {
      const stream = scheduler.generate(text, options);
      const taken = await take(stream);
      expect(distance(taken, await alone(engine, text, options, model))).toBeLessThan(1e-4);
      return { ...taken, cached: stream.cachedTokens };
    };
    const first = await ask(prompt);
    expect(first.cached).toBe(0);
    // A second turn: all that the first took in, the answer's last token not among it.
    const second = [...prompt, ...first.ids, ...tokensOf(22, 9)];
    expect((await ask(second)).cached).toBe(prompt.length + first.ids.length - 1);
    // Regenerated: all but the token that the logits come from.
    expect((await ask(prompt, { ...greedy, temperature: 1, seed: 4 })).cached).toBe(prompt.length - 1);
    // An edited last message: up to the first turn's end, or to where the two part.
    const edited = [...second.slice(0, -6), ...tokensOf(23, 12)];
    const parts = second.length - 6;
    expect((await ask(edited)).cached).toBeGreaterThanOrEqual(prompt.length + first.ids.length - 1);
    if (model === attentionOnly) expect(scheduler.cache.reusedTokens).toBeGreaterThanOrEqual(parts);
    // Parting inside the first prompt, and a beginning of it.
    await ask([...prompt.slice(0, 50), ...tokensOf(24, 8)]);
    await ask(prompt.slice(0, 41));
    await ask(second);
    expect(scheduler.cache.hits).toBeGreaterThanOrEqual(4);
  });

  it.each([
    ['every kind of state', hybrid],
    ['rows alone', attentionOnly],
  ])('copies from a text that still goes on, whose rows it does not hold a second time [%s]', async (_kind, model) => {
    await using scheduler = await schedulerOf(engine, model, { chunk: 32 });
    const running = scheduler.generate(prompt, { ...greedy, maxTokens: 40 });
    await running.next();
    const other = [...prompt, ...tokensOf(25, 5)];
    const stream = scheduler.generate(other, greedy);
    expect(distance(await take(stream), await alone(engine, other, greedy, model))).toBeLessThan(1e-4);
    expect(stream.cachedTokens).toBeGreaterThanOrEqual(prompt.length - 1);
    const { ids } = await take(running);
    expect(ids).toEqual((await alone(engine, prompt, { ...greedy, maxTokens: 40 }, model)).ids.slice(1));
    // Both have ended: what they share is held once, by the cache, beside it nothing.
    await scheduler.exclusively(async () => undefined);
    const held = engine.live().bytes;
    const { bytes } = scheduler.cache;
    await scheduler.clearCache();
    expect(held - engine.live().bytes).toBe(bytes);
    const again = scheduler.generate(prompt, { ...greedy, maxTokens: 40 });
    await again.next();
    expect(scheduler.cache.bytes).toBe(0);
    await take(again);
  });

  it.each([
    ['every kind of state', hybrid],
    ['rows alone', attentionOnly],
  ])('gives its rows to the next turn, and takes them back when that is cancelled [%s]', async (_kind, model) => {
    await using scheduler = await schedulerOf(engine, model, { chunk: 8 }, { ...filled, chunk: 8 });
    const first = await take(scheduler.generate(prompt, greedy));
    await scheduler.exclusively(async () => undefined);
    const { bytes } = scheduler.cache;
    const all = engine.live().bytes;
    const second = [...prompt, ...first.ids, ...tokensOf(22, 40)];
    const expected = await alone(engine, second, greedy, model);
    // Cancelled while its prompt is taken in, then while it goes on.
    for (const isEarly of [true, false]) {
      const abort = new AbortController();
      const stream = scheduler.generate(second, { ...greedy, maxTokens: 60 }, abort.signal);
      const next = stream.next().catch(() => undefined);
      if (isEarly) while (scheduler.cache.bytes > 0) await scheduler.exclusively(async () => undefined);
      else expect((await next)?.value).toMatchObject({ id: expected.ids[0] });
      expect(scheduler.cache.bytes).toBe(0);
      expect(engine.live().bytes).toBeLessThan(1.5 * all);
      abort.abort(new Error('enough'));
      await next;
      await take(stream).catch(() => undefined);
      await scheduler.exclusively(async () => undefined);
      expect(scheduler.cache.bytes).toBeGreaterThanOrEqual(bytes);
    }
    const stream = scheduler.generate(second, greedy);
    expect(distance(await take(stream), expected)).toBeLessThan(1e-4);
    expect(stream.cachedTokens).toBeGreaterThanOrEqual(prompt.length + first.ids.length - 1);
  });

  it('gives the same bits with what it holds as without, where that is asked for', async () => {
    const run = async (cacheBytes: number) => {
      await using scheduler = await schedulerOf(engine, hybrid, {
        chunk: 16,
        maxBatch: 2,
        deterministic: true,
        cacheBytes,
      });
      const first = await take(scheduler.generate(prompt, greedy));
      const stream = scheduler.generate([...prompt, ...first.ids, 3, 4], greedy);
      return { first, second: await take(stream), cached: stream.cachedTokens };
    };
    const [cold, warm] = [await run(0), await run(2 ** 24)];
    expect([cold.cached, warm.cached]).toEqual([0, 64]);
    expect({ ...warm, cached: 0 }).toEqual(cold);
  });

  it('guesses from the text itself, to the same tokens', async () => {
    const phrase = tokensOf(31, 12);
    const repeating = [...phrase, ...phrase, ...phrase.slice(0, 5)];
    for (const model of [hybrid, attentionOnly]) {
      await using scheduler = await schedulerOf(engine, model);
      for (const options of [
        { temperature: 0, maxTokens: 30 },
        // A narrow vocabulary repeats itself by chance, and guesses go wrong.
        { temperature: 1.2, topK: 3, seed: 8, maxTokens: 30, logitBias: { 1: 30, 2: 30, 5: 30 } },
      ]) {
        const stream = scheduler.generate(repeating, { ...options, promptLookup: 5 });
        expect(distance(await take(stream), await alone(engine, repeating, options, model))).toBeLessThan(1e-4);
        expect(stream.guessed).toBeGreaterThan(stream.guessedRight);
        expect(stream.guessedRight).toBeGreaterThan(0);
      }
    }
  });
});

describe('what a cache holds [reference]', () => {
  it('stays with its tenant', async () => {
    await using scheduler = await schedulerOf(referenceEngine(), plain);
    const cachedBy = async (tenant: string) => {
      const stream = scheduler.generate(prompt, { ...greedy, tenant });
      await take(stream);
      return stream.cachedTokens;
    };
    expect(await cachedBy('a')).toBe(0);
    expect(await cachedBy('b')).toBe(0);
    expect(await cachedBy('a')).toBe(prompt.length - 1);
  });

  it('goes where room is needed, that used longest ago first, and never takes more', async () => {
    // A row of a token takes 2 states of [2, 8] floats; a tail is 2 of 32: a text takes some 9,500 bytes.
    await using scheduler = await schedulerOf(referenceEngine(), plain, { cacheBytes: 22_000 });
    const texts = [1, 2, 3].map((seed) => tokensOf(seed, 70));
    const cachedOf = async (text: readonly number[] = []) => {
      const stream = scheduler.generate(text, { temperature: 0, maxTokens: 1 });
      await take(stream);
      expect(scheduler.cache.bytes).toBeLessThanOrEqual(22_000);
      return stream.cachedTokens > 0;
    };
    const [a, b, c] = texts;
    expect([await cachedOf(a), await cachedOf(b), await cachedOf(a), await cachedOf(c)]).toEqual([
      false,
      false,
      true,
      false,
    ]);
    // The second text was used longest ago.
    expect([await cachedOf(a), await cachedOf(c), await cachedOf(b)]).toEqual([true, true, false]);
    expect(scheduler.cache.evictions).toBeGreaterThan(0);
  });

  it('is spaced by bytes', async () => {
    const engine = referenceEngine();
    await using scheduler = await schedulerOf(engine, plain, { chunk: 8 }, { chunk: 8 });
    await take(scheduler.generate(tokensOf(1, 200), { maxTokens: 1 }));
    await scheduler.exclusively(async () => undefined);
    const rowBytes = 200 * 2 * 2 * 8 * 4;
    const tailBytes = 2 * 32 * 4;
    const snapshots = (scheduler.cache.bytes - rowBytes) / tailBytes;
    // A tail is two rows' bytes: one every eight tokens is a quarter, and one is at the end of the turn.
    expect(snapshots).toBeGreaterThanOrEqual(20);
    expect(snapshots - 1).toBeLessThanOrEqual(25);
  });

  it('is nothing where it may not take a byte', async () => {
    await using scheduler = await schedulerOf(referenceEngine(), plain, { cacheBytes: 0 });
    for (let turn = 0; turn < 2; turn++) await take(scheduler.generate(prompt, greedy));
    expect(scheduler.cache).toMatchObject({ bytes: 0, hits: 0, reusedTokens: 0 });
  });
});
