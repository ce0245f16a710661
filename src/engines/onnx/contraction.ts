// dot_general and reductions in ONNX: every product becomes one FusedMatMul over contiguous axes where it can.
import type { Dim, Operation, Shape, Value } from '../../tensor/index.ts';
import { sameShape, sizeOf } from '../../tensor/index.ts';
import type { DotAttributes } from '../../tensor/primitives/contraction.ts';
import { freeAxes } from '../../tensor/primitives/contraction.ts';
import type { Lowering, NodeSpec, Rule } from './lowering.ts';
import { castSpec, computeType, reshapeSpec } from './lowering.ts';
import { turnedWeight } from './wasm-layouts.ts';

interface Side {
  readonly name: string;
  /** Whether the contracting axis stands before the free one. */
  readonly transposed: boolean;
}

const pick = (shape: Shape, axes: readonly number[]): Dim[] => axes.map((axis) => shape[axis] ?? 1);
const ordered = (axes: readonly number[]) =>
  axes.every((axis, index) => index === 0 || axis === (axes[index - 1] ?? 0) + 1);

/** One operand as [batch..., free, contracting] or, transposed, [batch..., contracting, free]. */
function side(
  lowering: Lowering,
  x: Value,
  name: string,
  batching: readonly number[],
  contracting: readonly number[],
  rows: boolean,
): Side {
  const free = freeAxes(x, batching, contracting);
  const batch = pick(x.shape, batching);
  const [m, k] = [sizeOf(pick(x.shape, free)), sizeOf(pick(x.shape, contracting))];
  const leading = batching.every((axis, index) => axis === index);
  const inPlace = leading && ordered(free) && ordered(contracting);
  const after = batching.length;
  // A stack of rows against a plain matrix: the kernel walks all leading axes as rows, without a change of shape.
  if (rows && after === 0 && contracting.length === 1 && contracting[0] === x.shape.length - 1)
    return { name, transposed: false };
  if (inPlace && (contracting.length === 0 || free.length === 0 || (free[0] ?? 0) < (contracting[0] ?? 0))) {
    return { name: lowering.reshaped(name, x.shape, [...batch, m, k]), transposed: false };
  }
  if (inPlace && (contracting[0] ?? 0) === after)
    return { name: lowering.reshaped(name, x.shape, [...batch, k, m]), transposed: true };
  const order = [...batching, ...free, ...contracting];
  const moved = lowering.node('Transpose', [name], { attributes: { perm: { ints: order } } });
  return { name: lowering.reshaped(moved, pick(x.shape, order), [...batch, m, k]), transposed: false };
}

/** The constant that multiplies the result of a product and nothing else reads: folded into it as FusedMatMul's alpha. */
export type Scales = ReadonlyMap<Value, { readonly factor: number; readonly result: Value }>;

export function dotRule(scales: Scales): Rule {
  return (lowering: Lowering, { operands: [lhs, rhs], attributes, results: [result] }: Operation) => {
    if (!lhs || !rhs || !result) return;
    const a = attributes as unknown as DotAttributes;
    const scale = scales.get(result);
    const target = scale?.result ?? result;
    const type = computeType(result.dtype);
    const load = (value: Value) =>
      value.dtype === type ? lowering.name(value) : lowering.cast(lowering.name(value), type);
    const [leftFree, rightFree] = [
      freeAxes(lhs, a.lhsBatching, a.lhsContracting),
      freeAxes(rhs, a.rhsBatching, a.rhsContracting),
    ];
    const rows = rightFree.length === 1 && rhs.shape.length === 2 && leftFree.length > 1;
    let left = side(lowering, lhs, load(lhs), a.lhsBatching, a.lhsContracting, rows);
    const byRows = a.rhsContracting.join() === String(rhs.shape.length - 1) && a.rhsBatching.length === 0;
    const turned = byRows && type === rhs.dtype ? turnedWeight(lowering, rhs) : undefined;
    const right = turned ?? side(lowering, rhs, load(rhs), a.rhsBatching, a.rhsContracting, false);
    const batch = pick(lhs.shape, a.lhsBatching);
    const m = pick(lhs.shape, leftFree);
    const n = sizeOf(pick(rhs.shape, rightFree));
    const stacked =
      rows && !left.transposed && a.lhsContracting.length === 1 && a.lhsContracting[0] === lhs.shape.length - 1;
    const raw: Shape = [...batch, ...(stacked ? m : [sizeOf(m)]), n];
    const alpha = scale?.factor ?? 1;
    const float = type === 'float32' || type === 'float64';
    // The kernel reads a transposed left side by columns, at about five sixths of its rate (LOG.md): turned beforehand instead. Where
    // the right side is narrow, as an adapter's, its transpose and the result's are less work.
    if (
      type === target.dtype &&
      float &&
      left.transposed &&
      right.transposed &&
      batch.length === 0 &&
      isNarrow(n, sizeOf(m))
    ) {
      const product = lowering.node('FusedMatMul', [swapped(lowering, right.name, 2), left.name], {
        domain: 'com.microsoft',
        attributes: { alpha: { float: alpha } },
      });
      if (sameShape([sizeOf(m), n], target.shape)) return lowering.define(target, 'Transpose', [product], swapSpec(2));
      const shape = lowering.reshapeInputs(swapped(lowering, product, 2), [sizeOf(m), n], target.shape);
      return lowering.define(target, 'Reshape', shape, reshapeSpec(target.shape));
    }
    if (float && left.transposed && batch.length === 0)
      left = { name: swapped(lowering, left.name, 2), transposed: false };
    // right is [.., free, contracting] unless transposed: ONNX wants [.., contracting, free]. A GPU has no fused kernel.
    const isFused = float && lowering.weights !== 'packed';
    const spec = isFused
      ? {
          domain: 'com.microsoft',
          attributes: {
            transA: { int: Number(left.transposed) },
            transB: { int: Number(!right.transposed) },
            alpha: { float: alpha },
          },
        }
      : {};
    const straight = (s: Side, wanted: boolean) =>
      s.transposed === wanted ? s.name : swapped(lowering, s.name, batch.length + 2);
    const scaled = (name: string) =>
      isFused || alpha === 1 ? name : lowering.node('Mul', [name, lowering.constant(type, [], [alpha])]);
    const inputs = isFused ? [left.name, right.name] : [scaled(straight(left, false)), straight(right, true)];
    const opType = isFused ? 'FusedMatMul' : 'MatMul';
    if (type === target.dtype && sameShape(raw, target.shape)) return lowering.define(target, opType, inputs, spec);
    const product = lowering.node(opType, inputs, spec);
    if (type === target.dtype)
      return lowering.define(
        target,
        'Reshape',
        lowering.reshapeInputs(product, raw, target.shape),
        reshapeSpec(target.shape),
      );
    lowering.define(target, 'Cast', [lowering.reshaped(product, raw, target.shape)], castSpec(target.dtype));
  };
}

/** Of a Transpose that swaps the last two of `rank` axes. */
function swapSpec(rank: number): NodeSpec {
  const perm = Array.from({ length: rank }, (_, axis) => axis);
  return { attributes: { perm: { ints: [...perm.slice(0, -2), rank - 1, rank - 2] } } };
}

const swapped = (lowering: Lowering, name: string, rank: number): string =>
  lowering.node('Transpose', [name], swapSpec(rank));

/** Whether `n` columns are few beside `m` rows. */
const isNarrow = (n: Dim, m: Dim): boolean => typeof n === 'number' && typeof m === 'number' && 16 * n <= m;

const reducers: Record<string, string> = { sum: 'ReduceSum', max: 'ReduceMax', min: 'ReduceMin' };

/** Squares that only sums read, with what is squared. */
export type Squares = ReadonlyMap<Value, Value>;

/**
 * The longest row from 256 to 4,096 numbers that an array of many divides into. ReduceSumSquare adds all numbers one after
 * another: of a million squares float32 then loses a thousandth. Products of rows with themselves lose nothing and are faster
 * (67 MB: 3.4 against 5.1 ms).
 */
function rowOf(shape: Shape): number | undefined {
  const count = shape.reduce<number>((product, dim) => product * (typeof dim === 'number' ? dim : Number.NaN), 1);
  if (!(count > 4096)) return undefined;
  for (let row = 4096; row >= 256; row--) if (count % row === 0) return row;
  return undefined;
}

/** Sums; that of a square walks its operand once instead of twice. */
export function sumRule(squares: Squares): Rule {
  return (lowering, operation) => {
    const {
      operands: [x],
      attributes,
      results: [result],
    } = operation;
    const root = x && squares.get(x);
    if (!root) return reductionRules.reduce?.(lowering, operation);
    const axes = lowering.integers(attributes.axes as readonly number[]);
    const row = result?.shape.length === 0 ? rowOf(root.shape) : undefined;
    if (row !== undefined) {
      const rows = lowering.node('Reshape', [lowering.name(root), lowering.integers([-1, 1, row])]);
      const sums = lowering.node('FusedMatMul', [rows, rows], {
        domain: 'com.microsoft',
        attributes: { transB: { int: 1 } },
      });
      return lowering.define(result, 'ReduceSum', [sums], { attributes: { keepdims: { int: 0 } } });
    }
    lowering.define(result, 'ReduceSumSquare', [lowering.name(root), axes], { attributes: { keepdims: { int: 0 } } });
  };
}

export const reductionRules: Readonly<Record<string, Rule>> = {
  reduce: (lowering, { operands: [x], attributes, results: [result] }) => {
    if (!x || !result) return;
    const type = computeType(x.dtype);
    const spec = { attributes: { keepdims: { int: 0 } } };
    const input = type === x.dtype ? lowering.name(x) : lowering.cast(lowering.name(x), type);
    const inputs = [input, lowering.integers(attributes.axes as readonly number[])];
    const opType = reducers[String(attributes.reducer)] ?? 'ReduceSum';
    if (type === result.dtype) return lowering.define(result, opType, inputs, spec);
    lowering.define(result, 'Cast', [lowering.node(opType, inputs, spec)], castSpec(result.dtype));
  },
  top_k: (lowering, { operands: [x], attributes, results: [values, indices] }) => {
    if (!x || !values || !indices) return;
    const type = computeType(x.dtype);
    const input = type === x.dtype ? lowering.name(x) : lowering.cast(lowering.name(x), type);
    const [top = '', at = ''] = lowering.graph.node('TopK', [input, lowering.integers([Number(attributes.k)])], {
      outputs: 2,
    });
    lowering.define(values, 'Cast', [top], castSpec(values.dtype));
    lowering.define(indices, 'Cast', [at], castSpec('int32'));
  },
};
