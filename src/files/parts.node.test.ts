// Tensors in parts: written once each, read back in any division, and every way in which an index and its files can disagree.
import { copyFile, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { partOf } from '../engines/xla/mesh.ts';
import type { Mesh } from '../engines/xla/mesh.ts';
import { cutPart } from '../tensor/part.ts';
import { countOf } from '../tensor/shape.ts';
import { writeFileAtomic, writeFolderAtomic } from './atomic.node.ts';
import { openParts, writeParts } from './parts.node.ts';
import type { TensorInParts } from './parts.node.ts';
import { openSafetensors } from './safetensors.node.ts';
import { writeSafetensors } from './safetensors-write.ts';

const mesh: Mesh = { data: 2, fsdp: 2, tensor: 2 };
const arrays: readonly [name: string, shape: number[], axes: string[][]][] = [
  ['table', [8, 12], [['tensor'], ['fsdp']]],
  ['rows', [6, 4], [['fsdp'], []]],
  ['columns', [3, 2400], [[], ['data', 'fsdp']]],
  ['cube', [2, 4, 6], [['data'], [], ['tensor']]],
  ['norm', [5], [[]]],
  ['scalar', [], []],
  ['none', [0, 4], [[], []]],
];
const valuesOf = (shape: readonly number[]): Float32Array =>
  Float32Array.from({ length: countOf(shape) }, (_, at) => at * 1.5 - 3);
const bytesOf = (values: Float32Array): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** What the devices of a mesh hold; `reads` counts each part that is asked for. */
function divided(reads: string[]): TensorInParts[] {
  return arrays.map(([name, shape, axes]) => {
    const parts = new Map<string, { starts: readonly number[]; sizes: readonly number[]; devices: number[] }>();
    for (let device = 0; device < 8; device++) {
      const part = partOf(mesh, { axes }, shape, device);
      const known = parts.get(part.starts.join());
      if (known) known.devices.push(device);
      else parts.set(part.starts.join(), { ...part, devices: [device] });
    }
    const read = async (part: { starts: readonly number[]; sizes: readonly number[] }): Promise<Uint8Array> => {
      reads.push(`${name} ${part.starts.join()}`);
      return cutPart(bytesOf(valuesOf(shape)), shape, part, 4);
    };
    return {
      name,
      dtype: 'float32',
      shape,
      parts: [...parts.values()].map((part) => ({ ...part, read: () => read(part) })),
    };
  });
}

const index = 'model.parts.json';

let parent: string;
const reads: string[] = [];
beforeAll(async () => {
  parent = await mkdtemp(join(tmpdir(), 'lfm-parts-'));
  for (const id of ['one', 'two'])
    await writeFolderAtomic(join(parent, id), (writer) =>
      writeParts(writer, 'model', id, divided(id === 'one' ? reads : [])),
    );
});
afterAll(() => rm(parent, { recursive: true }));

test('each part is written once, spread over the devices that hold it, and read back in any division', async () => {
  const folder = join(parent, 'one');
  expect(new Set(reads).size).toBe(reads.length);
  const files = (await readdir(folder)).filter((name) => name.endsWith('.safetensors'));
  expect(files.length).toBeGreaterThan(4);
  let stored = 0;
  for (const name of files) {
    await using file = await openSafetensors(join(folder, name));
    for (const { byteLength } of file.tensors.values()) stored += byteLength;
  }
  expect(stored).toBe(arrays.reduce((sum, [, shape]) => sum + 4 * countOf(shape), 0));

  await using all = await openParts(join(folder, index));
  const shapes = arrays.map(([name, shape]) => [name, shape]);
  expect([...all.tensors.values()].map(({ name, shape }) => [name, shape])).toEqual(shapes);
  for (const [name, shape] of arrays) {
    expect(await all.readFloat32(name)).toEqual(valuesOf(shape));
    const others: readonly Mesh[] = [{ a: 1 }, { a: 2 }, { a: 4 }, { a: 3 }];
    for (const other of others) {
      for (let dimension = 0; dimension < shape.length; dimension++) {
        if ((shape[dimension] ?? 0) % (other['a'] ?? 1) !== 0) continue;
        const sharding = { axes: shape.map((_, at) => (at === dimension ? ['a'] : [])) };
        for (let device = 0; device < (other['a'] ?? 1); device++) {
          const part = partOf(other, sharding, shape, device);
          const expected = cutPart(bytesOf(valuesOf(shape)), shape, part, 4);
          const found = bytesOf(await all.readFloat32(name, part));
          expect(found.length).toBe(expected.length);
          expect(
            expected.every((byte, place) => byte === found[place]),
            `${name} ${JSON.stringify(part)}`,
          ).toBe(true);
        }
      }
    }
  }
  await expect(all.readFloat32('norm', { starts: [3], sizes: [3] })).rejects.toMatchObject({ code: 'tensor-part' });
  await expect(all.readFloat32('norm', { starts: [-1], sizes: [3] })).rejects.toMatchObject({ code: 'tensor-part' });
});

test('blocks of a tensor in one file are its own, near each other or far', async () => {
  const shape = [3, 4, 30_000];
  const values = valuesOf(shape);
  await writeFileAtomic(join(parent, 'x.safetensors'), (sink) =>
    writeSafetensors(sink, [{ name: 'x', dtype: 'float32', shape, data: values }]),
  );
  await using file = await openSafetensors(join(parent, 'x.safetensors'));
  for (const part of [
    { starts: [1, 1, 100], sizes: [2, 3, 7] },
    { starts: [0, 2, 0], sizes: [3, 1, 29_990] },
    { starts: [2, 0, 0], sizes: [1, 4, 30_000] },
    { starts: [0, 0, 5], sizes: [0, 4, 1] },
  ])
    expect(Buffer.compare(bytesOf(await file.readFloat32('x', part)), cutPart(bytesOf(values), shape, part, 4))).toBe(
      0,
    );
});

interface Index {
  version: number;
  id: string;
  tensors: {
    name: string;
    dtype: string;
    shape: number[];
    parts: { file: string; starts: number[]; sizes: number[] }[];
  }[];
}

const changes: readonly [code: string, what: string, change: (index: Index) => unknown][] = [
  ['parts-version', 'a newer version', (index) => (index.version = 2)],
  ['parts-invalid', 'no id', (index) => Reflect.deleteProperty(index, 'id')],
  ['parts-invalid', 'a way out of the folder', (index) => at(index, 'rows', 0, { file: '../secret.safetensors' })],
  ['parts-invalid', 'a negative start', (index) => at(index, 'rows', 0, { starts: [-3, 0] })],
  ['parts-invalid', 'a tensor twice', (index) => index.tensors.push(...index.tensors.slice(0, 1))],
  ['parts-invalid', 'a tensor without parts', (index) => Object.assign(index.tensors[0] ?? {}, { parts: [] })],
  [
    'parts-invalid',
    'too large a shape',
    (index) => Object.assign(index.tensors[0] ?? {}, { shape: [2 ** 40, 2 ** 40] }),
  ],
  ['parts-overlap', 'two parts in one place', (index) => at(index, 'rows', 1, { starts: [0, 0] })],
  ['parts-hole', 'a part that is named nowhere', (index) => index.tensors[1]?.parts.pop()],
  ['parts-grid', 'parts of several sizes', (index) => at(index, 'rows', 0, { sizes: [2, 4] })],
  ['parts-grid', 'a part between two places', (index) => at(index, 'rows', 1, { starts: [2, 0] })],
  ['parts-grid', 'a part outside', (index) => at(index, 'rows', 1, { starts: [6, 0] })],
  ['parts-grid', 'a part of another rank', (index) => at(index, 'rows', 1, { starts: [3] })],
  ['parts-grid', 'parts of size 0', (index) => [0, 1].map((part) => at(index, 'rows', part, { sizes: [0, 4] }))],
  ['parts-tensor', 'another type', (index) => Object.assign(index.tensors[1] ?? {}, { dtype: 'int32' })],
  ['parts-tensor', 'another shape', (index) => reshaped(index)],
  ['parts-tensor', 'another name', (index) => Object.assign(index.tensors[1] ?? {}, { name: 'lines' })],
  ['parts-foreign', 'another id', (index) => (index.id = 'two')],
  ['file-missing', 'a file that is not there', (index) => at(index, 'rows', 0, { file: 'gone.safetensors' })],
];

function at({ tensors }: Index, name: string, part: number, change: object): void {
  Object.assign(tensors.find((tensor) => tensor.name === name)?.parts[part] ?? {}, change);
}

/** All of it consistent with itself, and not with the files. */
function reshaped({ tensors }: Index): void {
  const rows = tensors.find(({ name }) => name === 'rows');
  if (!rows) return;
  rows.shape = [4, 6];
  rows.parts.forEach((part, index) => Object.assign(part, { starts: [2 * index, 0], sizes: [2, 6] }));
}

test.each(changes)('%s: %s', async (code, _, change) => {
  const folder = join(parent, 'one');
  const json = JSON.parse(await readFile(join(folder, index), 'utf8')) as Index;
  change(json);
  await writeFile(join(folder, 'changed.json'), JSON.stringify(json));
  await expect(openParts(join(folder, 'changed.json'))).rejects.toMatchObject({ name: 'LfmError', code });
});

test('files that are missing, cut short, of another run or another device', async () => {
  const [folder, other] = [join(parent, 'one'), join(parent, 'two')];
  const [first = '', second = ''] = (await readdir(folder)).filter((name) => name.endsWith('.safetensors'));
  const open = () => openParts(join(folder, index));
  const whole = await readFile(join(folder, first));
  await copyFile(join(other, first), join(folder, first));
  await expect(open()).rejects.toMatchObject({ code: 'parts-foreign', message: expect.stringContaining(first) });
  await copyFile(join(folder, second), join(folder, first));
  await expect(open()).rejects.toMatchObject({ code: 'parts-foreign' });
  await writeFile(join(folder, first), whole);
  await truncate(join(folder, first), whole.length - 4);
  await expect(open()).rejects.toMatchObject({ code: 'safetensors-offset-range' });
  await rm(join(folder, first));
  await expect(open()).rejects.toMatchObject({ code: 'file-missing' });
  await writeFile(join(folder, first), whole);
});

test('what a device cannot give ends the writing, and nothing is left or still under way', async () => {
  let underWay = 0;
  const tensors = divided([]).map((tensor): TensorInParts => ({
    ...tensor,
    parts: tensor.parts.map((part) => ({
      ...part,
      read: async (device) => {
        underWay++;
        await new Promise((resolve) => setTimeout(resolve, 5 + device));
        underWay--;
        if (tensor.name === 'cube') throw new RangeError('the device is gone');
        return part.read(device);
      },
    })),
  }));
  const writing = writeFolderAtomic(join(parent, 'failed'), (writer) => writeParts(writer, 'model', 'one', tensors));
  await expect(writing).rejects.toThrow('the device is gone');
  expect(underWay).toBe(0);
  expect((await readdir(parent)).filter((name) => name.startsWith('failed'))).toEqual([]);
});
