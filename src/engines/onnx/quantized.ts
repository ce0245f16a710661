// matmul_quantized as com.microsoft.MatMulNBits, whose weights are laid out anew when the session is made.
import type { Operation, Value } from '../../tensor/index.ts';
import type { Lowering, NodeSpec, Rule } from './lowering.ts';
import { columnRanges, columnsOf, planes, planeScales, planeZeroPoints } from './packed-forms.ts';
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

interface NodeCall {
  readonly inputs: readonly string[];
  readonly spec: NodeSpec;
}

const summed = (lowering: Lowering, [first = '', ...others]: readonly string[]) =>
  others.length === 0 ? first : lowering.node('Sum', [first, ...others]);

/** x cut along its last axis. */
function cut(lowering: Lowering, x: string, sizes: readonly number[]): string[] {
  if (sizes.length === 1) return [x];
  const parts = sizes.map((size): Value => ({ id: -1, dtype: 'float32', shape: [size] }));
  lowering.defineAll(parts, 'Split', [x, lowering.integers(sizes)], { attributes: { axis: { int: -1 } } });
  return parts.map((part) => lowering.name(part));
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
    const sizes = joined.map((one) => Number(one.operands[1]?.shape[0]));
    const rows = sizes.reduce((a, b) => a + b);
    const parts = (index: number) => joined.flatMap((one) => one.operands[index] ?? []);
    const isFloat = attributes.activations === 'float32';
    const inPlanes = bits === 8 && isFloat;
    const target = joined.length === 1 ? y : { ...y, id: -1, shape: [...x.shape.slice(0, -1), rows] };
    const blocks = Number(scales.shape[1]);
    const ranges = isFloat ? columnRanges(blocks, block) : [{ from: 0, to: blocks }];
    const xs = cut(
      lowering,
      lowering.name(x),
      ranges.map(({ from, to }) => (to - from) * block),
    );
    const products = ranges.map((range, index): NodeCall => {
      const [levels, steps] = inPlanes
        ? [planes(lowering, packed, range), planeScales(lowering, scales, range)]
        : [columnsOf(lowering, parts(1), range), columnsOf(lowering, parts(2), range)];
      const zeroPoints = inPlanes
        ? planeZeroPoints(lowering, rows, range)
        : minimums && lowering.zeros('uint8', [rows, Math.ceil(((range.to - range.from) * bits) / 8)]);
      return {
        inputs: [xs[index] ?? '', levels, steps, ...(zeroPoints ? [zeroPoints] : [])],
        spec: {
          domain: 'com.microsoft',
          attributes: {
            K: { int: (range.to - range.from) * block },
            N: { int: inPlanes ? 2 * rows : rows },
            bits: { int: inPlanes ? 4 : bits },
            block_size: { int: block },
            accuracy_level: { int: isFloat ? 1 : 4 },
          },
        },
      };
    });
    const [only] = products;
    if (only && products.length === 1 && !minimums && !inPlanes)
      lowering.define(target, 'MatMulNBits', only.inputs, only.spec);
    else {
      const terms = products.map(({ inputs, spec }) => lowering.node('MatMulNBits', inputs, spec));
      if (minimums)
        terms.push(
          lowering.node(
            'FusedMatMul',
            [blockSums(lowering, x, blocks, block), columnsOf(lowering, parts(3), { from: 0, to: blocks })],
            { domain: 'com.microsoft', attributes: { transB: { int: 1 } } },
          ),
        );
      if (inPlanes) lowering.define(target, 'Add', cut(lowering, summed(lowering, terms), [rows, rows]));
      else lowering.define(target, terms.length === 2 ? 'Add' : 'Sum', terms);
    }
    if (joined.length === 1) return;
    const values = joined.map((one) => one.results[0]);
    lowering.defineAll(values, 'Split', [lowering.name(target), lowering.integers(sizes)], {
      attributes: { axis: { int: -1 } },
    });
  },
};
