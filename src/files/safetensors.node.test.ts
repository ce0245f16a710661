import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { writeFileAtomic, writeFolderAtomic } from './atomic.node.ts';
import { openSafetensors } from './safetensors.node.ts';
import { writeSafetensors } from './safetensors-write.ts';
import { addShards } from './shards.ts';
import type { TensorToWrite } from './safetensors-write.ts';

let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'lfm-safetensors-'))));
afterAll(() => rm(folder, { recursive: true }));

const write = (name: string, tensors: TensorToWrite[]): Promise<void> =>
  writeFileAtomic(join(folder, name), (sink) => writeSafetensors(sink, tensors, { from: 'test' }));

const uint8 = (name: string, ...values: number[]): TensorToWrite => ({
  name,
  dtype: 'uint8',
  shape: [values.length],
  data: Uint8Array.from(values),
});

describe('openSafetensors', () => {
  test('reads single tensors, into given memory or new, and widens floats', async () => {
    await write('one.safetensors', [
      { name: 'f', dtype: 'float32', shape: [2], data: Float32Array.of(1.5, -2) },
      { name: 'd', dtype: 'float64', shape: [1], data: Float64Array.of(0.1) },
      { name: 'h', dtype: 'float16', shape: [1], data: Uint16Array.of(0x3c00) },
      { name: 'b', dtype: 'bfloat16', shape: [1], data: Uint16Array.of(0xbf80) },
      uint8('u', 1, 2, 3),
    ]);
    await using file = await openSafetensors(join(folder, 'one.safetensors'));
    expect(file.metadata.get('from')).toBe('test');
    const into = new Uint8Array(3);
    expect(await file.read('u', into)).toBe(into);
    expect([...into]).toEqual([1, 2, 3]);
    expect([...(await file.readFloat32('f'))]).toEqual([1.5, -2]);
    expect([...(await file.readFloat32('d'))]).toEqual([Math.fround(0.1)]);
    expect([...(await file.readFloat32('h'))]).toEqual([1]);
    expect([...(await file.readFloat32('b'))]).toEqual([-1]);
    await expect(file.readFloat32('u')).rejects.toMatchObject({ code: 'tensor-not-float' });
    await expect(file.read('x')).rejects.toMatchObject({ code: 'tensor-missing' });
    await expect(file.read('u', new Uint8Array(4))).rejects.toMatchObject({ code: 'tensor-wrong-length' });
    await truncate(join(folder, 'one.safetensors'), file.tensors.get('u')?.byteOffset);
    await expect(file.read('u')).rejects.toMatchObject({ code: 'file-cut-short' });
  });

  test('says what is wrong with a file that is absent or a Git LFS pointer', async () => {
    await expect(openSafetensors(join(folder, 'no.safetensors'))).rejects.toMatchObject({ code: 'file-missing' });
    await writeFile(join(folder, 'lfs.safetensors'), 'version https://git-lfs.example/spec/v1\nsize 12\n');
    await expect(openSafetensors(join(folder, 'lfs.safetensors'))).rejects.toMatchObject({ code: 'git-lfs-pointer' });
  });

  describe('with an index', () => {
    const index = (map: unknown): Promise<void> =>
      writeFile(join(folder, 'm.safetensors.index.json'), JSON.stringify({ weight_map: map }));
    const open = () => openSafetensors(join(folder, 'm.safetensors.index.json'));

    test('reads each tensor from its shard', async () => {
      await write('m-1.safetensors', [uint8('a', 1), uint8('b', 2)]);
      await write('m-2.safetensors', [uint8('c', 3)]);
      await index({ c: 'm-2.safetensors', a: 'm-1.safetensors', b: 'm-1.safetensors' });
      await using file = await open();
      expect([...file.tensors.keys()].sort()).toEqual(['a', 'b', 'c']);
      expect([...(await file.read('b')), ...(await file.read('c'))]).toEqual([2, 3]);
    });

    test.each([
      ['index-weight-map', undefined],
      ['index-file-name', { a: '../m-1.safetensors' }],
      ['index-file-name', { a: 7 }],
      ['index-shards', Object.fromEntries(Array.from({ length: 4097 }, (_, i) => [i, `${i}.safetensors`]))],
    ])('%s', async (code, map) => {
      await index(map);
      await expect(open()).rejects.toMatchObject({ code });
    });
  });

  test('reads back the shards that it writes, whatever tensors are called', async () => {
    const tensors = ['b', '__proto__', 'a', '7'].map((name, i) => uint8(name, i, i, i));
    const target = join(folder, 'shards');
    await writeFolderAtomic(target, (into) => addShards(into, tensors, { maxShardBytes: 6 }));
    await using file = await openSafetensors(join(target, 'model.safetensors.index.json'));
    expect([...file.tensors.keys()].sort()).toEqual(['7', '__proto__', 'a', 'b']);
    for (const { name, data } of tensors) expect(await file.read(name)).toEqual(data);
    expect([...file.metadata]).toEqual([['format', 'pt']]);
    const index: unknown = JSON.parse(await readFile(join(target, 'model.safetensors.index.json'), 'utf8'));
    expect(index).toHaveProperty('metadata.total_size', 12);
    expect(index).toHaveProperty('weight_map.a', 'model-00002-of-00002.safetensors');
    const one = join(folder, 'one');
    await writeFolderAtomic(one, (into) => addShards(into, tensors, { maxShardBytes: 12 }));
    expect((await readdir(one)).sort()).toEqual(['manifest.json', 'model.safetensors']);
    // A tensor larger than the measure has a file of its own.
    const three = join(folder, 'three');
    await writeFolderAtomic(three, (into) => addShards(into, tensors.slice(1), { maxShardBytes: 2 }));
    expect(await readdir(three)).toContain('model-00003-of-00003.safetensors');
  });
});
