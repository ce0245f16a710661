// Weights that may be read again: their memory goes once kernels have laid them out anew, and comes back when it is needed.
import { afterAll, expect, it } from 'vitest';
import '../../../test/matcher.ts';
import type { HostArray } from '../../tensor/index.ts';
import { embed, linear, QuantizedTensor, quantizedTypes, trace } from '../../tensor/index.ts';
import type { Buffer } from '../engine.ts';
import { onnxEngine } from './index.ts';

const [rows, columns] = [64, 128];
const engine = await onnxEngine({ threads: 1 });
afterAll(() => engine.close());

const form = { bits: 4, block: 32, affine: true } as const;
const types = quantizedTypes([rows, columns], form);

function dataOf(part: string): HostArray {
  if (part === 'packed') return Uint8Array.from({ length: (rows * columns) / 2 }, (_, i) => (i * 37) % 256);
  return Float32Array.from(
    { length: (rows * columns) / 32 },
    (_, i) => (part === 'scales' ? 0.01 : -0.1) * (1 + (i % 7)),
  );
}

const floats = Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i));

async function uploadAll(reads: string[], parts: Record<string, () => HostArray>) {
  const upload = engine.uploadStored?.bind(engine) ?? expect.fail('the onnx engine reads weights again');
  const buffers: Record<string, Buffer> = {};
  for (const [name, data] of Object.entries(parts)) {
    const type = types[name] ?? { dtype: 'float32', shape: [rows, columns] };
    buffers[name] = await upload(type.dtype, type.shape.map(Number), data(), async () => {
      reads.push(name);
      return data();
    });
  }
  return buffers;
}

const product = trace('product', { x: { dtype: 'float32', shape: [1, columns] }, ...types }, ({ x, ...parts }) =>
  x ? { y: linear(x, new QuantizedTensor(Object.values(parts), form, 'float32')) } : {},
);
const quantized = Object.fromEntries(Object.keys(types).map((part) => [part, () => dataOf(part)]));

it('frees what kernels keep in a layout of their own, and reads it for another program', async () => {
  const before = engine.live();
  const reads: string[] = [];
  const bind = await uploadAll(reads, quantized);
  const held = engine.live().bytes;
  const results: number[][] = [];
  for (let round = 0; round < 2; round++) {
    const executable = await engine.compile(product, { bind });
    const scales = Number(bind['scales']?.byteLength);
    // Scales are read in place; levels, and minimums in a product of their own, are not.
    expect(engine.live().bytes - before.bytes).toBe(scales);
    expect(held - before.bytes).toBeGreaterThan(2 * scales);
    const x = await engine.upload('float32', [1, columns], floats.subarray(0, columns));
    const { y } = await executable.run({ x });
    if (y) results.push(Array.from(await engine.download(y), Number));
    for (const buffer of [x, y]) buffer?.dispose();
    executable.release();
  }
  expect(reads.toSorted()).toEqual(['minimums', 'packed']);
  expect(results[1]).toEqual(results[0]);
  expect(new Set(results[0]).size).toBeGreaterThan(rows / 4);
  const packed = bind['packed'];
  if (packed) expect(await engine.download(packed)).toEqual(dataOf('packed'));
  for (const buffer of Object.values(bind)) buffer.dispose();
  expect(engine.live()).toEqual(before);
  if (packed) await expect(engine.download(packed)).rejects.toMatchObject({ code: 'disposed-buffer' });
});

it('shares what kernels laid out between the programs of the same weights', async () => {
  const before = engine.live();
  const { live } = await import('./memory.node.ts');
  const bind = await uploadAll([], quantized);
  const longer = trace('product', { x: { dtype: 'float32', shape: [2, columns] }, ...types }, ({ x, ...parts }) =>
    x ? { y: linear(x, new QuantizedTensor(Object.values(parts), form, 'float32')) } : {},
  );
  const one = await engine.compile(product, { bind });
  const two = await engine.compile(longer, { bind });
  one.release();
  const x = await engine.upload('float32', [2, columns], floats.subarray(0, 2 * columns));
  const { y } = await two.run({ x });
  const three = await engine.compile(product, { bind });
  const short = await engine.upload('float32', [1, columns], floats.subarray(0, columns));
  const { y: again } = await three.run({ x: short });
  const rowsOf = async (buffer: Buffer | undefined) =>
    buffer ? Array.from(await engine.download(buffer), Number) : [];
  const [all, first] = [await rowsOf(y), await rowsOf(again)];
  expect(first.length).toBe(rows);
  expect(all.slice(0, rows)).toBeAllClose(first, { relative: 1e-5, absolute: 1e-5 });
  two.release();
  three.release();
  for (const buffer of [x, y, short, again, ...Object.values(bind)]) buffer?.dispose();
  expect(engine.live()).toEqual(before);
  await new Promise((resolve) => setTimeout(resolve));
  expect(live.sessions).toBe(0);
});

it('keeps what is also looked up in place, and fails with what reading again says', async () => {
  const lookUp = trace(
    'tied',
    { ids: { dtype: 'int32', shape: [1] }, w: { dtype: 'float32', shape: [rows, columns] } },
    ({ ids, w }) => (ids && w ? { y: linear(embed(ids, w), w) } : {}),
  );
  const reads: string[] = [];
  const bind = await uploadAll(reads, { w: () => floats });
  const executable = await engine.compile(lookUp, { bind });
  expect(engine.live().bytes).toBe(floats.byteLength);
  executable.release();
  for (const buffer of Object.values(bind)) buffer.dispose();

  let gone = false;
  const failing = await uploadAll(reads, {
    ...quantized,
    packed: () => {
      if (gone) throw new Error('the file is gone');
      return dataOf('packed');
    },
  });
  const first = await engine.compile(product, { bind: failing });
  gone = true;
  await expect(engine.compile(product, { bind: failing })).rejects.toThrow('the file is gone');
  first.release();
  for (const buffer of Object.values(failing)) buffer.dispose();
});
