// Packed matrices in forms that MatMulNBits is fast with, made once of those that a model holds: several as one, parts of their
// columns, 8 bits as two times 4. Shapes: N rows of G blocks.
import type { Value } from '../../tensor/index.ts';
import { byteLength, countOf } from '../../tensor/index.ts';
import type { Lowering } from './lowering.ts';

/** Blocks of a row. */
export interface Range {
  readonly from: number;
  readonly to: number;
}

/** Sums of x [..., K] over blocks, [..., G], as a product with zeros and ones: one walk. */
export function blockSums(lowering: Lowering, x: Value, blocks: number, block: number): string {
  const members = lowering.filled(
    `members of ${blocks} blocks of ${block}`,
    'float32',
    [blocks * block, blocks],
    (into) => {
      for (let k = 0; k < blocks * block; k++) into[k * blocks + Math.floor(k / block)] = 1;
    },
  );
  return lowering.node('MatMul', [lowering.name(x), members]);
}

/** From more columns on the float32 kernel of one row falls to about half of its speed, until rows are several thousand long. */
const [MOST_COLUMNS, LONG] = [768, 2048];

/** The blocks of a row as the float32 kernel takes them at its best. */
export function columnRanges(blocks: number, block: number): Range[] {
  const columns = blocks * block;
  const count = columns > LONG ? 1 : Math.ceil(columns / MOST_COLUMNS);
  const at = (i: number) => Math.round((i * blocks) / count);
  return Array.from({ length: count }, (_, i) => ({ from: at(i), to: at(i + 1) }));
}

const shown = ({ from, to }: Range) => `blocks ${from} to ${to}`;

/** Levels [N, G, bytes] or scales [N, G] of matrices that stand below one another, of a range of blocks. */
export function columnsOf(lowering: Lowering, parts: readonly Value[], range: Range): string {
  const [first] = parts;
  const [, blocks = 1, ...rest] = first?.shape.map(Number) ?? [];
  const isWhole = range.to - range.from === blocks;
  if (!first || (isWhole && parts.length === 1)) return lowering.name(first);
  const rows = parts.reduce((sum, { shape }) => sum + Number(shape[0]), 0);
  const unit = byteLength(first.dtype, countOf(rest));
  return lowering.derive(`${shown(range)} of ${parts.map((part) => lowering.name(part)).join(' ')}`, {
    dtype: first.dtype,
    dims: [rows, range.to - range.from, ...rest],
    from: parts,
    fill: (into, ...given) => {
      let at = 0;
      const put = (bytes: Uint8Array) => {
        into.set(bytes, at);
        at += bytes.length;
      };
      for (const part of given)
        if (isWhole) put(part);
        else
          for (let row = 0; row < part.length; row += blocks * unit)
            put(part.subarray(row + range.from * unit, row + range.to * unit));
    },
  });
}

/**
 * 8 bits as two planes of 4, since the kernel has no float32 products with 8: level - 128 = 16 (high - 8) + low. The low plane
 * [N, G, block / 2] stands below the high one, and the halves of the product are to be added. (Side by side, in rows of twice
 * the length, memory was read at a third of the speed.)
 */
export function planes(lowering: Lowering, [packed]: readonly Value[], range: Range): string {
  const [rows = 1, blocks = 1, block = 1] = packed?.shape.map(Number) ?? [];
  return lowering.derive(`${shown(range)} of ${lowering.name(packed)} in planes`, {
    dtype: 'uint8',
    dims: [2 * rows, range.to - range.from, block / 2],
    from: packed ? [packed] : [],
    fill: (into, levels) => levels && splitLevels(levels, blocks * block, range.from * block, into),
  });
}

/** Of each row of `columns` levels those of one range of columns: the high halves of all rows, two a byte, then the low ones. */
function splitLevels(levels: Uint8Array, columns: number, from: number, into: Uint8Array): void {
  const four = new Uint32Array(levels.buffer, levels.byteOffset, levels.length / 4);
  const two = new Uint16Array(into.buffer, into.byteOffset, into.length / 2);
  const half = two.length / 2;
  const units = half / (levels.length / columns);
  let at = 0;
  for (let row = from / 4; row < four.length; row += columns / 4)
    for (let i = row; i < row + units; i++, at++) {
      const given = four[i] as number;
      two[at] = inPairs((given >>> 4) & 0x0f0f0f0f);
      two[half + at] = inPairs(given & 0x0f0f0f0f);
    }
}

/** Four levels, each in the low half of a byte, as two bytes. */
function inPairs(four: number): number {
  const pairs = (four | (four >>> 4)) & 0x00ff00ff;
  return pairs | (pairs >>> 8);
}

/** Scales [2N, G] of both planes. */
export function planeScales(lowering: Lowering, [scales]: readonly Value[], { from, to }: Range): string {
  const [rows = 1, blocks = 1] = scales?.shape.map(Number) ?? [];
  return lowering.derive(`${shown({ from, to })} of ${lowering.name(scales)} in planes`, {
    dtype: 'float32',
    dims: [2 * rows, to - from],
    from: scales ? [scales] : [],
    fill: (into, given) => {
      const [read, write] = [floatsOf(given), floatsOf(into)];
      const half = write.length / 2;
      for (let at = 0; at < half; at++) {
        const row = Math.floor(at / (to - from));
        const scale = read[row * blocks + from + (at % (to - from))] ?? 0;
        write[at] = 16 * scale;
        write[half + at] = scale;
      }
    },
  });
}

/** Of both planes, two blocks a byte: 8 for the high one, 0 for the low one. */
export function planeZeroPoints(lowering: Lowering, rows: number, { from, to }: Range): string {
  const bytes = Math.ceil((to - from) / 2);
  return lowering.filled(`zero points of planes of ${rows} by ${to - from}`, 'uint8', [2 * rows, bytes], (into) => {
    for (let i = 0; i < rows * bytes; i++) into[i] = 0x88;
  });
}

/** Bytes as the floats that they are. */
export const floatsOf = (bytes: Uint8Array = new Uint8Array()): Float32Array =>
  new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
