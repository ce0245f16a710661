// LoRA adapters as peft saves them: its logits, several at once, what is kept apart, what is refused.
import { cp, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Engine } from '../engines/engine.ts';
import { openSafetensors } from '../files/safetensors.node.ts';
import type { Adapter } from './adapter.ts';
import { loadAdapter } from './adapter.ts';
import { Generator } from './generator.ts';
import type { SchedulerOptions } from './scheduler.ts';
import { Scheduler } from './scheduler.ts';
import { openAdapter as openInBrowser } from './source.browser.ts';
import { openAdapter, openSource } from './source.node.ts';
import { engines } from './testing.node.ts';
import { distance, take, tokensOf } from './testing-requests.node.ts';
import type { HeldModel } from './weights.ts';
import { definedModel, uploadWeights } from './weights.ts';

const fixtures = new URL('../../test/fixtures/', import.meta.url).pathname;
const adapters = join(fixtures, 'lora');
const names = ['lfm2-list', 'lfm2-attention', 'lfm2-patterns', 'llama-all', 'llama-one', 'phi3-fused'];

interface Base extends HeldModel, AsyncDisposable {
  readonly generator: Generator;
  add(folder: string, name?: string): Promise<Adapter>;
}

/** A model of test/fixtures/models, which adapters can be added to. */
async function openBase(engine: Engine, name: string): Promise<Base> {
  const source = await openSource(join(fixtures, 'models', name));
  const held = definedModel(source);
  const generator = new Generator(engine, held.model, await uploadWeights(engine, held, source.weights));
  const add = async (folder: string, called = folder) => {
    const stored = await openAdapter(join(adapters, folder));
    try {
      const adapter = await loadAdapter(engine, held.model, held.parameters, stored, called);
      generator.addAdapter(adapter);
      return adapter;
    } finally {
      await stored.close();
    }
  };
  const dispose = async () => {
    await generator.close();
    await source.weights.close();
  };
  return { ...held, generator, add, [Symbol.asyncDispose]: dispose };
}

async function withScheduler<T>(
  engine: Engine,
  options: SchedulerOptions,
  loaded: readonly string[],
  use: (scheduler: Scheduler) => Promise<T>,
): Promise<T> {
  await using base = await openBase(engine, 'lfm2');
  const { generator, add } = base;
  await using scheduler = new Scheduler(generator, options);
  for (const name of loaded) await add(name);
  return await use(scheduler);
}

const prompt = tokensOf(1, 20).map((id) => id % 40);
const sampled = { temperature: 1, seed: 3, maxTokens: 8 };
const request = (adapter?: string) => ({ ...sampled, adapter });

describe.each(engines)('an adapter [%s]', (_, open) => {
  let engine: Engine;
  beforeAll(async () => void (engine = await open()));
  afterAll(async () => {
    expect(engine.live().buffers).toBe(0);
    await engine.close();
  });

  it.each(names)("%s gives peft's logits", async (name) => {
    await using expected = await openSafetensors(join(adapters, name, 'expected.safetensors'));
    const ids = Int32Array.from(await expected.readFloat32('ids'));
    const logits = await expected.readFloat32('logits');
    await using base = await openBase(engine, name.split('-')[0] ?? '');
    const { generator } = base;
    const adapter = await base.add(name);
    const classes = base.model.head.classes;
    const length = ids.length / 2;
    const state = await generator.open(length, 2, adapter);
    const differences: number[] = [];
    const compare = (row: number, from: number, found: Float32Array | undefined) =>
      found?.forEach((value, i) =>
        differences.push(Math.abs(value - (logits[(row * length + from) * classes + i] ?? NaN))),
      );
    const rows = [[...ids.subarray(0, length)], [...ids.subarray(length)]];
    // The first tokens at once, the rest one by one.
    const first = 5;
    const found = await generator.step(
      state,
      rows.map((row) => row.slice(0, first)),
      { positions: 'all' },
    );
    for (const [row, values] of found.entries()) compare(row, 0, values);
    for (let t = first; t < length; t++) {
      const next = await generator.step(
        state,
        rows.map((row) => row.slice(t, t + 1)),
      );
      for (const [row, values] of next.entries()) compare(row, t, values);
    }
    expect(differences).toHaveLength(2 * length * classes);
    expect(Math.max(...differences)).toBeLessThan(1e-5);
  });

  it('is the one that a request names, whatever runs beside it, and none for the others', async () => {
    const loaded = ['lfm2-list', 'lfm2-attention', 'lfm2-patterns'];
    const all = [undefined, ...loaded, undefined, ...loaded];
    const alone = await Promise.all(
      [undefined, ...loaded].map((name) =>
        withScheduler(engine, { cacheBytes: 0 }, name === undefined ? [] : [name], (scheduler) =>
          take(scheduler.generate(prompt, request(name))),
        ),
      ),
    );
    const together = await withScheduler(engine, { cacheBytes: 0 }, loaded, (scheduler) =>
      Promise.all(all.map((name) => take(scheduler.generate(prompt, request(name))))),
    );
    for (const [i, taken] of together.entries()) {
      const solo = alone[i % alone.length];
      expect(solo && distance(taken, solo), `text ${i}`).toBeLessThan(1e-4);
    }
    expect(new Set(alone.map(({ choices }) => choices[0]?.logprob)).size).toBe(4);
  });

  it('that others run under changes no bit of a text without one', async () => {
    const options = { deterministic: true, maxBatch: 2 };
    const plain = await withScheduler(engine, options, [], (scheduler) => take(scheduler.generate(prompt, request())));
    const beside = await withScheduler(engine, options, ['lfm2-list'], (scheduler) =>
      Promise.all([undefined, 'lfm2-list'].map((name) => take(scheduler.generate(prompt, request(name))))),
    );
    expect(beside[0]).toEqual(plain);
  });

  it('shares no cached state with another', async () => {
    const cached = await withScheduler(engine, {}, ['lfm2-list', 'lfm2-patterns'], async (scheduler) => {
      const counts: number[] = [];
      const texts = new Map<string | undefined, readonly number[]>();
      for (const name of [undefined, 'lfm2-list', 'lfm2-patterns', undefined, 'lfm2-list', 'lfm2-patterns']) {
        const text = texts.get(name) ?? prompt;
        const stream = scheduler.generate(text, request(name));
        texts.set(name, [...text, ...(await take(stream)).ids, 7]);
        counts.push(stream.cachedTokens);
      }
      return counts;
    });
    expect(cached.slice(0, 3)).toEqual([0, 0, 0]);
    expect(Math.min(...cached.slice(3))).toBeGreaterThan(10);
  });

  it('takes its cached states back when it comes again under another name, and not for another of its name', async () => {
    await using base = await openBase(engine, 'lfm2');
    const { generator, add } = base;
    await using scheduler = new Scheduler(generator);
    const cachedAfter = async (folder: string, name: string, text: readonly number[]) => {
      await add(folder, name);
      const stream = scheduler.generate(text, request(name));
      const { ids } = await take(stream);
      await generator.removeAdapter(name);
      return { next: [...text, ...ids, 7], cached: stream.cachedTokens };
    };
    const { next } = await cachedAfter('lfm2-list', 'a', prompt);
    expect((await cachedAfter('lfm2-patterns', 'a', next)).cached).toBe(0);
    expect((await cachedAfter('lfm2-list', 'b', next)).cached).toBeGreaterThan(10);
  });

  it('serves scores, vectors, guesses and several texts of one prompt', async () => {
    await withScheduler(engine, { cacheBytes: 0 }, ['lfm2-list'], async (scheduler) => {
      const adapter = { adapter: 'lfm2-list' };
      const [sum] = await scheduler.score(prompt, [[4, 5, 6]], adapter);
      const { choices } = await take(
        scheduler.generate([...prompt, 4, 5, 6], { ...adapter, maxTokens: 1, promptLogprobs: true }),
      );
      expect(choices).toHaveLength(1);
      const stream = scheduler.generate([...prompt, 4, 5, 6], { ...adapter, maxTokens: 1, promptLogprobs: true });
      await take(stream);
      const last = stream.prompt.slice(-3).reduce((total, { logprob }) => total + logprob, 0);
      expect(Math.abs((sum ?? NaN) - last)).toBeLessThan(1e-4);
      const [under, without] = [await scheduler.embed(prompt, 'last', adapter), await scheduler.embed(prompt, 'last')];
      expect(under).not.toEqual(without);
      const repeating = [...prompt, ...prompt, ...prompt];
      const plain = await take(scheduler.generate(repeating, request('lfm2-list')));
      const guessing = await take(scheduler.generate(repeating, { ...request('lfm2-list'), promptLookup: 4 }));
      expect(distance(guessing, plain)).toBeLessThan(1e-4);
      const [one, two] = scheduler.generateAll(repeating, { ...request('lfm2-list'), n: 2 });
      if (!one || !two) throw new Error('Two streams were asked for.');
      const [first] = await Promise.all([take(one), take(two)]);
      expect(distance(first, plain)).toBeLessThan(1e-4);
    });
  });

  it('goes on under a running text when it is unloaded, and is gone after it', async () => {
    await using base = await openBase(engine, 'lfm2');
    const { generator, add } = base;
    await using scheduler = new Scheduler(generator, { cacheBytes: 0 });
    await add('lfm2-list');
    const whole = await take(scheduler.generate(prompt, request('lfm2-list')));
    const before = engine.live().buffers;
    const running = scheduler.generate(prompt, request('lfm2-list'));
    await running.next();
    await generator.removeAdapter('lfm2-list');
    expect(() => scheduler.generate(prompt, request('lfm2-list'))).toThrow(/no adapter "lfm2-list"; loaded: none/);
    expect((await take(running)).ids).toEqual(whole.ids.slice(1));
    await scheduler.clearCache();
    expect(engine.live().buffers).toBeLessThan(before);
  });
});

describe('an adapter that does not fit [reference]', () => {
  let engine: Engine;
  let base: Base;
  let root: string;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'lfm-adapter-'));
    engine = await (engines[0]?.[1] ?? Promise.reject)();
    base = await openBase(engine, 'lfm2');
  });
  afterAll(async () => {
    await base[Symbol.asyncDispose]();
    expect(engine.live().buffers).toBe(0);
    await rm(root, { recursive: true });
  });

  /** A copy of lfm2-list with other settings, or another file. */
  async function changed(name: string, settings: object, change?: (file: string) => Promise<void>): Promise<string> {
    const folder = join(root, name);
    await cp(join(adapters, 'lfm2-list'), folder, { recursive: true });
    const config = join(folder, 'adapter_config.json');
    await writeFile(config, JSON.stringify({ ...JSON.parse(await readFile(config, 'utf8')), ...settings }));
    await change?.(join(folder, 'adapter_model.safetensors'));
    return folder;
  }

  const loading = async (folder: string) => {
    const source = await openAdapter(folder);
    try {
      await loadAdapter(engine, base.model, base.parameters, source, 'x');
    } finally {
      await source.close();
    }
  };

  it.each([
    ['another kind', { peft_type: 'IA3' }, 'peft_type'],
    ['DoRA', { use_dora: true }, 'use_dora is set'],
    ['whole modules', { modules_to_save: ['lm_head'] }, 'modules_to_save is set'],
    ['biases', { bias: 'all' }, 'bias'],
    ['biases of B', { lora_bias: true }, 'lora_bias is set'],
    ['a beginning that changed the base', { init_lora_weights: 'pissa' }, 'init_lora_weights'],
    ['what is not known yet', { use_something: { of: 1 } }, 'use_something is set'],
    ['a pattern that might never end', { alpha_pattern: { '(a*)*b': 2 } }, 'repeats more'],
    ['a pattern that is none', { rank_pattern: { '(': 2 } }, 'cannot be read'],
    ['no rank', { r: 0 }, 'r:'],
  ])('is refused: %s', async (name, settings, message) => {
    await expect(loading(await changed(name, settings))).rejects.toMatchObject({
      code: 'bad-adapter',
      message: expect.stringContaining(message),
    });
  });

  it.each([
    ['of another rank', 'lfm2-list', { r: 3 }, /expected \S+lora_A.weight of \[3, 16\]; found \[4, 16\]/],
    ['of another architecture', 'llama-all', {}, /does not fit the model: expected|there is no matrix/],
    [
      'without all its tensors',
      'lfm2-attention',
      { target_modules: ['q_proj', 'w1'] },
      /w1.lora_A.weight .* found none/,
    ],
  ])('is refused: %s', async (name, from, settings, message) => {
    const folder = await changed(name, settings);
    await cp(join(adapters, from, 'adapter_model.safetensors'), join(folder, 'adapter_model.safetensors'));
    await expect(loading(folder)).rejects.toMatchObject({
      code: 'adapter-mismatch',
      message: expect.stringMatching(message),
    });
  });

  it('is refused: cut short, damaged, absent; and texts under way do not notice', async () => {
    const scheduler = new Scheduler(base.generator, { cacheBytes: 0 });
    const plain = await take(scheduler.generate(prompt, sampled));
    const running = take(scheduler.generate(prompt, sampled));
    const short = await changed('short', {}, (file) => truncate(file, 9000));
    await expect(loading(short)).rejects.toMatchObject({ code: expect.stringMatching(/^safetensors-/) });
    const damaged = await changed('damaged', {}, async (file) => {
      const bytes = await readFile(file);
      bytes.fill(0xff, bytes.length - 8);
      await writeFile(file, bytes);
    });
    await expect(loading(damaged)).rejects.toMatchObject({ code: 'bad-adapter' });
    await expect(openAdapter(root)).rejects.toMatchObject({ code: 'adapter-missing' });
    expect(await running).toEqual(plain);
  });

  it('is read the same in a browser, where it is fetched', async () => {
    vi.stubGlobal('fetch', async (path: string) => new Response(await readFile(path)));
    const [there, here] = [await openInBrowser(`${adapters}/lfm2-list/`), await openAdapter(`${adapters}/lfm2-list`)];
    expect(there.config).toEqual(here.config);
    for (const name of here.tensors.keys()) expect(await there.readFloat32(name)).toEqual(await here.readFloat32(name));
    await here.close();
    vi.unstubAllGlobals();
  });
});
