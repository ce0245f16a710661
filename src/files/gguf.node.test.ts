// GGUF against gguf-py: test/fixtures/gguf, which tools/oracles/gguf_types.py writes.
import { openGguf } from './gguf.node.ts';
import { openSafetensors } from './safetensors.node.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { GgufFile } from './gguf.node.ts';
import type { TensorReader } from './safetensors.node.ts';

const fixtures = new URL('../../test/fixtures/gguf/', import.meta.url);
let file: GgufFile;
let expected: TensorReader;
beforeAll(async () => {
  file = await openGguf(new URL('types.gguf', fixtures).pathname);
  expected = await openSafetensors(new URL('expected.safetensors', fixtures).pathname);
});
afterAll(() => Promise.all([file.close(), expected.close()]));

describe('openGguf', () => {
  it.each('F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K'.split(' '))(
    'reads %s to the bit as gguf-py does',
    async (type) => {
      expect(file.tensors.get(type)?.type.name).toBe(type);
      expect(file.tensors.get(type)?.shape).toEqual(expected.tensors.get(type)?.shape);
      const [found, wanted] = [await file.readFloat32(type), await expected.readFloat32(type)];
      expect(found.length).toBe(wanted.length);
      // Object.is tells the zeros apart and takes any NaN for NaN.
      expect(found.findIndex((value, i) => !Object.is(value, wanted[i]))).toBe(-1);
    },
  );

  it('reads metadata of every kind', () => {
    const of = (key: string) => file.metadata.get(`test.${key}`);
    expect(of('strings')).toEqual(['a', '', 'ß']);
    expect(of('bools')).toEqual([true, false]);
    expect(of('floats')).toEqual(Float32Array.of(0.5, -2));
    expect(of('ints')).toEqual(Int32Array.of(1, -2, 3));
    expect([of('large'), of('negative'), of('pi')]).toEqual([2n ** 60n, -7, Math.PI]);
  });

  it('names the tensor and the type that it cannot compute', async () => {
    await expect(file.readFloat32('IQ4_NL')).rejects.toMatchObject({
      code: 'gguf-type-unsupported',
      message: expect.stringMatching(/tensor IQ4_NL is IQ4_NL/) as string,
    });
    await expect(file.readFloat32('none')).rejects.toMatchObject({ code: 'tensor-missing' });
    expect(await file.read('IQ4_NL')).toHaveLength(18);
  });
});
