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

/** A matrix of so many blocks, to be filled. */
export function emptyMatrix(blocks: number, { bits, affine }: QuantizedForm): QuantizedMatrix {
  return {
    packed: new Uint8Array((blocks * BLOCK * bits) / 8),
    scales: new Float32Array(blocks),
    ...(affine && { minimums: new Float32Array(blocks) }),
  };
}

/**
 * Repacks whole blocks, the first of which is `first` of the matrix: a float16 scale, where affine a float16 minimum, then the
 * levels. All of it in units of two bytes, which every block is a whole number of.
 */
export function packBlocks(bytes: Uint8Array, { bits, affine }: QuantizedForm, into: QuantizedMatrix, first = 0): void {
  const units = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 1);
  const header = affine ? 2 : 1;
  const size = (BLOCK * bits) / 16;
  const count = units.length / (header + size);
  const { buffer, byteOffset } = into.packed;
  const packed = new Uint16Array(buffer, byteOffset + 2 * first * size, count * size);
  const scales = new Uint16Array(count);
  const minimums = new Uint16Array(affine ? count : 0);
  const at = (index: number): number => units[index] as number;
  for (let block = 0, from = 0, to = 0; block < count; block++, to += size) {
    scales[block] = at(from++);
    if (affine) minimums[block] = at(from++);
    // Signed bytes become levels around 128.
    if (bits === 8) for (let i = 0; i < size; i++) packed[to + i] = at(from++) ^ 0x8080;
    else
      for (let i = 0; i < 4; i++) {
        const four = at(from++) | (at(from++) << 16);
        packed[to + i] = paired(four & 0x0f0f0f0f);
        packed[to + 4 + i] = paired((four >>> 4) & 0x0f0f0f0f);
      }
  }
  float16ToFloat32(scales, into.scales.subarray(first, first + count));
  if (into.minimums) float16ToFloat32(minimums, into.minimums.subarray(first, first + count));
}

/** Four levels, each in the low half of a byte, as two bytes. */
function paired(four: number): number {
  const pairs = (four | (four >>> 4)) & 0x00ff00ff;
  return (pairs | (pairs >>> 8)) & 0xffff;
}
