// The scheduler: requests side by side equal each alone, prompts do not stall texts, order, limits, cancelling, nothing left.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../engines/engine.ts';
import { referenceEngine } from '../engines/reference/engine.ts';
import type { GenerateOptions } from './scheduler.ts';
import { engines as everyEngine } from '../../test/operations/engines.ts';
import { engines, readFixture } from './testing.node.ts';
import type { Taken } from './testing-requests.node.ts';
import { alone, attentionOnly, distance, hybrid, plain, schedulerOf, take, tokensOf } from './testing-requests.node.ts';

const fixture = await readFixture();
const none = { cacheBytes: 0 };

/** Prompts of unequal lengths, drawn with a temperature and a seed of their own. */
const requests = Array.from({ length: 8 }, (_, i) => ({
  prompt: tokensOf(i + 1, [3, 17, 1, 40, 9, 26, 5, 12][i] ?? 4),
  options: { temperature: 1, seed: 100 + i, maxTokens: [9, 4, 12, 6, 3, 8, 10, 5][i] ?? 4 } satisfies GenerateOptions,
}));

describe.each(engines)('a scheduler [%s]', (name, open) => {
  let engine: Engine;
  let solos: readonly Taken[];
  beforeAll(async () => {
    engine = await open();
    solos = await Promise.all(requests.map(({ prompt, options }) => alone(engine, prompt, options)));
  });
  afterAll(async () => {
    expect(engine.live().buffers).toBe(0);
    await engine.close();
  });

  it('chooses what transformers would', async () => {
    const [prompt] = fixture.rows;
    const { logitsAt } = fixture;
    await using scheduler = await schedulerOf(engine, fixture.model, none, {}, fixture.weights);
    const { ids } = await take(scheduler.generate(prompt.slice(0, 9), { temperature: 0, maxTokens: 1 }));
    expect(ids[0]).toBe(logitsAt(0, 8).indexOf(Math.max(...logitsAt(0, 8))));
  });

  it.each([1, 2, 4, 8])('gives each of %i texts side by side what it gives it alone', async (count) => {
    await using scheduler = await schedulerOf(engine, hybrid, { ...none, maxBatch: count, chunk: 8 });
    const found = await Promise.all(requests.map(({ prompt, options }) => take(scheduler.generate(prompt, options))));
    for (const [i, taken] of found.entries())
      expect(distance(taken, solos[i] ?? taken), `text ${i}`).toBeLessThan(1e-4);
  });

  it('gives a text the same bits whatever runs beside it, where that is asked for', async () => {
    const options = { ...none, maxBatch: 4, chunk: 8, deterministic: true };
    const run = async (chosen: typeof requests) => {
      await using scheduler = await schedulerOf(engine, hybrid, options);
      return await Promise.all(chosen.map(({ prompt, options: given }) => take(scheduler.generate(prompt, given))));
    };
    const together = await run(requests);
    for (const i of [1, 3, 4]) expect((await run(requests.slice(i, i + 1)))[0]).toEqual(together[i]);
  });

  it('lets texts come and go between steps, and goes on while a long prompt is taken in', async () => {
    const { prompt, options } = requests[0] ?? { prompt: [], options: {} };
    await using scheduler = await schedulerOf(engine, plain, { ...none, chunk: 8 });
    const order: string[] = [];
    const follow = async (name: string, stream: ReturnType<typeof scheduler.generate>) => {
      for await (const { id } of stream) order.push(id < 0 ? '' : name);
    };
    const first = scheduler.generate(prompt, { ...options, maxTokens: 40 });
    await first.next();
    const long = scheduler.generate(tokensOf(9, 80), { maxTokens: 2 });
    const short = scheduler.generate(tokensOf(10, 3), { maxTokens: 2 });
    await Promise.all([follow('a', first), follow('b', long), follow('c', short)]);
    // Ten chunks of eight tokens, with a token of the running text after each.
    expect(order.slice(0, order.indexOf('b')).filter((name) => name === 'a').length).toBeGreaterThanOrEqual(9);
    // The short prompt has its turn after the long one's first chunk, not after its last.
    expect(order.slice(0, order.indexOf('c')).filter((name) => name === 'a').length).toBeLessThanOrEqual(4);
    expect(order.at(-1)).toBe('a');
  });

  it.each([
    ['rows alone', attentionOnly],
    ["LFM2's states", plain],
  ])('scores prompts that begin alike by what is kept of the others [%s]', async (_, model) => {
    const shared = tokensOf(11, 50);
    const prompts = [20, 21, 22].map((seed) => [...shared, ...tokensOf(seed, seed - 16)]);
    prompts.push(prompts[0] ?? [], shared, [...shared.slice(0, 30), 1, 2]);
    const options = { maxTokens: 1, temperature: 0, promptLogprobs: true, topLogprobs: 2 };
    const score = async (scheduler: Awaited<ReturnType<typeof schedulerOf>>, prompt: readonly number[]) => {
      const stream = scheduler.generate(prompt, options);
      await take(stream);
      return stream;
    };
    await using scheduler = await schedulerOf(engine, model, { chunk: 8 });
    let reused = 0;
    for (const prompt of prompts) {
      const found = await score(scheduler, prompt);
      await using fresh = await schedulerOf(engine, model, none);
      const expected = await score(fresh, prompt);
      expect(found.prompt.map(({ id }) => id)).toEqual(prompt.slice(1));
      for (const [i, { logprob, top = [] }] of found.prompt.entries()) {
        expect(logprob).toBeCloseTo(expected.prompt[i]?.logprob ?? NaN, 4);
        expect(top.map(({ id }) => id)).toEqual(expected.prompt[i]?.top?.map(({ id }) => id));
      }
      reused += found.cachedTokens;
    }
    // Of rows alone: 49 of the two that follow, all but the last token of the first again, 49 and 29 of those cut short.
    if (model === attentionOnly) expect(reused).toBe(49 + 49 + (shared.length + 4 - 1) + 49 + 29);
    else expect(reused).toBeGreaterThan(0);
  });

  it('compiles a bounded number of programs', async () => {
    const compiled: string[] = [];
    const counting: Engine = {
      ...engine,
      compile(program, given) {
        compiled.push(program.name);
        return engine.compile(program, given);
      },
    };
    await using scheduler = await schedulerOf(counting, plain, none, { capacities: [32, 64, 128] });
    for (let round = 0; round < 3; round++) {
      const found = requests.slice(0, 3 + 2 * round).map(({ prompt, options }) => scheduler.generate(prompt, options));
      await Promise.all(found.map(take));
    }
    // Two programs, for a row of any length and for a token of any number of rows, for each size.
    expect(compiled.length).toBeLessThanOrEqual(6);
  });

  it('forks a text, and gives each fork random numbers of its own', async () => {
    const { prompt } = requests[1] ?? { prompt: [] };
    await using scheduler = await schedulerOf(engine, hybrid, { ...none, maxBatch: 3 });
    const given = { temperature: 1, seed: 5, maxTokens: 8, n: 5 };
    const found = await Promise.all(scheduler.generateAll(prompt, given).map(take));
    const again = await Promise.all(scheduler.generateAll(prompt, given).map(take));
    found.forEach((taken, i) => expect(distance(taken, again[i] ?? taken)).toBeLessThan(1e-4));
    expect(new Set(found.map(({ ids }) => ids.join())).size).toBe(5);
    expect(
      distance(found[0] ?? again[0] ?? { choices: [], ids: [], reason: '' }, await alone(engine, prompt, given)),
    ).toBeLessThan(1e-4);
  });

  it('frees a slot within a step, wherever a request stands', async () => {
    await using scheduler = await schedulerOf(engine, hybrid, { ...none, maxBatch: 2, chunk: 8 });
    const idle = engine.live().buffers;
    const running = scheduler.generateAll(tokensOf(3, 5), { maxTokens: 400, n: 2 });
    // The first token is the prompt's; with the second a text has its slot.
    for (let token = 0; token < 2; token++) await Promise.all(running.map((stream) => stream.next()));
    const queued = scheduler.generate(tokensOf(4, 5), { maxTokens: 400 });
    expect(scheduler.load).toEqual({ waiting: 1, running: 2 });
    await queued.return();
    expect(scheduler.load).toEqual({ waiting: 0, running: 2 });
    const controller = new AbortController();
    const third = scheduler.generate(tokensOf(4, 5), { maxTokens: 4 }, controller.signal);
    controller.abort(new Error('enough'));
    await expect(third.next()).rejects.toThrow('enough');
    await running[0]?.return();
    expect(scheduler.load.running).toBe(1);
    const long = scheduler.generate(tokensOf(5, 100), { maxTokens: 4 });
    await running[1]?.next();
    await running[1]?.next();
    await long.return();
    await running[1]?.return();
    expect(scheduler.load).toEqual({ waiting: 0, running: 0 });
    expect(engine.live().buffers).toBe(idle);
    expect((await running[0]?.next())?.done).toBe(true);
  });

  it('leaves nothing behind after random requests, cancelled, forked and finished', async () => {
    const scheduler = await schedulerOf(engine, plain, { maxBatch: 4, chunk: 16, cacheBytes: 60_000 });
    const shared = tokensOf(50, 40);
    let state = 12345;
    const random = (below: number) => (state = (state * 48271) % 2147483647) % below;
    for (let round = 0; round < (name === 'reference' ? 4 : 84); round++) {
      const streams = Array.from({ length: 8 }, () => {
        const prompt = [...shared.slice(0, random(40)), ...tokensOf(random(1000), 1 + random(20))];
        const promptLookup = random(3) === 0 ? 3 : 0;
        return scheduler.generateAll(prompt, { maxTokens: 1 + random(4), n: 1 + random(2), promptLookup, seed: round });
      }).flat();
      await Promise.all(
        streams.map(async (stream) => {
          for (let left = random(5); left > 0; left--) await stream.next();
          if (random(2) === 0) await stream.return();
          else await take(stream);
        }),
      );
    }
    // The last texts have ended; their slots are free once the turn that ended them is over.
    await scheduler.exclusively(async () => undefined);
    expect(scheduler.load).toEqual({ waiting: 0, running: 0 });
    expect(scheduler.cache.hits).toBeGreaterThan(10);
    expect(scheduler.cache.evictions).toBeGreaterThan(1);
    expect(scheduler.cache.bytes).toBeLessThanOrEqual(60_000);
    await scheduler.clearCache();
    // The weights, and nothing else.
    expect(engine.live().buffers).toBe(Object.keys(plain.parameters).length);
    await scheduler.close();
  }, 60_000);

  it('closes under texts that are under way', async () => {
    const scheduler = await schedulerOf(engine);
    const stream = scheduler.generate(tokensOf(1, 4), { maxTokens: 400 });
    await stream.next();
    const waiting = take(scheduler.generate(tokensOf(2, 4), { maxTokens: 400 }));
    await Promise.all([scheduler.close(), expect(waiting).rejects.toMatchObject({ code: 'model-closed' })]);
    expect(() => scheduler.generate([1])).toThrow(expect.objectContaining({ code: 'model-closed' }));
    expect(engine.live().buffers).toBe(0);
  });
});

const xla = await everyEngine.find(({ name }) => name === 'xla')?.load();

describe('compiled copies [xla]', () => {
  afterAll(() => xla?.close());
  it.skipIf(!xla)('give texts side by side, and turns from the cache, what the reference gives', async () => {
    if (!xla) return;
    const before = xla.live().buffers;
    const scheduler = await schedulerOf(xla, plain, { maxBatch: 2, cacheBytes: 2 ** 20 });
    const given = { temperature: 1, seed: 3, maxTokens: 4 };
    const prompts = [tokensOf(1, 5), tokensOf(2, 70)];
    for (let turn = 0; turn < 2; turn++) {
      const found = await Promise.all(prompts.map((prompt) => take(scheduler.generate(prompt, given))));
      for (const [i, prompt] of prompts.entries())
        expect(
          distance(
            found[i] ?? { choices: [], ids: [], reason: '' },
            await alone(referenceEngine(), prompt, given, plain),
          ),
        ).toBeLessThan(1e-4);
    }
    expect(scheduler.cache.reusedTokens).toBeGreaterThanOrEqual(69);
    await scheduler.close();
    expect(xla.live().buffers).toBe(before);
  });
});

describe('requests [reference]', () => {
  it('wait by priority, up to a number of them', async () => {
    await using scheduler = await schedulerOf(referenceEngine(), plain, { maxBatch: 1, maxQueue: 3 });
    const running = scheduler.generate([1, 2], { maxTokens: 30 });
    await running.next();
    const order: number[] = [];
    const ask = async (priority: number) => {
      await take(scheduler.generate([3], { maxTokens: 2, priority }));
      order.push(priority);
    };
    const asked = [0, 1, 5].map(ask);
    await expect(ask(9)).rejects.toMatchObject({ code: 'queue-full' });
    await running.return();
    await Promise.all(asked);
    expect(order).toEqual([5, 1, 0]);
  });

  it('take turns by chunks, and short ones share a turn', async () => {
    await using scheduler = await schedulerOf(
      referenceEngine(),
      plain,
      { ...none, maxBatch: 8, chunk: 64 },
      { capacities: [256] },
    );
    const running = scheduler.generate([1, 2], { maxTokens: 24 });
    await running.next();
    let step = 1;
    const ended = new Map<string, number>();
    const first = async (name: string, length: number) => {
      const stream = scheduler.generate(tokensOf(length, length), { maxTokens: 2 });
      await stream.next();
      ended.set(name, step);
      await stream.return();
    };
    const asked = [
      ...['a', 'b'].map((name, i) => first(name, 160 + i)),
      ...['c', 'd', 'e', 'f'].map((name, i) => first(name, 20 + i)),
    ];
    for await (const _ of running) step++;
    await Promise.all(asked);
    const at = (name: string) => ended.get(name) ?? Infinity;
    // One chunk of each long prompt, then two short ones a turn; the long ones' other chunks come by turns.
    expect(Math.max(at('c'), at('d'), at('e'), at('f'))).toBeLessThanOrEqual(7);
    expect(Math.min(at('a'), at('b'))).toBeGreaterThan(at('f'));
    expect(at('b') - at('a')).toBeLessThanOrEqual(2);
    expect(at('b')).toBeLessThanOrEqual(12);
  });

  it('begin after one that they share more with than it has still to compute', async () => {
    await using scheduler = await schedulerOf(referenceEngine(), attentionOnly, { chunk: 16 }, { capacities: [80] });
    const shared = tokensOf(3, 60);
    const ask = (...more: number[]) => scheduler.generate([...shared, ...more], { maxTokens: 2, temperature: 0 });
    const streams = [ask(1, 2), ask(3), ask(4, 5, 6)];
    const taken = await Promise.all(streams.map(take));
    expect(streams.map(({ cachedTokens }) => cachedTokens)).toEqual([0, 60, 60]);
    for (const [i, more] of [[1, 2], [3], [4, 5, 6]].entries()) {
      const solo = await alone(
        referenceEngine(),
        [...shared, ...more],
        { maxTokens: 2, temperature: 0 },
        attentionOnly,
      );
      expect(distance(taken[i] ?? solo, solo)).toBeLessThan(1e-4);
    }
  });

  it('are refused alone where they cannot be met', async () => {
    await using scheduler = await schedulerOf(referenceEngine(), plain);
    const other = take(scheduler.generate([1, 2], { maxTokens: 6 }));
    const refused = (code: string, prompt: readonly number[], options: GenerateOptions = {}) =>
      expect(() => scheduler.generate(prompt, options), code).toThrow(expect.objectContaining({ code }));
    refused('empty-prompt', []);
    refused('bad-token', [64]);
    refused('context-full', tokensOf(1, 513));
    refused('bad-limit', [1], { maxTokens: 0 });
    expect(() => scheduler.generateAll([1], { n: 0 })).toThrow(expect.objectContaining({ code: 'bad-limit' }));
    refused('bad-sampling', [1], { topP: 2 });
    expect((await other).ids).toHaveLength(6);
    await expect(schedulerOf(referenceEngine(), plain, { maxBatch: 0 })).rejects.toMatchObject({ code: 'bad-limit' });
  });

  it('end at a stop token, and at the end of the context', async () => {
    await using scheduler = await schedulerOf(referenceEngine(), plain, {}, { capacities: [8, 12] });
    const { ids, reason } = await take(scheduler.generate(tokensOf(1, 10), { temperature: 0, maxTokens: 100 }));
    // A token more than the context may hold: the last one need not be taken in.
    expect([ids.length, reason]).toEqual([3, 'length']);
    const shorter = await take(scheduler.generate(tokensOf(1, 10), { temperature: 0, stopIds: ids.slice(2) }));
    expect([shorter.ids, shorter.reason]).toEqual([ids.slice(0, ids.indexOf(ids[2] ?? 0)), 'stop']);
  });
});
