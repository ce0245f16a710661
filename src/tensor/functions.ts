// Functions over Tensors. Arithmetic broadcasts as NumPy does; everything else has StableHLO's meaning.
import { AdaptedTensor } from './adapted.ts';
import type { DType, HostArray } from './dtype.ts';
import { LfmError } from './error.ts';
import type { DotAttributes } from './primitives/contraction.ts';
import type { Direction } from './primitives/elementwise.ts';
import type { GatherAttributes, ScatterAttributes } from './primitives/indexing.ts';
import type { Reducer } from './primitives/reduction.ts';
import type { ArrayType } from './program.ts';
import { QuantizedTensor, RoundedTensor } from './quantized.ts';
import type { Dim, Shape } from './shape.ts';
import { addDims, divideDims, sameShape, sizeOf } from './shape.ts';
import type { Tensor } from './tracer.ts';
import { emit, emitOne } from './tracer.ts';

/** A tensor, or a number that takes the other operand's type and shape. */
export type Operand = Tensor | number;

// --- making ---

export function full(dtype: DType, shape: Shape, value: number): Tensor {
  return emitOne('constant', [], { dtype, shape, value });
}

export function zeros(dtype: DType, shape: Shape): Tensor {
  return full(dtype, shape, 0);
}

/** A constant from host memory in an engine's layout (see HostArray). */
export function constant(dtype: DType, shape: readonly number[], data: HostArray): Tensor {
  return emitOne('constant', [], { dtype, shape, data });
}

export function constantLike(x: ArrayType, value: number): Tensor {
  return broadcastTo(full(x.dtype, [], value), x.shape);
}

export function zerosLike(x: ArrayType): Tensor {
  return constantLike(x, 0);
}

export function iota(dtype: DType, shape: Shape, dimension: number): Tensor {
  return emitOne('iota', [], { dtype, shape, dimension });
}

// --- moving ---

export function broadcastInDim(x: Tensor, shape: Shape, dimensions: readonly number[]): Tensor {
  if (sameShape(x.shape, shape) && dimensions.every((d, i) => d === i)) return x;
  return emitOne('broadcast_in_dim', [x], { shape, dimensions });
}

/** NumPy's rule: axes are matched from the last; missing and size-1 axes repeat. */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  const shift = shape.length - x.rank;
  return broadcastInDim(
    x,
    shape,
    x.shape.map((_, axis) => axis + shift),
  );
}

export function reshape(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  if (x instanceof AdaptedTensor && shape.at(-1) === x.dim(-1)) {
    const rows = [...shape.slice(0, -1), x.b.dim(-1)];
    return adapted(reshape(x.base, shape), x.a, reshape(x.b, rows), x.scale);
  }
  const packed = x instanceof QuantizedTensor || x instanceof RoundedTensor ? x.reshaped(shape) : undefined;
  return packed ?? emitOne('reshape', [x], { shape });
}

export function transpose(x: Tensor, permutation: readonly number[]): Tensor {
  const still = permutation.length === x.rank && permutation.every((axis, i) => axis === i);
  return still ? x : emitOne('transpose', [x], { permutation });
}

export function slice(x: Tensor, start: Shape, limit: Shape, stride?: readonly number[]): Tensor {
  const steps = stride ?? x.shape.map(() => 1);
  if (start.every((from) => from === 0) && sameShape(limit, x.shape) && steps.every((step) => step === 1)) return x;
  return emitOne('slice', [x], { start, limit, stride: steps });
}

/** The part of one axis from `start` (inclusive) to `limit` (exclusive). */
export function sliceAxis(x: Tensor, axis: number, start: Dim, limit: Dim): Tensor {
  const at = axis < 0 ? x.rank + axis : axis;
  return slice(x, x.shape.map((): Dim => 0).with(at, start), x.shape.with(at, limit));
}

/** Equal parts of one axis. */
export function chunk(x: Tensor, count: number, axis: number): Tensor[] {
  const size = divideDims(x.dim(axis), count);
  let from: Dim = 0;
  return Array.from({ length: count }, () => {
    const to = addDims(from, size);
    const part = sliceAxis(x, axis, from, to);
    from = to;
    return part;
  });
}

/** Equal parts of the last axis, named: `split(linear(x, w), ['b', 'c', 'u'])`. */
export function split<const N extends readonly string[]>(x: Tensor, names: N): { readonly [K in N[number]]: Tensor } {
  const parts = chunk(x, names.length, x.rank - 1);
  return Object.fromEntries(names.map((name, i) => [name, parts[i]])) as { readonly [K in N[number]]: Tensor };
}

export function pad(x: Tensor, low: Shape, high: Shape, value = 0): Tensor {
  return [...low, ...high].every((dim) => dim === 0) ? x : emitOne('pad', [x], { low, high, value });
}

export function concatenate(parts: readonly Tensor[], axis: number): Tensor {
  const [first] = parts;
  if (first && parts.length === 1) return first;
  return emitOne('concatenate', parts, { dimension: axis < 0 ? (first?.rank ?? 0) + axis : axis });
}

export function reverse(x: Tensor, dimensions: readonly number[]): Tensor {
  return emitOne('reverse', [x], { dimensions });
}

/** Adds an axis of size 1. */
export function expandDims(x: Tensor, axis: number): Tensor {
  const at = axis < 0 ? x.rank + 1 + axis : axis;
  return reshape(x, x.shape.toSpliced(at, 0, 1));
}

// --- element by element ---

function commonShape(a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i): Dim => {
    const [x, y] = [a[i - rank + a.length] ?? 1, b[i - rank + b.length] ?? 1];
    return x === 1 ? y : x;
  });
}

function alike(a: Operand, b: Operand): [Tensor, Tensor] {
  if (typeof a === 'number') {
    if (typeof b === 'number') throw new LfmError('no-tensor', 'Arithmetic on two numbers needs no tensor function.');
    return [constantLike(b, a), b];
  }
  if (typeof b === 'number') return [a, constantLike(a, b)];
  const shape = commonShape(a.shape, b.shape);
  return [broadcastTo(a, shape), broadcastTo(b, shape)];
}

const binary =
  (kind: string) =>
  (a: Operand, b: Operand): Tensor =>
    emitOne(kind, alike(a, b));
const unary =
  (kind: string) =>
  (x: Tensor): Tensor =>
    emitOne(kind, [x]);
const comparison =
  (direction: Direction) =>
  (a: Operand, b: Operand): Tensor =>
    emitOne('compare', alike(a, b), { direction });

export const add = binary('add');
export const sub = binary('subtract');
export const mul = binary('multiply');
export const div = binary('divide');
export const pow = binary('power');
export const maximum = binary('maximum');
export const minimum = binary('minimum');
export const remainder = binary('remainder');
export const and = binary('and');
export const or = binary('or');
export const xor = binary('xor');
export const shiftLeft = binary('shift_left');
export const shiftRight = binary('shift_right_logical');
export const eq = comparison('EQ');
export const ne = comparison('NE');
export const ge = comparison('GE');
export const gt = comparison('GT');
export const le = comparison('LE');
export const lt = comparison('LT');
export const neg = unary('negate');
export const exp = unary('exponential');
export const expm1 = unary('exponential_minus_one');
export const log = unary('log');
export const log1p = unary('log_plus_one');
export const logistic = unary('logistic');
export const tanh = unary('tanh');
export const erf = unary('erf');
export const sqrt = unary('sqrt');
export const rsqrt = unary('rsqrt');
export const cos = unary('cosine');
export const sin = unary('sine');
export const abs = unary('abs');
export const sign = unary('sign');
export const floor = unary('floor');
export const roundEven = unary('round_nearest_even');
export const not = unary('not');

/** `a` where the predicate holds, else `b`; all three broadcast together. */
export function select(predicate: Tensor, a: Operand, b: Operand): Tensor {
  const [x, y] = alike(a, b);
  const shape = commonShape(predicate.shape, x.shape);
  return emitOne('select', [broadcastTo(predicate, shape), broadcastTo(x, shape), broadcastTo(y, shape)]);
}

export function cast(x: Tensor, dtype: DType): Tensor {
  return x.dtype === dtype ? x : emitOne('convert', [x], { dtype });
}

/** Holds its operands together: see the operation. */
export function optimizationBarrier(operands: readonly Tensor[]): Tensor[] {
  return emit('optimization_barrier', operands);
}

// --- reductions and products ---

const reduction =
  (reducer: Reducer) =>
  (x: Tensor, axes: readonly number[]): Tensor => {
    const sorted = axes.map((axis) => (axis < 0 ? x.rank + axis : axis)).toSorted((a, b) => a - b);
    return sorted.length ? emitOne('reduce', [x], { reducer, axes: sorted }) : x;
  };

export const sum = reduction('sum');
export const max = reduction('max');
export const min = reduction('min');

/** Mean along axes of known size. */
export function mean(x: Tensor, axes: readonly number[]): Tensor {
  const count = sizeOf(axes.map((axis) => x.dim(axis)));
  if (typeof count !== 'number')
    throw new LfmError('unbound-symbol', `mean over ${count} elements needs a known size.`);
  return mul(sum(x, axes), 1 / count);
}

export function topK(x: Tensor, k: number): { values: Tensor; indices: Tensor } {
  const [values, indices] = emit('top_k', [x], { k });
  if (!values || !indices) throw new LfmError('no-result', 'top_k gave no result.');
  return { values, indices };
}

export function dotGeneral(lhs: Tensor, rhs: Tensor, attributes: DotAttributes): Tensor {
  return emitOne('dot_general', [lhs, rhs], attributes);
}

/** y = x wᵀ: x [..., in], w [out..., in] as checkpoints store it, perhaps packed; y [..., out...]. */
export function linear(x: Tensor, w: Tensor): Tensor {
  if (w instanceof QuantizedTensor || w instanceof RoundedTensor) return w.times(x);
  if (w instanceof AdaptedTensor) {
    // The factor meets the few numbers between the two, and so do gradients.
    const low = linear(x, w.a);
    return add(linear(x, w.base), linear(w.scale === 1 ? low : mul(low, w.scale), w.b));
  }
  return dotGeneral(x, w, {
    lhsBatching: [],
    rhsBatching: [],
    lhsContracting: [x.rank - 1],
    rhsContracting: [w.rank - 1],
    preferredType: x.dtype,
  });
}

/** W [rows..., K] with the change scale * B A, of A [R, K] and B [rows..., R]: see AdaptedTensor. */
export function adapted(w: Tensor, a: Tensor, b: Tensor, scale: number): AdaptedTensor {
  const change = linear(b, transpose(a, [1, 0]));
  return new AdaptedTensor(add(w, scale === 1 ? change : mul(change, scale)), w, a, b, scale);
}

/** Matrix product over the last two axes; leading axes are batch and equal on both sides. */
export function matmul(a: Tensor, b: Tensor): Tensor {
  const batch = a.shape.slice(0, -2).map((_, axis) => axis);
  return dotGeneral(a, b, {
    lhsBatching: batch,
    rhsBatching: batch,
    lhsContracting: [a.rank - 1],
    rhsContracting: [b.rank - 2],
    preferredType: a.dtype,
  });
}

// --- indexing ---

export function gatherFrom(operand: Tensor, indices: Tensor, attributes: GatherAttributes): Tensor {
  return emitOne('gather', [operand, indices], attributes);
}

export function scatterInto(operand: Tensor, indices: Tensor, updates: Tensor, attributes: ScatterAttributes): Tensor {
  return emitOne('scatter', [operand, indices, updates], attributes);
}

/** Rows of a table [rows, ...], perhaps packed, by int32 indices of any shape. */
export function embed(indices: Tensor, table: Tensor): Tensor {
  const pick = (from: Tensor) => gatherFrom(from, indices, { axis: 0, batchDims: 0 });
  return table instanceof QuantizedTensor && table.rank === 2 ? table.rows(pick) : pick(table);
}

export function dynamicSlice(x: Tensor, starts: readonly Tensor[], sizes: Shape): Tensor {
  return emitOne('dynamic_slice', [x, ...starts], { sizes });
}

export function dynamicUpdateSlice(x: Tensor, update: Tensor, starts: readonly Tensor[]): Tensor {
  return emitOne('dynamic_update_slice', [x, update, ...starts]);
}
