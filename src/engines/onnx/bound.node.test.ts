// Stored weights: read when they are needed, gone once kernels have laid them out anew, kept in files for the next time.
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import '../../../test/matcher.ts';
import type { HostArray } from '../../tensor/index.ts';
import { embed, linear, QuantizedTensor, quantizedTypes, trace } from '../../tensor/index.ts';
import type { Buffer } from '../engine.ts';
import { BoundSessions } from './bound.node.ts';
import { engineOver } from './engine.ts';
import { onnxEngine } from './index.ts';
import { Session, Value } from './runtime.node.ts';

const [rows, columns] = [64, 128];
const engine = await onnxEngine({ threads: 1 });
afterAll(() => engine.close());

const eight = { bits: 8, block: 32, affine: false } as const;
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

/** Parts that are read together, as those of a packed matrix are. */
async function uploadAll(reads: string[], parts: Record<string, () => HostArray>, on = engine, identity?: string) {
  const upload = on.uploadStored?.bind(on) ?? expect.fail('the onnx engine reads stored weights');
  const floatType = { dtype: 'float32', shape: [rows, columns] } as const;
  return upload(Object.fromEntries(Object.keys(parts).map((name) => [name, types[name] ?? floatType])), {
    read: async () => {
      reads.push(Object.keys(parts).join());
      return Object.fromEntries(Object.entries(parts).map(([name, data]) => [name, data()]));
    },
    identity,
  });
}

const product = trace('product', { x: { dtype: 'float32', shape: [1, columns] }, ...types }, ({ x, ...parts }) =>
  x ? { y: linear(x, new QuantizedTensor(Object.values(parts), form, 'float32')) } : {},
);
const quantized = Object.fromEntries(Object.keys(types).map((part) => [part, () => dataOf(part)]));

it('frees what kernels keep in a layout of their own, and reads it for another program', async () => {
  const before = engine.live();
  const reads: string[] = [];
  const bind = await uploadAll(reads, quantized);
  expect(engine.live().bytes).toBe(before.bytes);
  const results: number[][] = [];
  for (let round = 0; round < 2; round++) {
    const executable = await engine.compile(product, { bind });
    const scales = Number(bind['scales']?.byteLength);
    // Scales are read in place; levels, and minimums in a product of their own, are not.
    expect(engine.live().bytes - before.bytes).toBe(scales);
    const x = await engine.upload('float32', [1, columns], floats.subarray(0, columns));
    const { y } = await executable.run({ x });
    if (y) results.push(Array.from(await engine.download(y), Number));
    for (const buffer of [x, y]) buffer?.dispose();
    executable.release();
  }
  expect(reads).toEqual(['packed,scales,minimums', 'packed,scales,minimums']);
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

it('maps what another engine kept, and makes it anew of other weights or of a damaged file', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'lfm-kept-'));
  const options = { intraOpThreads: 1, optimization: 'basic' } as const;
  const wide = trace(
    'wide',
    {
      x: { dtype: 'float32', shape: [1, columns] },
      ids: { dtype: 'int32', shape: [2] },
      ...quantizedTypes([rows, columns], eight),
    },
    ({ x, ids, ...parts }) => {
      const w = new QuantizedTensor(Object.values(parts), eight, 'float32');
      return x && ids ? { y: linear(x, w), rows: embed(ids, w) } : {};
    },
  );
  const eightBits = {
    packed: () => Uint8Array.from({ length: rows * columns }, (_, i) => (i * 37) % 256),
    scales: () => dataOf('scales'),
  };
  const results: string[] = [];
  const reads: string[] = [];
  const run = async (identity: string, inPlace = true) => {
    const sessions = new BoundSessions(options, folder, inPlace ? 0 : Infinity);
    const on = engineOver<Value>({
      weights: 'kept',
      description: 'kept',
      zeros: (dtype, shape) => Value.zeros(dtype, shape),
      open: (model) => Session.open(model, options),
      openBound: (lowered, bind) => sessions.open(lowered, bind),
    });
    const upload = on.uploadStored?.bind(on) ?? expect.fail('no uploadStored');
    const read = async () => {
      reads.push(identity);
      return Object.fromEntries(Object.entries(eightBits).map(([name, data]) => [name, data()]));
    };
    const bind = await upload(quantizedTypes([rows, columns], eight), { read, identity });
    const executable = await on.compile(wide, { bind });
    if (inPlace) expect(on.live().bytes).toBe(0);
    const x = await on.upload('float32', [1, columns], floats.subarray(0, columns));
    const ids = await on.upload('int32', [2], Int32Array.of(3, 60));
    const found = await executable.run({ x, ids });
    results.push((await Promise.all(Object.values(found).map((one) => on.download(one)))).join(' '));
    executable.release();
    for (const buffer of [x, ids, ...Object.values(found), ...Object.values(bind)]) buffer.dispose();
    await on.close();
  };
  await run('one', false);
  await run('one');
  await run('one');
  expect(reads).toEqual(['one', 'one']);
  await run('two');
  const files = async (kind: string) => (await readdir(folder)).filter((name) => name.endsWith(kind));
  expect([await files('.weights'), await files('.json')].map(({ length }) => length)).toEqual([2, 2]);
  expect(await readdir(folder)).toHaveLength(4);
  // Where this changes, FORMAT in kept.node.ts goes up, or old files are taken for new ones.
  const [table = ''] = await files('.json');
  const { places } = JSON.parse(await readFile(join(folder, table), 'utf8')) as {
    places: Record<string, { location: string; offset: number; length: number }>;
  };
  const digest = createHash('sha256');
  for (const [name, { location, offset, length }] of Object.entries(places).toSorted(([a], [b]) => (a < b ? -1 : 1)))
    if (!name.startsWith('constant'))
      digest.update(name).update((await readFile(join(folder, location))).subarray(offset, offset + length));
  expect(digest.digest('hex').slice(0, 16)).toBe('c19a5e8c5e7ab1ec');
  // What is not whole is made anew.
  for (const name of await files('.weights')) await truncate(join(folder, name), 8192);
  await run('one');
  expect(reads).toEqual(['one', 'one', 'two', 'one']);
  expect(new Set(results).size).toBe(1);
  await rm(folder, { recursive: true });
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
