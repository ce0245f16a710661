// matmul_quantized as com.microsoft.MatMulNBits, whose weights are laid out anew when the session is made.
import type { Operation, Value } from '../../tensor/index.ts';
import { fillJoined } from './joined.ts';
import type { Lowering, Rule } from './lowering.ts';
import type { Operands } from './packed-forms.ts';
import { planes } from './packed-forms.ts';
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
        N: { int: given.rows ?? rows },
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
    } else if (given.rows === undefined) lowering.define(target, 'MatMulNBits', inputs, spec);
    else {
      const parts: Value[] = [0, 1].map(() => ({ ...y, id: -1 }));
      lowering.defineAll(
        parts,
        'Split',
        [lowering.node('MatMulNBits', inputs, spec), lowering.integers([rows, rows])],
        {
          attributes: { axis: { int: -1 } },
        },
      );
      lowering.define(
        target,
        'Add',
        parts.map((part) => lowering.name(part)),
      );
    }
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
