// gather, scatter and dynamic_update_slice in ONNX.
import type { Dim, Shape, Value } from '../../tensor/index.ts';
import type { GatherAttributes, ScatterAttributes } from '../../tensor/primitives/indexing.ts';
import type { Lowering, Rule } from './lowering.ts';
import { castSpec, computeType } from './lowering.ts';
import { windowStarts } from './movement.ts';

interface Rows {
  readonly name: string;
  readonly shape: Shape;
}

/** Axis order that brings `axis` right behind the batch axes, and its inverse. */
function orders(rank: number, { axis, batchDims }: GatherAttributes): { there: number[]; back: number[] } {
  const rest = Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis);
  const there = [...rest.slice(0, batchDims), axis, ...rest.slice(batchDims)];
  return { there, back: there.map((_, i) => there.indexOf(i)) };
}

function moved(lowering: Lowering, { name, shape }: Rows, order: readonly number[]): Rows {
  if (order.every((axis, index) => axis === index)) return { name, shape };
  const perm = { attributes: { perm: { ints: order } } };
  return { name: lowering.node('Transpose', [name], perm), shape: order.map((axis) => shape[axis] ?? 1) };
}

/** Indices [batch..., picked..., 1] as coordinates [batch..., picked..., batchDims + 1] for ScatterND. */
export function coordinates(lowering: Lowering, indices: string, shape: Shape, batchDims: number): string {
  const parts = Array.from({ length: batchDims }, (_, axis) => {
    const size = shape[axis] ?? 1;
    const line = lowering.indices(size);
    const placed = [...shape, 1].map((_, i): Dim => (i === axis ? size : 1));
    return lowering.node('Expand', [lowering.reshaped(line, [size], placed), lowering.shapeTensor([...shape, 1])]);
  });
  const last = lowering.reshaped(indices, shape, [...shape, 1]);
  return parts.length
    ? lowering.node('Concat', [...parts, last], { attributes: { axis: { int: shape.length } } })
    : last;
}

/** Indices as int64, and the size of the axis they walk. */
function loaded(lowering: Lowering, indices: Value, size: Dim): { at: string; size: string } {
  return { at: lowering.cast(lowering.name(indices), 'int64'), size: lowering.dimScalar(size) };
}

/** The picked axes of the result moved from behind the batch axes to where `axis` was: they are `count` axes wide. */
function placed(rank: number, { axis, batchDims }: GatherAttributes, count: number): number[] {
  const head = Array.from({ length: batchDims }, (_, i) => i);
  const picked = Array.from({ length: count }, (_, i) => batchDims + i);
  const middle = Array.from({ length: axis - batchDims }, (_, i) => batchDims + count + i);
  const tail = Array.from({ length: rank - 1 - axis }, (_, i) => count + axis + i);
  return [...head, ...middle, ...picked, ...tail];
}

export const indexingRules: Readonly<Record<string, Rule>> = {
  gather: (lowering, { operands: [x, indices], attributes, results: [result] }) => {
    if (!x || !indices || !result) return;
    const a = attributes as unknown as GatherAttributes;
    const { at, size } = loaded(lowering, indices, x.shape[a.axis] ?? 1);
    const zero = lowering.constant('int64', [], [0]);
    const inside = lowering.node('Max', [
      lowering.node('Min', [at, lowering.node('Sub', [size, lowering.constant('int64', [], [1])])]),
      zero,
    ]);
    if (a.batchDims === 0) {
      return lowering.define(result, 'Gather', [lowering.name(x), inside], { attributes: { axis: { int: a.axis } } });
    }
    const count = indices.shape.length - a.batchDims;
    const source = moved(lowering, { name: lowering.name(x), shape: x.shape }, orders(x.shape.length, a).there);
    const spec = { attributes: { batch_dims: { int: a.batchDims } } };
    const inputs = [source.name, lowering.reshaped(inside, indices.shape, [...indices.shape, 1])];
    const order = placed(x.shape.length, a, count);
    if (order.every((axis, index) => axis === index)) return lowering.define(result, 'GatherND', inputs, spec);
    lowering.define(result, 'Transpose', [lowering.node('GatherND', inputs, spec)], {
      attributes: { perm: { ints: order } },
    });
  },
  scatter: (lowering, { operands: [x, indices, updates], attributes, results: [result] }) => {
    if (!x || !indices || !updates || !result) return;
    const a = attributes as unknown as ScatterAttributes;
    const type = a.reducer === 'add' ? computeType(x.dtype) : x.dtype;
    const load = (value: Value) =>
      type === value.dtype ? lowering.name(value) : lowering.cast(lowering.name(value), type);
    const { there, back } = orders(x.shape.length, a);
    const count = indices.shape.length - a.batchDims;
    const order = placed(x.shape.length, a, count);
    const source = moved(lowering, { name: load(x), shape: x.shape }, there);
    const rows = moved(
      lowering,
      { name: load(updates), shape: updates.shape },
      order.map((_, axis) => order.indexOf(axis)),
    );
    // ScatterND refuses what lies outside; the meaning is to leave it out: those rows go to one extra row, cut off again.
    const { at, size } = loaded(lowering, indices, x.shape[a.axis] ?? 1);
    const zero = lowering.constant('int64', [], [0]);
    const outside = lowering.node('Or', [
      lowering.node('Less', [at, zero]),
      lowering.node('GreaterOrEqual', [at, size]),
    ]);
    const spec = a.reducer === 'add' ? { attributes: { reduction: { string: 'add' } } } : {};
    const finish = (name: string, shape: Shape) => {
      const turned = moved(lowering, { name, shape }, back).name;
      if (type === result.dtype) lowering.define(result, 'Identity', [turned]);
      else lowering.define(result, 'Cast', [turned], castSpec(result.dtype));
    };
    if (a.reducer === 'add') {
      const inside = lowering.node('Where', [outside, zero, at]);
      const wide = [...indices.shape, ...rows.shape.slice(indices.shape.length).map((): Dim => 1)];
      const kept = lowering.node('Where', [
        lowering.reshaped(outside, indices.shape, wide),
        lowering.constant(type, [], [0]),
        rows.name,
      ]);
      return finish(
        lowering.node(
          'ScatterND',
          [source.name, coordinates(lowering, inside, indices.shape, a.batchDims), kept],
          spec,
        ),
        source.shape,
      );
    }
    const axis = a.batchDims;
    const extra = source.shape.with(axis, 1);
    const grown = lowering.node(
      'Concat',
      [source.name, lowering.expanded(zeroOf(lowering, type), { dtype: type, shape: extra })],
      {
        attributes: { axis: { int: axis } },
      },
    );
    const parked = lowering.node('Where', [outside, size, at]);
    const put = lowering.node(
      'ScatterND',
      [grown, coordinates(lowering, parked, indices.shape, a.batchDims), rows.name],
      spec,
    );
    const end = lowering.dimTensor(x.shape[a.axis] ?? 1);
    finish(lowering.node('Slice', [put, lowering.integers([0]), end, lowering.integers([axis])]), source.shape);
  },
  dynamic_update_slice: (lowering, { operands: [x, update, ...starts], results: [result] }) => {
    if (!x || !update || !result) return;
    const from = windowStarts(lowering, x, starts, update.shape);
    const axes = x.shape.map((_, axis) => axis).filter((axis) => x.shape[axis] !== update.shape[axis]);
    lowering.define(result, 'Identity', [
      written(lowering, lowering.name(x), lowering.name(update), update.shape, from, axes),
    ]);
  },
};

function zeroOf(lowering: Lowering, dtype: Value['dtype']): string {
  if (dtype === 'bfloat16' || dtype === 'float16') return lowering.cast(lowering.constant('float32', [1], [0]), dtype);
  return lowering.constant(dtype, [1], [0]);
}

/** `x` with the window overwritten, one axis after the other: what lies before it, the window, what lies after it. */
function written(
  lowering: Lowering,
  x: string,
  update: string,
  window: Shape,
  from: string,
  axes: readonly number[],
): string {
  const [axis, ...rest] = axes;
  if (axis === undefined) return update;
  const start = lowering.node('Slice', [
    from,
    lowering.integers([axis]),
    lowering.integers([axis + 1]),
    lowering.integers([0]),
  ]);
  const end = lowering.node('Add', [start, lowering.dimTensor(window[axis] ?? 1)]);
  const part = (a: string, b: string) => lowering.node('Slice', [x, a, b, lowering.integers([axis])]);
  const inner = rest.length ? written(lowering, part(start, end), update, window, from, rest) : update;
  const parts = [part(lowering.integers([0]), start), inner, part(end, lowering.integers([Number.MAX_SAFE_INTEGER]))];
  return lowering.node('Concat', parts, { attributes: { axis: { int: axis } } });
}
