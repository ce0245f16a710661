// matmul_quantized as com.microsoft.MatMulNBits, whose weights are laid out anew when the session is made.
import type { Operation, Value } from '../../tensor/index.ts';
import { fillJoined } from './joined.ts';
import type { Lowering, Rule } from './lowering.ts';
import { expandedProduct } from './wasm-layouts.ts';

/** Sums of x [..., K] over blocks, [..., G], as a product with zeros and ones: one walk. */
function blockSums(lowering: Lowering, x: Value, blocks: number, block: number): string {
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

/** What MatMulNBits takes of a matrix [N, K]. */
interface Operands {
  readonly x: string;
  readonly levels: string;
  readonly scales: string;
  /** Absent: the middle level. */
  readonly zeroPoints?: string;
  readonly bits: number;
  /** Blocks of a row. */
  readonly blocks: number;
}

/**
 * 8 bits as two planes of 4, since the kernel has no float32 products with 8: level - 128 = 16 (high - 8) + low. The planes stand
 * side by side in rows of twice the length, and meet x twice.
 */
function planes(lowering: Lowering, x: Value, packed: Value, scales: Value): Operands {
  const [rows = 1, blocks = 1, block = 1] = packed.shape.map(Number);
  const name = lowering.name(packed);
  // Two blocks a byte, the first in the low half: 8 for the high planes, 0 for the low ones.
  const zeroPoints = Array.from(
    { length: blocks },
    (_, i) => (2 * i < blocks ? 8 : 0) | (2 * i + 1 < blocks ? 0x80 : 0),
  );
  const row = lowering.constant('uint8', [1, blocks], zeroPoints);
  const given = lowering.name(x);
  return {
    x: lowering.node('Concat', [given, given], { attributes: { axis: { int: x.shape.length - 1 } } }),
    levels: lowering.derive(`${name} in planes`, {
      dtype: 'uint8',
      dims: [rows, 2 * blocks, block / 2],
      from: [packed],
      fill: (into, levels) => levels && splitLevels(levels, blocks * block, into),
    }),
    scales: lowering.derive(`${name} in planes, scales`, {
      dtype: 'float32',
      dims: [rows, 2 * blocks],
      from: [scales],
      fill: (into, each) => each && widenScales(floatsOf(each), blocks, floatsOf(into)),
    }),
    zeroPoints: lowering.node('Expand', [row, lowering.integers([rows, blocks])]),
    bits: 4,
    blocks: 2 * blocks,
  };
}

/** Of each row of `columns` levels the high halves, two a byte, then the low ones. */
function splitLevels(levels: Uint8Array, columns: number, into: Uint8Array): void {
  const four = new Uint32Array(levels.buffer, levels.byteOffset, levels.length / 4);
  const two = new Uint16Array(into.buffer, into.byteOffset, into.length / 2);
  const units = columns / 4;
  for (let row = 0; row < four.length; row += units) {
    for (let i = 0; i < units; i++) {
      const given = four[row + i] as number;
      two[2 * row + i] = inPairs((given >>> 4) & 0x0f0f0f0f);
      two[2 * row + units + i] = inPairs(given & 0x0f0f0f0f);
    }
  }
}

/** Four levels, each in the low half of a byte, as two bytes. */
function inPairs(four: number): number {
  const pairs = (four | (four >>> 4)) & 0x00ff00ff;
  return pairs | (pairs >>> 8);
}

function widenScales(scales: Float32Array, blocks: number, into: Float32Array): void {
  for (let from = 0, to = 0; from < scales.length; from += blocks, to += 2 * blocks) {
    into.set(scales.subarray(from, from + blocks), to + blocks);
    for (let i = 0; i < blocks; i++) into[to + i] = 16 * (scales[from + i] as number);
  }
}

const floatsOf = (bytes: Uint8Array) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);

/**
 * Only for weights that are bound: the kernel is fast, and rounds activations, with weights laid out beforehand. Float zero
 * points would leave its fast path: an affine matrix has the zero point 0, and its minimums meet the sums of x over blocks in a
 * small product of their own.
 */
export const matmulNBits: {
  fits: (operation: Operation, isBound: (value: Value) => boolean) => boolean;
  rule: Rule;
} = {
  fits: ({ operands: [x, ...parts], attributes: { bits, activations } }, isBound) =>
    x?.dtype === 'float32' &&
    !x.shape.includes(0) &&
    parts.every(isBound) &&
    (bits === 4 || activations === 'int8' || parts.length === 2),
  rule: (lowering, operation) => {
    const { operands, attributes, results } = operation;
    const [x, packed, scales, minimums] = operands;
    const [y] = results;
    if (!x || !packed || !scales || !y) return;
    if (lowering.given.size > 0) return expandedProduct(lowering, y, x, { packed, scales, minimums }, attributes);
    const joined = lowering.joins.get(operation) ?? [operation];
    if (joined.length === 0) return;
    const [bits, block] = [Number(attributes.bits), Number(attributes.block)];
    const blocks = Number(scales.shape[1]);
    const sizes = joined.map((one) => Number(one.operands[1]?.shape[0]));
    const rows = sizes.reduce((a, b) => a + b);
    const part = (index: number) =>
      joinedPart(
        lowering,
        joined.flatMap((one) => one.operands[index] ?? []),
        rows,
      );
    const isFloat = attributes.activations === 'float32';
    const given: Operands =
      bits === 8 && isFloat
        ? planes(lowering, x, packed, scales)
        : {
            x: lowering.name(x),
            levels: part(1),
            scales: part(2),
            ...(minimums && { zeroPoints: lowering.zeros('uint8', [rows, Math.ceil((blocks * bits) / 8)]) }),
            bits,
            blocks,
          };
    const inputs = [given.x, given.levels, given.scales, ...(given.zeroPoints ? [given.zeroPoints] : [])];
    const product: Value = { ...y, shape: [...x.shape.slice(0, -1), rows] };
    const target = joined.length === 1 ? y : product;
    const spec = {
      domain: 'com.microsoft',
      attributes: {
        K: { int: given.blocks * block },
        N: { int: rows },
        bits: { int: given.bits },
        block_size: { int: block },
        accuracy_level: { int: isFloat ? 1 : 4 },
      },
    };
    if (minimums) {
      const levels = lowering.node('MatMulNBits', inputs, spec);
      const toMinimums = lowering.node('FusedMatMul', [blockSums(lowering, x, blocks, block), part(3)], {
        domain: 'com.microsoft',
        attributes: { transB: { int: 1 } },
      });
      lowering.define(target, 'Add', [levels, toMinimums]);
    } else lowering.define(target, 'MatMulNBits', inputs, spec);
    if (joined.length === 1) return;
    const values = joined.map((one) => one.results[0]);
    lowering.defineAll(values, 'Split', [lowering.name(target), lowering.integers(sizes)], {
      attributes: { axis: { int: -1 } },
    });
  },
};

/** One part of several matrices, their rows behind one another. */
function joinedPart(lowering: Lowering, parts: readonly Value[], rows: number): string {
  const [first] = parts;
  if (!first || parts.length === 1) return lowering.name(first);
  const names = parts.map((part) => lowering.name(part));
  const dims = [rows, ...first.shape.slice(1).map(Number)];
  return lowering.derive(`joined ${names.join(' ')}`, { dtype: first.dtype, dims, from: parts, fill: fillJoined });
}
