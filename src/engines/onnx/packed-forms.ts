// Packed matrices in forms that MatMulNBits is fast with, made once of those that a model holds.
import type { Value } from '../../tensor/index.ts';
import type { Lowering } from './lowering.ts';

/** What MatMulNBits takes of a matrix [N, K]. */
export interface Operands {
  readonly x: string;
  readonly levels: string;
  readonly scales: string;
  /** Absent: the middle level. */
  readonly zeroPoints?: string;
  readonly bits: number;
  /** Blocks of a row. */
  readonly blocks: number;
  /** Twice N, where the product is the sum of two halves; absent: N. */
  readonly rows?: number;
}

/**
 * 8 bits as two planes of 4, since the kernel has no float32 products with 8: level - 128 = 16 (high - 8) + low. The low plane
 * stands below the high one, and the halves of the product are added. (Side by side, in rows of twice the length, memory was
 * read at a third of the speed.)
 */
export function planes(lowering: Lowering, x: Value, packed: Value, scales: Value): Operands {
  const [rows = 1, blocks = 1, block = 1] = packed.shape.map(Number);
  const name = lowering.name(packed);
  // Two blocks a byte: 8 for the high plane, 0 for the low one.
  const bytes = Math.ceil(blocks / 2);
  return {
    x: lowering.name(x),
    levels: lowering.derive(`${name} in planes`, {
      dtype: 'uint8',
      dims: [2 * rows, blocks, block / 2],
      from: [packed],
      fill: (into, levels) => levels && splitLevels(levels, into),
    }),
    scales: lowering.derive(`${name} in planes, scales`, {
      dtype: 'float32',
      dims: [2 * rows, blocks],
      from: [scales],
      fill: (into, each) => each && doubleScales(floatsOf(each), floatsOf(into)),
    }),
    zeroPoints: lowering.filled(`zero points of planes of ${rows} by ${blocks}`, 'uint8', [2 * rows, bytes], (into) => {
      for (let i = 0; i < rows * bytes; i++) into[i] = 0x88;
    }),
    bits: 4,
    blocks,
    rows: 2 * rows,
  };
}

/** The high halves of all levels, two a byte, then the low ones. */
function splitLevels(levels: Uint8Array, into: Uint8Array): void {
  const four = new Uint32Array(levels.buffer, levels.byteOffset, levels.length / 4);
  const two = new Uint16Array(into.buffer, into.byteOffset, into.length / 2);
  for (let i = 0; i < four.length; i++) {
    const given = four[i] as number;
    two[i] = inPairs((given >>> 4) & 0x0f0f0f0f);
    two[four.length + i] = inPairs(given & 0x0f0f0f0f);
  }
}

/** Four levels, each in the low half of a byte, as two bytes. */
function inPairs(four: number): number {
  const pairs = (four | (four >>> 4)) & 0x00ff00ff;
  return pairs | (pairs >>> 8);
}

function doubleScales(scales: Float32Array, into: Float32Array): void {
  into.set(scales, scales.length);
  for (let i = 0; i < scales.length; i++) into[i] = 16 * (scales[i] as number);
}

const floatsOf = (bytes: Uint8Array) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
