// Keys and values held as int8, from a model's folder to its answers: what they are near, what they never depend on, what is reused,
// saved, refused.
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stateBytes, stateTypes } from '../liquid/index.ts';
import { load } from './load.ts';
import type { LoadOptions } from './load.ts';
import { quantizeModel } from './quantize.node.ts';
import type { KeyValueDtype } from './row-scales.ts';
import { withKnownScales } from './row-scales.ts';
import { openSource } from './source.node.ts';
import { corpus, engines, writeModelFolder } from './testing.node.ts';

let root: string;
const folder = () => join(root, 'int4');

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lfm-rows-'));
  const plain = join(root, 'plain');
  await mkdir(plain);
  await writeModelFolder(plain, { chats: true, hiddenSize: 64, intermediateSize: 96 });
  const source = await openSource(plain);
  await quantizeModel(source, folder(), { bits: 4, block: 32 });
  await source.weights.close();
});
afterAll(() => rm(root, { recursive: true }));

const KEYS = 'layers.1.self_attn.keys';
const asInt8: LoadOptions = { numerics: 'fast', keyValueDtype: 'int8' };
const brief = { temperature: 0, maxTokens: 5 };

describe.each(engines)('keys and values of int8 [%s]', (name, open) => {
  it('are the default of fast where the engine has kernels for them', async () => {
    const engine = await open();
    {
      await using model = await load(folder(), { engine, numerics: 'fast' });
      const types = stateTypes(model.definition, { batch: 1, capacity: 16 });
      expect(types[KEYS]?.dtype).toBe(name === 'onnx' ? 'int8' : 'float32');
      await using stable = await load(folder(), { engine });
      expect(stateTypes(stable.definition, { batch: 1, capacity: 16 })[KEYS]?.dtype).toBe('float32');
    }
    await engine.close();
  });

  it('give what floats give but for their rounding, in portions of any size, and no row depends on its neighbours', async () => {
    const engine = await open();
    {
      await using model = await load(folder(), { engine, ...asInt8 });
      await using floats = await load(folder(), { engine, numerics: 'fast', keyValueDtype: 'float32' });
      expect(
        stateBytes(floats.definition, 64, 'float32') / stateBytes(model.definition, 64, 'float32'),
      ).toBeGreaterThan(3);
      const ids = [...model.tokenizer.encode(corpus)].slice(0, 24);
      const logits = async ({ generator }: typeof model, portion: number) => {
        const state = await generator.open(ids.length);
        let last: Float32Array | undefined;
        for (let from = 0; from < ids.length; from += portion)
          [last] = await generator.feed(state, [ids.slice(from, from + portion)]);
        generator.release(state);
        return [...(last ?? [])];
      };
      const whole = await logits(floats, 24);
      const spread = Math.max(...whole) - Math.min(...whole);
      for (const portion of [24, 10, 5, 1]) {
        const found = await logits(model, portion);
        expect(Math.max(...found.map((value, i) => Math.abs(value - (whole[i] ?? NaN)))) / spread).toBeLessThan(0.1);
      }
      const beside = async (count: number, turned: boolean) => {
        const state = await model.generator.open(64, count);
        const rows = Array.from({ length: count }, (_, b) => ids.slice(b, b + 9));
        const parts = rows.map((row, b) => (turned && b > 0 ? row.toReversed() : row));
        await model.generator.feed(state, parts);
        const [first] = await model.generator.step(
          state,
          parts.map(() => [7]),
        );
        model.generator.release(state);
        return [...(first ?? [])];
      };
      for (const count of [2, 4, 8]) expect(await beside(count, true)).toEqual(await beside(count, false));
    }
    expect(engine.live().buffers).toBe(0);
    await engine.close();
  });

  it('are reused, rolled back and kept in files, which models of other element types refuse', async () => {
    const engine = await open();
    {
      await using model = await load(folder(), { engine, ...asInt8, deterministic: true, maxBatch: 2, chunk: 16 });
      const talk = model.conversation();
      await talk.say('Hi there, brook', brief);
      const second = await talk.say('Where to?', brief);
      expect(second.usage.cachedTokens).toBeGreaterThan(0);
      const bytes = await talk.toBytes();
      await using fresh = await load(folder(), {
        engine,
        ...asInt8,
        deterministic: true,
        maxBatch: 2,
        chunk: 16,
        cacheBytes: 0,
      });
      const cold = fresh.conversation();
      await cold.say('Hi there, brook', brief);
      const again = await cold.say('Where to?', brief);
      expect([again.usage.cachedTokens, again.text]).toEqual([0, second.text]);
      expect(again.tokens.map(({ logprob }) => logprob)).toEqual(second.tokens.map(({ logprob }) => logprob));
      const resumed = model.conversation();
      await resumed.fromBytes(bytes);
      expect((await resumed.say('And then?', brief)).text).toBe((await talk.say('And then?', brief)).text);
      await using floats = await load(folder(), { engine, numerics: 'fast', keyValueDtype: 'float32' });
      await expect(floats.conversation().fromBytes(bytes)).rejects.toMatchObject({
        code: 'wrong-model',
        message: expect.stringMatching(/as int8, this model as float32.*keyValueDtype: 'int8'/),
      });
      const options = { temperature: 0, maxTokens: 12, promptLookup: 4 };
      const prompt = `${corpus.slice(0, 40)} ${corpus.slice(0, 40)}`;
      const [guessed, plain] = [
        await model.generate(prompt, options),
        await model.generate(prompt, { ...options, promptLookup: 0 }),
      ];
      // Guesses that fail go back to the rows before them.
      expect(guessed.text).toBe(plain.text);
    }
    expect(engine.live().buffers).toBe(0);
    await engine.close();
  });
});

it.each([
  ['the mode stable', { keyValueDtype: 'int8' }],
  ['the mode exact', { numerics: 'exact', keyValueDtype: 'int8' }],
  ['a type that there is not', { numerics: 'fast', keyValueDtype: 'int7' as KeyValueDtype }],
] as const)('%s is refused', async (_, options) => {
  await expect(load(folder(), options)).rejects.toMatchObject({ code: 'bad-key-values' });
});

it('notes that are damaged, or of another model, are as if there were none', async () => {
  const engine = await (engines[0]?.[1] ?? (() => Promise.reject(new Error('no engine'))))();
  await using model = await load(folder(), { engine, numerics: 'fast', keyValueDtype: 'float32' });
  const known = (text: string | undefined) =>
    withKnownScales(model.definition, { read: () => Promise.resolve(text), write: () => Promise.resolve() });
  const size = 32;
  const base64 = Buffer.from(new Float32Array(size).fill(0.5).buffer).toString('base64');
  const values = KEYS.replace('keys', 'values');
  const fits = await known(JSON.stringify({ [KEYS]: base64, [values]: base64 }));
  expect(fits && stateTypes(fits, { batch: 1, capacity: 4 })[values]?.dtype).toBe('int8');
  for (const text of [
    undefined,
    '',
    '{',
    'null',
    JSON.stringify({ [KEYS]: base64 }),
    JSON.stringify({ [KEYS]: 'AAAA', [values]: base64 }),
  ])
    expect(await known(text)).toBeUndefined();
});
