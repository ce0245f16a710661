// Conversions there and back: what is written is read again, and is the same model; and against what gguf-py wrote.
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openGguf } from '../files/gguf.node.ts';
import { readTokenizerJson } from '../text/tokenizer-json.ts';
import { convertToFolder } from './convert-folder.node.ts';
import { convertToGguf } from './convert-gguf.node.ts';
import { load } from './load.ts';
import { openSource } from './source.node.ts';
import { corpus, writeModelFolder } from './testing.node.ts';

let folder: string;
let model: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lfm-convert-'));
  model = join(folder, 'model');
  await mkdir(model);
  await writeModelFolder(model, { chats: true });
});
afterAll(() => rm(folder, { recursive: true }));

const fixture = (name: string) => new URL(`../../test/fixtures/gguf/${name}.gguf`, import.meta.url).pathname;

async function convert<T>(
  name: string,
  write: (source: Awaited<ReturnType<typeof openSource>>) => Promise<T>,
): Promise<T> {
  const source = await openSource(name);
  try {
    return await write(source);
  } finally {
    await source.weights.close();
  }
}

async function weightsOf(name: string): Promise<Record<string, Float32Array>> {
  return convert(name, async ({ weights }) => {
    const found: Record<string, Float32Array> = {};
    for (const key of [...weights.tensors.keys()].sort()) found[key] = await weights.readFloat32(key);
    return found;
  });
}

describe('convertToGguf', () => {
  it('keeps every weight and token of a folder, and comes back to it', async () => {
    const there = join(folder, 'there.gguf');
    const steps: number[] = [];
    const done = await convert(model, (source) =>
      convertToGguf(source, there, { onProgress: ({ done: now, total }) => steps.push(now / total) }),
    );
    expect(done).toMatchObject({ path: there, tensors: 21, dtype: 'BF16' });
    expect(steps.at(-1)).toBe(1);
    expect(await weightsOf(there)).toEqual(await weightsOf(model));
    const back = join(folder, 'back');
    await convert(there, (source) => convertToFolder(source, back, { maxShardBytes: 4000 }));
    expect((await readdir(back)).filter((name) => name.startsWith('model-')).length).toBeGreaterThan(2);
    expect(await weightsOf(back)).toEqual(await weightsOf(model));
    const [ours, first] = await Promise.all([back, model].map((name) => convert(name, async (source) => source)));
    const texts = [corpus, '<|im_start|>user\n1234 <|im_end|>', ' \t\n  naïve 🌊🌊'];
    const [a, b] = [ours, first].map((source) => readTokenizerJson(source?.tokenizer ?? {}));
    for (const text of texts) expect([...(a?.encode(text) ?? [])]).toEqual([...(b?.encode(text) ?? [])]);
    expect(ours?.chatTemplate).toBe(first?.chatTemplate);
    expect(ours?.config).toMatchObject({ architectures: ['Lfm2ForCausalLM'], eos_token_id: 2, pad_token_id: 0 });
    const prompt = [{ role: 'user', content: 'Where to?' }] as const;
    const replies: string[] = [];
    for (const name of [model, there, back]) {
      await using loaded = await load(name, { engine: 'reference' });
      replies.push(String(await (await loaded.chat(prompt, { temperature: 0, maxTokens: 8 })).text));
    }
    expect(new Set(replies).size).toBe(1);
  });

  it.each(['lfm2', 'llama'])('writes %s as llama.cpp names and orders it', async (name) => {
    const ours = join(folder, `${name}.gguf`);
    await convert(fixture(name), (source) => convertToGguf(source, ours, { type: 'F32' }));
    await using found = await openGguf(ours);
    await using wanted = await openGguf(fixture(name));
    expect([...found.tensors.keys()].sort()).toEqual([...wanted.tensors.keys()].sort());
    for (const [key, { shape }] of wanted.tensors) {
      expect(found.tensors.get(key)?.shape, key).toEqual(shape);
      expect(await found.readFloat32(key), key).toEqual(await wanted.readFloat32(key));
    }
    for (const [key, value] of wanted.metadata) {
      if (key.startsWith('general.')) continue;
      // The name of a pre-tokenizer is one of several for the same splits; ids without a token have any name.
      if (key === 'tokenizer.ggml.pre') continue;
      const used = (given: unknown) => (key.endsWith('.tokens') && Array.isArray(given) ? given.slice(0, 261) : given);
      expect(used(found.metadata.get(key)), key).toEqual(used(value));
    }
  });

  it('quantises matrices only, in whole blocks', async () => {
    const path = join(folder, 'q4.gguf');
    await convert(fixture('llama'), (source) => convertToGguf(source, path, { type: 'Q4_0' }));
    await using file = await openGguf(path);
    const typeOf = (name: string) => file.tensors.get(name)?.type.name;
    expect(typeOf('blk.0.attn_norm.weight')).toBe('F32');
    expect(typeOf('blk.0.attn_q.weight')).toBe(
      (file.tensors.get('blk.0.attn_q.weight')?.shape[1] ?? 0) % 32 === 0 ? 'Q4_0' : 'F16',
    );
    expect(['Q8_0', 'F16']).toContain(typeOf('token_embd.weight'));
    await using loaded = await load(path, { engine: 'reference' });
    expect(loaded.tokenizer.encode('he').length).toBeGreaterThan(0);
  });

  it('says what GGUF has no place for, and leaves what stood there', async () => {
    const target = join(folder, 'kept.gguf');
    await writeFile(target, 'kept');
    const source = await openSource(model);
    const refused = (change: Partial<typeof source>) => convertToGguf({ ...source, ...change }, target);
    const config = source.config as Record<string, unknown>;
    await expect(refused({ config: { ...config, conv_bias: true } })).rejects.toMatchObject({
      code: 'weights-mismatch',
    });
    const odd = structuredClone(source.tokenizer ?? {}) as { pre_tokenizer?: unknown };
    odd.pre_tokenizer = { type: 'ByteLevel', add_prefix_space: true, use_regex: true };
    await expect(refused({ tokenizer: odd })).rejects.toMatchObject({ code: 'tokenizer-unsupported' });
    await source.weights.close();
    await expect(refused({})).rejects.toThrow();
    expect(await readFile(target, 'utf8')).toBe('kept');
    expect((await readdir(folder)).filter((name) => name.includes('partial'))).toEqual([]);
  });
});

it('refuses numbers that float16 cannot hold, and writes the others', async () => {
  const source = await openSource(model);
  const large = {
    ...source.weights,
    readFloat32: async (key: string) => (await source.weights.readFloat32(key)).fill(7e4),
  };
  const target = join(folder, 'half');
  await expect(convertToFolder({ ...source, weights: large }, target, { type: 'float16' })).rejects.toMatchObject({
    code: 'not-finite',
    message: expect.stringMatching(/bf16/) as string,
  });
  await convertToFolder(source, target, { type: 'float16' });
  await source.weights.close();
  await convert(target, async ({ config, weights }) => {
    expect(config).toMatchObject({ dtype: 'float16' });
    expect([...weights.tensors.values()].every(({ dtype }) => dtype === 'float16')).toBe(true);
  });
});
