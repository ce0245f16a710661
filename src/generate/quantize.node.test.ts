// Quantised models from end to end: written, read back, run in each mode; and folders that are not what they say.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { openEngine } from '#engine';
import type { TensorToWrite } from '../files/safetensors-write.ts';
import { writeSafetensors } from '../files/safetensors-write.ts';
import { openSafetensors } from '../files/safetensors.node.ts';
import { load } from './load.ts';
import type { LanguageModel } from './model.ts';
import { quantizeModel } from './quantize.node.ts';
import { openSource as openInBrowser } from './source.browser.ts';
import { openSource } from './source.node.ts';
import { corpus, engines, writeModelFolder } from './testing.node.ts';
import type { Numerics } from './weights.ts';

let root: string;
const at = (name: string) => join(root, name);

async function pack(from: string, to: string, bits: 4 | 8, block = 32) {
  const source = await openSource(at(from));
  try {
    return await quantizeModel(source, at(to), { bits, block });
  } finally {
    await source.weights.close();
  }
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lfm-quantize-'));
  await mkdir(at('plain'));
  await writeModelFolder(at('plain'), { hiddenSize: 64, intermediateSize: 96 });
  await pack('plain', 'int4', 4);
  await pack('plain', 'int8', 8);
});
afterAll(() => rm(root, { recursive: true }));

/** The logits after the last of `ids`, given in portions. */
async function logitsOf({ generator }: LanguageModel, ids: readonly number[], portion: number): Promise<number[]> {
  const state = await generator.open(ids.length);
  let logits: Float32Array | undefined;
  for (let from = 0; from < ids.length; from += portion)
    [logits] = await generator.feed(state, [ids.slice(from, from + portion)]);
  generator.release(state);
  return [...(logits ?? [])];
}

const difference = (a: readonly number[], b: readonly number[]) =>
  Math.max(...a.map((value, i) => Math.abs(value - (b[i] ?? NaN)))) / (Math.max(...a) - Math.min(...a));

describe('a quantised folder', () => {
  it('packs the matrices that are multiplied by and looked up, and no other tensor', async () => {
    const { bytesBefore, bytesAfter, packed, kept, floats } = await pack('plain', 'again', 4);
    expect(packed).toContain('model.embed_tokens.weight');
    expect(packed).toContain('model.layers.0.feed_forward.w1.weight');
    expect(packed).toContain('model.layers.1.self_attn.q_proj.weight');
    expect(floats).toContain('model.layers.0.conv.conv.weight');
    expect(floats).toContain('model.embedding_norm.weight');
    expect(kept).toEqual([]);
    expect(bytesAfter / bytesBefore).toBeLessThan(0.32);
  });

  it('is kept to the last bit when it is packed again', async () => {
    const { packed, kept } = await pack('int4', 'int4-again', 4);
    expect([packed.length, kept.length > 5]).toEqual([0, true]);
    const [first, second] = await Promise.all(
      ['int4', 'int4-again'].map((name) => readFile(join(at(name), 'model.safetensors'))),
    );
    expect(first?.equals(second ?? new Uint8Array())).toBe(true);
  });

  it('is the same in a browser, where it is fetched', async () => {
    vi.stubGlobal('fetch', async (path: string) => new Response(await readFile(path)));
    const [there, here] = [await openInBrowser(`${at('int4')}/`), await openSource(at('int4'))];
    expect([...there.weights.tensors].map(([name, { shape, quantized }]) => [name, shape, quantized])).toEqual(
      [...here.weights.tensors].map(([name, { shape, quantized }]) => [name, shape, quantized]),
    );
    const table = 'model.embed_tokens.weight';
    expect(await there.weights.readQuantized(table)).toEqual(await here.weights.readQuantized(table));
    expect(await there.weights.readFloat32(table)).toEqual(await here.weights.readFloat32(table));
    await here.weights.close();
    vi.unstubAllGlobals();
  });

  it('is refused where no row is whole blocks', async () => {
    await mkdir(at('narrow'));
    await writeModelFolder(at('narrow'));
    await expect(pack('narrow', 'never', 4)).rejects.toMatchObject({ code: 'nothing-to-quantize' });
    await expect(pack('plain', 'never', 4, 128)).rejects.toMatchObject({ code: 'nothing-to-quantize' });
  });
});

describe.each(engines)('%s', (_name, open) => {
  it.each(['int4', 'int8'])('%s: modes agree as they promise, and leave nothing behind', async (name) => {
    const engine = await open();
    const found: Record<Numerics, number[][]> = { exact: [], stable: [], fast: [] };
    for (const numerics of ['exact', 'stable', 'fast'] as const) {
      await using model = await load(at(name), { engine, numerics });
      const held = model.generator.model.parameters['model.layers.0.feed_forward.w1.weight']?.quantized;
      expect(held?.activations).toBe({ exact: undefined, stable: 'float32', fast: 'int8' }[numerics]);
      const ids = [...model.tokenizer.encode(corpus)].slice(0, 12);
      for (const portion of [12, 5, 1]) found[numerics].push(await logitsOf(model, ids, portion));
    }
    const [whole = [], parts = [], ones = []] = found.stable;
    expect(difference(whole, parts)).toBeLessThan(1e-5);
    expect(difference(whole, ones)).toBeLessThan(1e-5);
    expect(difference(whole, found.exact[0] ?? [])).toBeLessThan(1e-5);
    const far = difference(found.exact[0] ?? [], found.fast[0] ?? []);
    expect(far).toBeGreaterThan(1e-5);
    expect(far).toBeLessThan(0.1);
    expect(engine.live().buffers).toBe(0);
    await engine.close();
  });
});

describe.each(engines)('many rows in fast mode on %s', (_name, open) => {
  it('are near what single rows give, and none depends on its neighbours', async () => {
    const engine = await open();
    {
      await using model = await load(at('int4'), { engine, numerics: 'fast' });
      const { generator } = model;
      const ids = [...model.tokenizer.encode(corpus)].slice(0, 80);
      const rows = Array.from({ length: 8 }, (_, b) => ids.slice(b * 10, b * 10 + 3 + b));
      const beside = async (others: readonly (readonly number[])[]) => {
        const state = await generator.open(16, 8);
        const found = await generator.feed(state, [rows[0] ?? [], ...others]);
        const next = await generator.step(
          state,
          Array.from({ length: 8 }, () => [ids[0] ?? 0]),
        );
        generator.release(state);
        return [...(found[0] ?? []), ...(next[0] ?? [])];
      };
      const here = await beside(rows.slice(1));
      // Of the same lengths, but other texts.
      expect(await beside(rows.slice(1).map((row) => row.toReversed()))).toEqual(here);
      const alone = await logitsOf(model, rows[0] ?? [], 1);
      const far = difference(here.slice(0, alone.length), alone);
      expect(far).toBeGreaterThan(1e-6);
      expect(far).toBeLessThan(0.05);
    }
    expect(engine.live().buffers).toBe(0);
    await engine.close();
  });
});

describe('a folder that is not what it says', () => {
  /** A copy of the int4 folder, its tensors and configuration changed. */
  async function damaged(
    name: string,
    change: (tensor: TensorToWrite) => TensorToWrite | undefined,
    config: Readonly<Record<string, unknown>> = {},
  ): Promise<string> {
    await mkdir(at(name));
    for (const file of ['tokenizer.json', 'tokenizer_config.json'])
      await writeFile(join(at(name), file), await readFile(join(at('int4'), file)));
    const old = JSON.parse(await readFile(join(at('int4'), 'config.json'), 'utf8'));
    await writeFile(join(at(name), 'config.json'), JSON.stringify({ ...old, ...config }));
    await using reader = await openSafetensors(join(at('int4'), 'model.safetensors'));
    const tensors: TensorToWrite[] = [];
    for (const { name: key, dtype, shape } of reader.tensors.values()) {
      const changed = change({ name: key, dtype, shape, data: await reader.read(key) });
      if (changed) tensors.push(changed);
    }
    const chunks: Uint8Array[] = [];
    await writeSafetensors({ write: async (bytes) => void chunks.push(bytes.slice()) }, tensors);
    await writeFile(join(at(name), 'model.safetensors'), Buffer.concat(chunks));
    return at(name);
  }

  const table = 'model.embed_tokens.weight';
  const one = (part: string, change: (tensor: TensorToWrite) => TensorToWrite | undefined) => (tensor: TensorToWrite) =>
    tensor.name === `${table}.${part}` ? change(tensor) : tensor;
  const same = (tensor: TensorToWrite) => tensor;

  it.each([
    ['scales-missing', one('scales', () => undefined), {}, 'quantized-parts', /scales none/],
    ['packed-missing', one('packed', () => undefined), {}, 'quantized-parts', /without .*\.packed/],
    [
      'packed-short',
      one('packed', (t) => ({ ...t, shape: [320, 2, 8], data: new Uint8Array(320 * 16) })),
      {},
      'quantized-parts',
      /\[N, G, 16\].*found uint8\[320, 2, 8\]/,
    ],
    [
      'scales-short',
      one('scales', (t) => ({ ...t, shape: [320, 1], data: new Uint16Array(320) })),
      {},
      'quantized-parts',
      /scales float16\[320, 1\]/,
    ],
    [
      'scale-nan',
      one('scales', (t) => ({ ...t, data: new Uint16Array(640).fill(0x7e00, 5, 6) })),
      {},
      'quantized-scale',
      /block 5 is NaN/,
    ],
    [
      'rows-missing',
      (t: TensorToWrite) => (t.name.startsWith(`${table}.`) ? cut(t) : t),
      {},
      'weights-mismatch',
      /\[320, 64\]; found \[319, 64\]/,
    ],
    [
      'other-method',
      same,
      { quantization_config: { quant_method: 'gptq', bits: 4 } },
      'quantization-unsupported',
      /gptq.*lfm quantize/,
    ],
    [
      'newer-version',
      same,
      { quantization_config: { quant_method: 'lfm', format_version: 2, bits: 4, block_size: 32 } },
      'quantization-unsupported',
      /"format_version":2/,
    ],
    [
      'other-block',
      same,
      { quantization_config: { quant_method: 'lfm', format_version: 1, bits: 4, block_size: 128 } },
      'quantized-parts',
      /\[N, G, 64\]/,
    ],
  ] as const)('%s', async (name, change, config, code, message) => {
    const folder = await damaged(name, change, config);
    const engine = await openEngine({ name: 'onnx', threads: 1 });
    await expect(load(folder, { engine })).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(engine.live().buffers).toBe(0);
    await engine.close();
  });

  function cut(tensor: TensorToWrite): TensorToWrite {
    const shape = tensor.shape.with(0, 319);
    const count = shape.reduce((product, size) => product * size, 1);
    return { ...tensor, shape, data: tensor.dtype === 'uint8' ? new Uint8Array(count) : new Uint16Array(count) };
  }
});

it('a mode that does not exist is refused', async () => {
  await expect(load(at('int4'), { numerics: 'exactly' as Numerics })).rejects.toMatchObject({ code: 'bad-numerics' });
});
