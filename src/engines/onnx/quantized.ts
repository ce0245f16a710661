// matmul_quantized as com.microsoft.MatMulNBits, whose weights are laid out anew when the session is made.
import type { Operation, Shape, Value } from '../../tensor/index.ts';
import { sizeOf } from '../../tensor/index.ts';
import type { Lowering, Rule } from './lowering.ts';

/** Levels of the accuracy that the kernel is asked for: float32 products, or int8 activations a row and block. */
const accuracyLevels: Readonly<Record<string, number>> = { float32: 1, int8: 4 };

/** Sums of x [..., K] over blocks: [rows, G]. */
function blockSums(lowering: Lowering, x: Value, blocks: number, block: number): string {
  const split: Shape = [...x.shape.slice(0, -1), blocks, block];
  const rows: Shape = [sizeOf(x.shape.slice(0, -1)), blocks];
  const sums = lowering.node(
    'ReduceSum',
    [lowering.reshaped(lowering.name(x), x.shape, split), lowering.integers([split.length - 1])],
    { attributes: { keepdims: { int: 0 } } },
  );
  return lowering.reshaped(sums, split.slice(0, -1), rows);
}

/**
 * Only for weights that are bound: the kernel is fast, and rounds activations, with weights laid out beforehand. It has no
 * products of float32 with 8 bits. Float zero points would leave its fast path: an affine matrix has the zero point 0, and its
 * minimums meet the sums of x over blocks in a small product of their own.
 */
export const matmulNBits: {
  fits: (operation: Operation, isBound: (value: Value) => boolean) => boolean;
  rule: Rule;
} = {
  fits: ({ operands: [x, ...parts], attributes: { bits, activations } }, isBound) =>
    x?.dtype === 'float32' && !x.shape.includes(0) && parts.every(isBound) && (bits === 4 || activations === 'int8'),
  rule: (lowering, { operands: [x, packed, scales, minimums], attributes, results: [y] }) => {
    if (!x || !packed || !scales || !y) return;
    const [bits, block] = [Number(attributes.bits), Number(attributes.block)];
    const [n, blocks] = scales.shape.map(Number);
    const [rows, columns] = [n ?? 1, blocks ?? 1];
    const inputs = [lowering.name(x), lowering.name(packed), lowering.name(scales)];
    if (minimums) inputs.push(lowering.zeros('uint8', [rows, Math.ceil((columns * bits) / 8)]));
    const spec = {
      domain: 'com.microsoft',
      attributes: {
        K: { int: columns * block },
        N: { int: rows },
        bits: { int: bits },
        block_size: { int: block },
        accuracy_level: { int: accuracyLevels[String(attributes.activations)] ?? 0 },
      },
    };
    if (!minimums) return lowering.define(y, 'MatMulNBits', inputs, spec);
    const flat: Shape = [sizeOf(y.shape.slice(0, -1)), rows];
    const product = lowering.reshaped(lowering.node('MatMulNBits', inputs, spec), y.shape, flat);
    const sums = blockSums(lowering, x, columns, block);
    const added = lowering.node('Gemm', [sums, lowering.name(minimums), product], {
      attributes: { transB: { int: 1 } },
    });
    lowering.define(y, 'Reshape', lowering.reshapeInputs(added, flat, y.shape));
  },
};
