// matmul_quantized as com.microsoft.MatMulNBits, whose weights are laid out anew when the session is made.
import type { Operation, Value } from '../../tensor/index.ts';
import type { Lowering, NodeSpec, Rule } from './lowering.ts';
import type { Packed } from './bytes.ts';
import { inBytes } from './bytes.ts';
import { blockSums, columnRanges, columnsOf, planes, planeScales, planeZeroPoints } from './packed-forms.ts';
import { packedProduct } from './gpu-forms.ts';
import { turned } from './rounded.ts';
import { expandedProduct } from './wasm-layouts.ts';

/** Of one x with matrices whose rows stand below one another. */
interface Product {
  readonly x: Value;
  readonly parts: Packed;
  readonly target: Value;
  readonly rows: number;
  /** Of a row, and what each holds. */
  readonly blocks: number;
  readonly block: number;
  readonly bits: number;
  readonly isFloat: boolean;
}

type Attributes = NonNullable<NodeSpec['attributes']>;

function attributesOf(
  { block, isFloat }: Pick<Product, 'block' | 'isFloat'>,
  columns: number,
  rows: number,
  bits: number,
): Attributes {
  return {
    K: { int: columns },
    N: { int: rows },
    bits: { int: bits },
    block_size: { int: block },
    accuracy_level: { int: isFloat ? 1 : 4 },
  };
}

function asBytes(lowering: Lowering, product: Product): void {
  const { x, parts, target, rows, blocks, isFloat } = product;
  const { levels, scales, block } = inBytes(lowering, parts, product);
  lowering.define(target, 'MatMulNBits', [turned(lowering, x), levels, scales], {
    domain: 'com.microsoft',
    attributes: attributesOf({ block, isFloat }, blocks * product.block, rows, 8),
  });
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

function inRanges(lowering: Lowering, product: Product): void {
  const { x, parts, target, rows, blocks, block, bits, isFloat } = product;
  const { packed, scales, minimums } = parts;
  const [isAffine, inPlanes] = [minimums.length > 0, bits === 8 && isFloat];
  const ranges = isFloat ? columnRanges(blocks, block) : [{ from: 0, to: blocks }];
  const widths = ranges.map(({ from, to }) => to - from);
  const xs = cut(
    lowering,
    lowering.name(x),
    widths.map((width) => width * block),
  );
  const calls = ranges.map((range, index): readonly [inputs: string[], spec: NodeSpec] => {
    const width = widths[index] ?? 0;
    const spec = {
      domain: 'com.microsoft',
      attributes: attributesOf(product, width * block, inPlanes ? 2 * rows : rows, inPlanes ? 4 : bits),
    };
    const [own = ''] = [xs[index]];
    if (inPlanes) {
      const [levels, steps] = [planes(lowering, packed, range), planeScales(lowering, scales, range)];
      return [[own, levels, steps, planeZeroPoints(lowering, rows, range)], spec];
    }
    const inputs = [own, columnsOf(lowering, packed, range), columnsOf(lowering, scales, range)];
    if (isAffine) inputs.push(lowering.zeros('uint8', [rows, Math.ceil((width * bits) / 8)]));
    return [inputs, spec];
  });
  const [first] = calls;
  if (first && calls.length === 1 && !isAffine && !inPlanes) return lowering.define(target, 'MatMulNBits', ...first);
  const terms = calls.map(([inputs, spec]) => lowering.node('MatMulNBits', inputs, spec));
  if (isAffine)
    terms.push(
      lowering.node(
        'FusedMatMul',
        [blockSums(lowering, x, blocks, block), columnsOf(lowering, minimums, { from: 0, to: blocks })],
        { domain: 'com.microsoft', attributes: { transB: { int: 1 } } },
      ),
    );
  if (inPlanes) lowering.define(target, 'Add', cut(lowering, summed(lowering, terms), [rows, rows]));
  else lowering.define(target, terms.length === 2 ? 'Add' : 'Sum', terms);
}

/**
 * Only for weights that are bound: the kernel is fast, and rounds activations, with weights laid out beforehand. Float zero
 * points would leave its fast path: in float32 an affine matrix has the zero point 0, and its minimums meet the sums of x over blocks
 * in a small product of their own; where activations are rounded it becomes bytes, and so does one of 8 bits.
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
    const given = { packed, scales, minimums };
    if (lowering.weights === 'expanded') return expandedProduct(lowering, y, x, given, attributes);
    if (lowering.weights === 'packed') return packedProduct(lowering, y, x, given, Number(attributes.bits));
    const joined = lowering.joins.get(operation) ?? [operation];
    if (joined.length === 0) return;
    const sizes = joined.map((one) => Number(one.operands[1]?.shape[0]));
    const rows = sizes.reduce((a, b) => a + b);
    const parts = (index: number) => joined.flatMap((one) => one.operands[index] ?? []);
    const product: Product = {
      x,
      parts: { packed: parts(1), scales: parts(2), minimums: parts(3) },
      target: joined.length === 1 ? y : { ...y, id: -1, shape: [...x.shape.slice(0, -1), rows] },
      rows,
      blocks: Number(scales.shape[1]),
      block: Number(attributes.block),
      bits: Number(attributes.bits),
      isFloat: attributes.activations === 'float32',
    };
    // Minimums would cost small products of their own, and bytes in narrow blocks more time than in wide ones.
    if (!product.isFloat && (minimums !== undefined || product.bits === 8)) asBytes(lowering, product);
    else inRanges(lowering, product);
    if (joined.length === 1) return;
    const values = joined.map((one) => one.results[0]);
    lowering.defineAll(values, 'Split', [lowering.name(product.target), lowering.integers(sizes)], {
      attributes: { axis: { int: -1 } },
    });
  },
};
