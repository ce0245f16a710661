// The standalone ONNX model in the stock JavaScript API of ONNX Runtime, against the generator.
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { lowerStandalone } from '../engines/onnx/standalone.ts';
import { attention, defineModel, layer, stepProgram, swiglu } from '../liquid/index.ts';
import type { OnnxType } from './convert-onnx.node.ts';
import { convertToOnnx } from './convert-onnx.node.ts';
import { load } from './load.ts';
import { quantizeModel } from './quantize.node.ts';
import { openSource } from './source.node.ts';
import { writeModelFolder } from './testing.node.ts';

let folder: string;
let model: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lfm-onnx-'));
  model = join(folder, 'model');
  await mkdir(model);
  await writeModelFolder(model, { chats: true });
});
afterAll(() => rm(folder, { recursive: true }));

const rows = [
  [1, 44, 61, 12, 90, 33, 270, 5, 18],
  [7, 9, 200, 31, 4, 65, 66, 67, 3],
];

/** Logits after each token of a row, by the generator. */
async function expected(row: readonly number[], path = model): Promise<number[][]> {
  await using loaded = await load(path, { engine: 'reference' });
  const state = await loaded.generator.open(row.length);
  const found: number[][] = [];
  for (const id of row) found.push([...((await loaded.generator.feed(state, [[id]]))[0] ?? [])]);
  loaded.generator.release(state);
  return found;
}

type Feeds = Record<string, Tensor>;

/** The state of a text without tokens, from the shapes that the session tells. */
function emptyPast(session: InferenceSession, batch: number): Feeds {
  const feeds: Feeds = {};
  for (const { name, ...info } of session.inputMetadata) {
    if (!name.startsWith('past.') || !('shape' in info)) continue;
    const dims = info.shape.map((dim) => (typeof dim === 'number' ? dim : dim === 'batch' ? batch : 0));
    feeds[name] = new Tensor('float32', new Float32Array(dims.reduce((product, dim) => product * dim, 1)), dims);
  }
  return feeds;
}

/** Runs rows of equal length in pieces; the logits of each row's tokens. */
async function run(
  path: string,
  texts: readonly (readonly number[])[],
  pieces: readonly number[],
): Promise<number[][][]> {
  const session = await InferenceSession.create(join(path, 'model.onnx'));
  const found = texts.map((): number[][] => []);
  let past = emptyPast(session, texts.length);
  let from = 0;
  for (const size of pieces) {
    const ids = texts.flatMap((row) => row.slice(from, from + size));
    from += size;
    const input = new Tensor('int64', BigInt64Array.from(ids, BigInt), [texts.length, size]);
    const { logits, ...present } = await session.run({ input_ids: input, ...past });
    past = Object.fromEntries(
      Object.entries(present).map(([name, value]) => [name.replace('present.', 'past.'), value as Tensor]),
    );
    const classes = logits?.dims[2] ?? 0;
    const values = [...((logits?.data ?? []) as Float32Array)];
    found.forEach((row, b) => {
      for (let t = 0; t < size; t++) row.push(values.slice((b * size + t) * classes, (b * size + t + 1) * classes));
    });
  }
  await session.release();
  return found;
}

function difference(found: readonly (readonly number[])[], wanted: readonly (readonly number[])[]): number {
  expect(found.map(({ length }) => length)).toEqual(wanted.map(({ length }) => length));
  return Math.max(...wanted.flatMap((row, t) => row.map((value, i) => Math.abs(value - (found[t]?.[i] ?? NaN)))));
}

async function convert(out: string, type: OnnxType, from = model): Promise<void> {
  const source = await openSource(from);
  await convertToOnnx(source, out, { type }).finally(() => source.weights.close());
}

describe('convertToOnnx', () => {
  it('gives the generator’s logits in plain ONNX Runtime, in pieces of any size [onnx]', async () => {
    const out = join(folder, 'f32');
    await convert(out, 'float32');
    const wanted = await Promise.all(rows.map((row) => expected(row)));
    const range = Math.max(...wanted.flat(2)) - Math.min(...wanted.flat(2));
    const [a = [], b = []] = wanted;
    for (const pieces of [[9], [4, 3, 1, 1], [1, 8]])
      expect(difference((await run(out, rows.slice(0, 1), pieces))[0] ?? [], a)).toBeLessThan(1e-5 * range);
    const [first = [], second = []] = await run(out, rows, [6, 1, 1, 1]);
    expect(difference(first, a)).toBeLessThan(1e-5 * range);
    expect(difference(second, b)).toBeLessThan(1e-5 * range);
    const half = join(folder, 'f16');
    await convert(half, 'float16');
    expect(difference((await run(half, rows.slice(0, 1), [9]))[0] ?? [], a)).toBeLessThan(1e-2 * range);
  });

  it.each(['int8', 'int4'] as const)('packs matrices, and keeps those that are packed: %s [onnx]', async (type) => {
    const [packed, out, again] = [`${type}-packed`, `${type}-kept`, `${type}-made`].map((name) => join(folder, name));
    const wide = join(folder, `${type}-wide`);
    await mkdir(wide);
    await writeModelFolder(wide, { hiddenSize: 32, intermediateSize: 64 });
    const source = await openSource(wide);
    await quantizeModel(source, packed ?? '', { bits: type === 'int8' ? 8 : 4, block: 32 });
    await source.weights.close();
    await convert(out ?? '', type, packed);
    const [row = []] = rows;
    const wanted = await expected(row, packed);
    const range = Math.max(...wanted.flat()) - Math.min(...wanted.flat());
    const found = await run(out ?? '', [row], [5, 3, 1]);
    expect(difference(found[0] ?? [], wanted)).toBeLessThan(1e-5 * range);
    // From floats: 8 bits as lfm quantize has them, 4 bits but for the tables.
    await convert(again ?? '', type, wide);
    const made = (await run(again ?? '', [row], [9]))[0] ?? [];
    if (type === 'int8') expect(difference(made, wanted)).toBeLessThan(1e-5 * range);
    const floats = await expected(row, wide);
    expect(difference(made, floats)).toBeLessThan((type === 'int8' ? 0.05 : 0.5) * range);
    expect(difference(made, floats)).toBeGreaterThan(1e-4 * range);
    await expect(convert(join(folder, 'none'), type)).rejects.toMatchObject({ code: 'nothing-to-quantize' });
  });

  it('says in the file what goes in and out, and stands with the tokenizer', async () => {
    const out = join(folder, 'told');
    await convert(out, 'float32');
    expect((await readdir(out)).sort()).toEqual([
      'chat_template.jinja',
      'config.json',
      'generation_config.json',
      'manifest.json',
      'model.onnx',
      'model.onnx_data',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
    const text = (await readFile(join(out, 'model.onnx'))).toString('latin1');
    const at = text.indexOf('{"version":1');
    const end = text.indexOf('}]}', at) + 3;
    const port = z.object({ name: z.string(), dtype: z.string(), shape: z.array(z.union([z.number(), z.string()])) });
    const told = z
      .object({ vocabulary: z.number(), contextLength: z.number(), inputs: z.array(port), outputs: z.array(port) })
      .parse(JSON.parse(text.slice(at, end)));
    expect(told).toMatchObject({ vocabulary: 320, contextLength: 128 });
    expect(told.inputs.find(({ name }) => name === 'past.layers.1.self_attn.keys')?.shape).toEqual([
      'batch',
      1,
      'past',
      8,
    ]);
    expect(told.outputs[0]).toEqual({ name: 'logits', dtype: 'float32', shape: ['batch', 'sequence', 320] });
    const session = await InferenceSession.create(join(out, 'model.onnx'));
    expect(session.inputNames).toEqual(told.inputs.map(({ name }) => name));
    expect(session.outputNames).toEqual(told.outputs.map(({ name }) => name));
    await session.release();
  });
});

it('refuses heads that ONNX Runtime has no kernel for', () => {
  const narrow = defineModel({
    vocabSize: 16,
    hiddenSize: 8,
    layers: [layer(attention({ heads: 2 }), swiglu({ intermediateSize: 8 }))],
  });
  const program = stepProgram(narrow, { batch: 'B', length: 'T', capacity: 8, allLogits: true });
  const weights = Object.fromEntries(Object.keys(narrow.parameters).map((name) => [name, 'float32' as const]));
  const growing = new Set(Object.keys(narrow.states));
  expect(() => lowerStandalone(program, { weights, growing, file: 'x', metadata: {} })).toThrow(
    expect.objectContaining({ code: 'onnx-export-unsupported' }),
  );
});
