// Writing GGUF against what gguf-py writes and quantises: test/fixtures/gguf/written.gguf (tools/oracles/gguf_types.py).
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeFileAtomic } from './atomic.node.ts';
import { quantise } from './gguf-quantise.ts';
import type { GgufWriteType } from './gguf-quantise.ts';
import { writeGguf } from './gguf-write.ts';
import { openGguf } from './gguf.node.ts';

const written = new URL('../../test/fixtures/gguf/written.gguf', import.meta.url).pathname;
const types: readonly GgufWriteType[] = ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0'];
let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'lfm-gguf-'))));
afterAll(() => rm(folder, { recursive: true }));

describe('writeGguf', () => {
  it('quantises and writes byte for byte what gguf-py does', async () => {
    await using theirs = await openGguf(written);
    const x = await theirs.readFloat32('F32');
    const { shape = [] } = theirs.tensors.get('F32') ?? {};
    const path = join(folder, 'ours.gguf');
    await writeFileAtomic(path, (sink) =>
      writeGguf(
        sink,
        [
          ...types.map((type) => ({ name: type, type, shape, data: () => x })),
          { name: 'short', type: 'F32', shape: [5], data: () => x.slice(0, 5) },
        ],
        {
          // gguf-py puts the architecture first.
          'general.architecture': 'none',
          'general.name': 'grüße',
          'none.block_count': { type: 'uint32', value: 3 },
          'none.epsilon': { type: 'float32', value: 1e-5 },
          'none.yes': true,
          'none.words': ['a', 'bc'],
          'none.kinds': { type: 'int32', value: [1, 2, 3] },
        },
      ),
    );
    await using ours = await openGguf(path);
    for (const { name } of theirs.tensors.values())
      expect(await ours.read(name), name).toEqual(await theirs.read(name));
    expect(Buffer.compare(await readFile(path), await readFile(written))).toBe(0);
  });

  const tensor = { name: 'a', type: 'Q8_0', shape: [2, 32], data: () => new Float32Array(64) } as const;
  it.each([
    ['gguf-block', [{ ...tensor, shape: [32, 2] }]],
    ['gguf-dimensions', [{ ...tensor, shape: [1, 1, 1, 2, 32] }]],
    ['gguf-duplicate-tensor', [tensor, tensor]],
    ['gguf-name-length', [{ ...tensor, name: 'x'.repeat(64) }]],
    ['gguf-byte-length', [{ ...tensor, data: () => new Float32Array(63) }]],
    ['not-finite', [{ ...tensor, data: () => new Float32Array(64).fill(Infinity) }]],
  ])('%s: what cannot be written leaves no file', async (code, tensors) => {
    const path = join(folder, 'refused.gguf');
    await expect(writeFileAtomic(path, (sink) => writeGguf(sink, tensors, {}))).rejects.toMatchObject({ code });
    expect(await readdir(folder)).not.toContain('refused.gguf');
  });

  it('keeps what a type can hold', () => {
    const x = Float32Array.of(0, -0, 65504, 1e-8);
    expect(quantise('F32', x)).toEqual(new Uint8Array(x.buffer));
  });
});
