// Packed matrices of GGUF files: the same numbers as their floats, also where the rows of heads must be put in order.
import { describe, expect, it } from 'vitest';
import { dequantisers } from '../files/gguf-dequantise.ts';
import { quantise } from '../files/gguf-quantise.ts';
import type { GgufTensor } from '../files/gguf.ts';
import { openGguf } from '../files/gguf.node.ts';
import { ggufTypeIds, ggufTypes } from '../files/gguf-types.ts';
import { dequantizeMatrix } from '../files/quantized.ts';
import { LfmError } from '../tensor/error.ts';
import { openGgufSource } from './source-gguf.ts';

const path = new URL('../../test/fixtures/gguf/llama.gguf', import.meta.url).pathname;

/** The tiny Llama with its matrices in blocks of a type, as if the file held them so; `spoil` may change a tensor's bytes. */
async function openAs(typeName: 'Q4_0' | 'Q8_0', spoil: (name: string, bytes: Uint8Array) => void = () => {}) {
  const file = await openGguf(path);
  const type = ggufTypes.get(ggufTypeIds.get(typeName) ?? -1);
  if (!type) throw new Error(`There is no type ${typeName}.`);
  const isPacked = ({ shape }: GgufTensor) => shape.length === 2 && (shape[1] ?? 1) % type.blockSize === 0;
  const tensors = new Map([...file.tensors].map(([name, one]) => [name, isPacked(one) ? { ...one, type } : one]));
  const read = async (name: string) => {
    const bytes = quantise(typeName, await file.readFloat32(name));
    spoil(name, bytes);
    return bytes;
  };
  return openGgufSource('tiny', {
    ...file,
    tensors,
    readPieces: async (name, visit) => visit(await read(name), 0),
    async readFloat32(name) {
      const one = tensors.get(name);
      if (one?.type !== type) return file.readFloat32(name);
      const out = new Float32Array(one.shape.reduce((product, size) => product * size, 1));
      dequantisers.get(typeName)?.(await read(name), out);
      return out;
    },
  });
}

describe.each(['Q4_0', 'Q8_0'] as const)('%s', (type) => {
  it('is packed without loss, each row in its place', async () => {
    const { weights } = await openAs(type);
    const packed = [...weights.tensors].flatMap(([name, { quantized }]) =>
      quantized ? [[name, quantized] as const] : [],
    );
    expect(packed.map(([name]) => name)).toContain('model.layers.0.self_attn.k_proj.weight');
    for (const [name, form] of packed)
      expect(dequantizeMatrix(await weights.readQuantized(name), form), name).toEqual(await weights.readFloat32(name));
    await weights.close();
  });

  it('with a scale that is no number is refused', async () => {
    const { weights } = await openAs(type, (name, bytes) => name === 'output.weight' && bytes.set([0, 0x7c], 0));
    await expect(weights.readQuantized('lm_head.weight')).rejects.toThrow(/lm_head.*block 0 is Infinity/);
    await expect(weights.readQuantized('model.norm.weight')).rejects.toBeInstanceOf(LfmError);
    await weights.close();
  });
});
