// The standalone ONNX model in the stock JavaScript API of ONNX Runtime, against the generator.
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InferenceSession } from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as z from 'zod';
import type { OnnxType } from './convert-onnx.node.ts';
import { convertToOnnx } from './convert-onnx.node.ts';
import { quantizeModel } from './quantize.node.ts';
import { openSource } from './source.node.ts';
import { difference, logitsOf, runPlain } from './testing-onnx.node.ts';
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

async function convert(out: string, type: OnnxType, from = model): Promise<void> {
  const source = await openSource(from);
  await convertToOnnx(source, out, { type }).finally(() => source.weights.close());
}

describe('convertToOnnx', () => {
  it('gives the generator’s logits in plain ONNX Runtime, in pieces of any size [onnx]', async () => {
    const out = join(folder, 'f32');
    await convert(out, 'float32');
    const wanted = await Promise.all(rows.map((row) => logitsOf(model, row)));
    const range = Math.max(...wanted.flat(2)) - Math.min(...wanted.flat(2));
    const [a = [], b = []] = wanted;
    for (const pieces of [[9], [4, 3, 1, 1], [1, 8]])
      expect(difference((await runPlain(out, rows.slice(0, 1), pieces))[0] ?? [], a)).toBeLessThan(1e-5 * range);
    const [first = [], second = []] = await runPlain(out, rows, [6, 1, 1, 1]);
    expect(difference(first, a)).toBeLessThan(1e-5 * range);
    expect(difference(second, b)).toBeLessThan(1e-5 * range);
    const half = join(folder, 'f16');
    await convert(half, 'float16');
    expect(difference((await runPlain(half, rows.slice(0, 1), [9]))[0] ?? [], a)).toBeLessThan(1e-2 * range);
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
    const wanted = await logitsOf(packed ?? '', row);
    const range = Math.max(...wanted.flat()) - Math.min(...wanted.flat());
    const found = await runPlain(out ?? '', [row], [5, 3, 1]);
    expect(difference(found[0] ?? [], wanted)).toBeLessThan(1e-5 * range);
    // From floats: 8 bits as lfm quantize has them, 4 bits but for the tables.
    await convert(again ?? '', type, wide);
    const made = (await runPlain(again ?? '', [row], [9]))[0] ?? [];
    if (type === 'int8') expect(difference(made, wanted)).toBeLessThan(1e-5 * range);
    const floats = await logitsOf(wide, row);
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
