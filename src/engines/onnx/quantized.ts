// matmul_quantized as com.microsoft.MatMulNBits, whose weights are laid out anew when the session is made.
import type { Operation, Shape, Value } from '../../tensor/index.ts';
import type { Lowering, Rule } from './lowering.ts';
import { expandedProduct } from './wasm-layouts.ts';

/** Sums of x [..., K] over blocks: [..., G]. */
function blockSums(lowering: Lowering, x: Value, blocks: number, block: number): string {
  const split: Shape = [...x.shape.slice(0, -1), blocks, block];
  const inputs = [lowering.reshaped(lowering.name(x), x.shape, split), lowering.integers([split.length - 1])];
  return lowering.node('ReduceSum', inputs, { attributes: { keepdims: { int: 0 } } });
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
 * side by side in rows of twice the length, and meet x twice. All that is made of weights here is made once, when the session is.
 */
function planes(lowering: Lowering, x: Value, packed: Value, scales: Value): Operands {
  const [rows = 1, blocks = 1, block = 1] = packed.shape.map(Number);
  const bytes = (...values: number[]) => lowering.constant('uint8', [values.length], values);
  const pairs = lowering.reshaped(lowering.name(packed), packed.shape, [rows, blocks, block / 2, 2]);
  const half = (index: number) =>
    lowering.node('Gather', [pairs, lowering.constant('int64', [], [index])], { attributes: { axis: { int: 3 } } });
  const [even, odd] = [half(0), half(1)];
  const shift = (name: string, direction: string) =>
    lowering.node('BitShift', [name, bytes(4)], { attributes: { direction: { string: direction } } });
  const kept = (name: string, mask: number) => lowering.node('BitwiseAnd', [name, bytes(mask)]);
  const high = lowering.node('BitwiseOr', [shift(even, 'RIGHT'), kept(odd, 0xf0)]);
  const low = lowering.node('BitwiseOr', [kept(even, 0x0f), shift(odd, 'LEFT')]);
  const beside = (parts: readonly string[], axis: number) =>
    lowering.node('Concat', parts, { attributes: { axis: { int: axis } } });
  const wide = lowering.node('Mul', [lowering.name(scales), lowering.constant('float32', [], [16])]);
  // Two blocks a byte, the first in the low half: 8 for the high planes, 0 for the low ones.
  const zeroPoints = Array.from(
    { length: blocks },
    (_, i) => (2 * i < blocks ? 8 : 0) | (2 * i + 1 < blocks ? 0x80 : 0),
  );
  const row = lowering.constant('uint8', [1, blocks], zeroPoints);
  return {
    x: beside([lowering.name(x), lowering.name(x)], x.shape.length - 1),
    levels: beside([high, low], 1),
    scales: beside([wide, lowering.name(scales)], 1),
    zeroPoints: lowering.node('Expand', [row, lowering.integers([rows, blocks])]),
    bits: 4,
    blocks: 2 * blocks,
  };
}

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
  rule: (lowering, { operands: [x, packed, scales, minimums], attributes, results: [y] }) => {
    if (!x || !packed || !scales || !y) return;
    if (lowering.given.size > 0) return expandedProduct(lowering, y, x, { packed, scales, minimums }, attributes);
    const [bits, block] = [Number(attributes.bits), Number(attributes.block)];
    const [rows = 1, blocks = 1] = scales.shape.map(Number);
    const plain: Operands = {
      x: lowering.name(x),
      levels: lowering.name(packed),
      scales: lowering.name(scales),
      ...(minimums && { zeroPoints: lowering.zeros('uint8', [rows, Math.ceil((blocks * bits) / 8)]) }),
      bits,
      blocks,
    };
    const isFloat = attributes.activations === 'float32';
    const given = bits === 8 && isFloat ? planes(lowering, x, packed, scales) : plain;
    const inputs = [given.x, given.levels, given.scales, ...(given.zeroPoints ? [given.zeroPoints] : [])];
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
    if (!minimums) return lowering.define(y, 'MatMulNBits', inputs, spec);
    const product = lowering.node('MatMulNBits', inputs, spec);
    const toMinimums = lowering.node('FusedMatMul', [blockSums(lowering, x, blocks, block), lowering.name(minimums)], {
      domain: 'com.microsoft',
      attributes: { transB: { int: 1 } },
    });
    lowering.define(y, 'Add', [product, toMinimums]);
  },
};
