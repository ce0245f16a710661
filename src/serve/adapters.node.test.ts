// Adapters over HTTP: each is a model of its own, with its own words and its own cached states; loaded and unloaded with a key.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { load } from '../generate/load.ts';
import { writeModelFolder } from '../generate/testing.node.ts';
import { writeAdapterFolder } from '../generate/testing-adapter.node.ts';
import { serve } from './index.ts';
import type { RunningServer } from './server.node.ts';
import { post } from './testing.node.ts';

const key = 'a-key-of-tests';
const headers = { authorization: `Bearer ${key}` };

describe('adapters over HTTP [onnx]', () => {
  let root: string;
  let server: RunningServer;
  let client: OpenAI;
  const failures: unknown[] = [];
  const at = (name: string) => join(root, name);
  const modelOf = (adapters: Readonly<Record<string, string>>) => ({
    name: 'tiny',
    adapters,
    load: (signal: AbortSignal) => load(root, { engine: { name: 'onnx', threads: 1 }, signal }),
  });
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'lfm-served-adapters-'));
    await writeModelFolder(root, { chats: true });
    await writeAdapterFolder(at('poet'), root, 1);
    await writeAdapterFolder(at('sailor'), root, 2);
    server = await serve({
      models: [modelOf({ poet: at('poet'), sailor: at('sailor') })],
      port: 0,
      apiKeys: [key],
      onFailure: (error) => failures.push(error),
    });
    await server.ready;
    client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: key, maxRetries: 0 });
  });
  afterAll(async () => {
    await server.close(0);
    await rm(root, { recursive: true });
  });

  const prompt = 'The brook runs down to the mill, over the stones and under the hill. '.repeat(2);
  const say = async (model: string) => {
    const asked = { model, prompt, max_tokens: 12, temperature: 0 };
    const { choices, usage, model: by } = await client.completions.create(asked);
    return { text: choices[0]?.text, by, cached: usage?.prompt_tokens_details?.cached_tokens };
  };

  it('are models of their own, with a parent', async () => {
    const { data } = await client.models.list();
    expect(data).toMatchObject([
      { id: 'tiny', parent: null, loaded: true },
      { id: 'poet', parent: 'tiny', loaded: true, chats: true },
      { id: 'sailor', parent: 'tiny', loaded: true },
    ]);
    expect(await client.models.retrieve('poet')).toMatchObject({ id: 'poet', parent: 'tiny' });
  });

  it('say what they say in process, side by side, each from its own cached states', async () => {
    const names = ['tiny', 'poet', 'sailor'];
    const first = await Promise.all(names.map(say));
    expect(new Set(first.map(({ text }) => text)).size).toBe(3);
    expect(first.map(({ by, cached }) => [by, cached])).toEqual(names.map((name) => [name, 0]));
    for (const [i, name] of names.entries()) {
      const again = await say(name);
      expect(again.text).toBe(first[i]?.text);
      expect(again.cached).toBeGreaterThan(0);
    }
    await using model = await load(root, { engine: { name: 'onnx', threads: 1 }, adapters: { poet: at('poet') } });
    const alone = await model.generate(prompt, { adapter: 'poet', maxTokens: 12, temperature: 0 });
    expect(first[1]?.text).toBe(alone.text);
    const vectors = await Promise.all(names.map((name) => client.embeddings.create({ model: name, input: 'A brook' })));
    expect(new Set(vectors.map(({ data }) => JSON.stringify(data[0]?.embedding))).size).toBe(3);
  });

  it('chat', async () => {
    const asked = { messages: [{ role: 'user' as const, content: 'Where to?' }], max_tokens: 12, temperature: 0 };
    const answers = await Promise.all(
      ['tiny', 'poet'].map((model) => client.chat.completions.create({ ...asked, model })),
    );
    const [plain, poet] = answers.map(({ choices }) => choices[0]?.message.content);
    expect(poet).not.toBe(plain);
  });

  it('leave memory and come back with a key, their model staying', async () => {
    const before = await say('poet');
    const manage = (what: string, model: string, given = headers) =>
      post(`${server.url}/v1/models/${what}`, { model }, given);
    expect((await manage('unload', 'poet', { authorization: 'Bearer wrong' })).status).toBe(401);
    expect(JSON.parse((await manage('unload', 'poet')).text)).toMatchObject({ loaded: false, was_loaded: true });
    expect(JSON.parse((await manage('unload', 'poet')).text)).toMatchObject({ was_loaded: false });
    const loaded = async () => (await client.models.list()).data.map((each) => 'loaded' in each && each.loaded);
    expect(await loaded()).toEqual([true, false, true]);
    expect((await manage('load', 'poet')).status).toBe(200);
    expect(await loaded()).toEqual([true, true, true]);
    expect((await say('poet')).text).toBe(before.text);
    expect((await manage('unload', 'tiny')).status).toBe(200);
    expect(await loaded()).toEqual([false, false, false]);
    // Asked for, it brings its model with it.
    expect((await say('sailor')).text).not.toBe(before.text);
    expect(await loaded()).toEqual([true, false, true]);
    expect((await post(`${server.url}/v1/completions`, { model: 'nobody', prompt: 'x' }, headers)).status).toBe(404);
    expect(failures).toEqual([]);
  });

  it('are refused at the start where they do not fit, or are called as another is', async () => {
    const start = (adapters: Readonly<Record<string, string>>) =>
      serve({ models: [modelOf(adapters)], port: 0, onFailure: () => undefined });
    await using wrong = await start({ none: at('nowhere') });
    await expect(wrong.ready).rejects.toMatchObject({ code: 'adapter-missing' });
    await expect(start({ tiny: at('poet') })).rejects.toMatchObject({ code: 'duplicate-model' });
  });
});
