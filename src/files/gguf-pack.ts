// GGUF's blocks as packed matrices, without loss: ggml keeps the elements i and i + 16 in one byte, here it is 2i and 2i + 1.
import type { QuantizedForm } from '../tensor/index.ts';
import { float16ToFloat32 } from './floats.ts';
import type { QuantizedMatrix } from './quantized.ts';

const BLOCK = 32;

/** The types that have a packed form. */
export const packedForms: ReadonlyMap<string, QuantizedForm> = new Map([
  ['Q4_0', { bits: 4, block: BLOCK, affine: false }],
  ['Q4_1', { bits: 4, block: BLOCK, affine: true }],
  ['Q8_0', { bits: 8, block: BLOCK, affine: false }],
]);

/** Repacks whole blocks: a float16 scale, where affine a float16 minimum, then the levels. */
export function packBlocks(bytes: Uint8Array, { bits, affine }: QuantizedForm): QuantizedMatrix {
  const header = affine ? 4 : 2;
  const size = (BLOCK * bits) / 8;
  const count = bytes.length / (header + size);
  const packed = new Uint8Array(count * size);
  const scales = new Uint16Array(count);
  const minimums = new Uint16Array(affine ? count : 0);
  const at = (index: number): number => bytes[index] as number;
  for (let block = 0, from = 0, to = 0; block < count; block++, from += header + size, to += size) {
    scales[block] = at(from) | (at(from + 1) << 8);
    if (affine) minimums[block] = at(from + 2) | (at(from + 3) << 8);
    const levels = from + header;
    // Signed bytes become levels around 128.
    if (bits === 8) for (let i = 0; i < BLOCK; i++) packed[to + i] = at(levels + i) ^ 0x80;
    else
      for (let i = 0; i < 8; i++) {
        const [first, second] = [at(levels + 2 * i), at(levels + 2 * i + 1)];
        packed[to + i] = (first & 15) | ((second & 15) << 4);
        packed[to + 8 + i] = (first >> 4) | (second & 0xf0);
      }
  }
  return { packed, scales: float16ToFloat32(scales), ...(affine && { minimums: float16ToFloat32(minimums) }) };
}
