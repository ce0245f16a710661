// Primitives that make or move data, in ONNX.
import type { Dim, DType, HostArray, Shape, Value } from '../../tensor/index.ts';
import { LfmError, subtractDims } from '../../tensor/index.ts';
import type { Lowering, Rule } from './lowering.ts';
import { castSpec } from './lowering.ts';

const ones = (rank: number): Shape => Array.from({ length: rank }, () => 1);

/** Cast through float32 for types that a kernel lacks. */
function through(
  lowering: Lowering,
  x: Value | undefined,
  result: Value | undefined,
  build: (name: string) => [string, string[]],
): void {
  if (!x || !result) return;
  if (x.dtype !== 'bfloat16') {
    const [opType, inputs] = build(lowering.name(x));
    return lowering.define(result, opType, inputs);
  }
  const [opType, inputs] = build(lowering.cast(lowering.name(x), 'float32'));
  lowering.define(result, 'Cast', [lowering.node(opType, inputs)], castSpec('bfloat16'));
}

function range(lowering: Lowering, dtype: DType, size: Dim): string {
  if (typeof size === 'number' && size <= 4096)
    return lowering.constant(
      dtype,
      [size],
      Array.from({ length: size }, (_, i) => i),
    );
  return lowering.cast(lowering.indices(size), dtype);
}

export const movementRules: Readonly<Record<string, Rule>> = {
  constant: (lowering, { attributes, results: [result] }) => {
    if (!result) return;
    const { data, value } = attributes;
    if (ArrayBuffer.isView(data)) {
      const dims = result.shape.filter((dim) => typeof dim === 'number');
      return lowering.set(
        result,
        lowering.graph.initializer(
          `data.${result.id}.${lowering.graph.initializers.length}`,
          result.dtype,
          dims,
          data as HostArray,
        ),
      );
    }
    const small = result.dtype === 'bfloat16' || result.dtype === 'float16';
    const name = small
      ? lowering.cast(
          lowering.constant('float32', ones(result.shape.length) as number[], [Number(value)]),
          result.dtype,
        )
      : lowering.constant(result.dtype, ones(result.shape.length) as number[], [Number(value)]);
    lowering.setSpread(result, { name, shape: ones(result.shape.length) });
  },
  iota: (lowering, { attributes, results: [result] }) => {
    if (!result) return;
    const dimension = Number(attributes.dimension);
    const size = result.shape[dimension] ?? 1;
    const shape = ones(result.shape.length).with(dimension, size);
    const wide = result.dtype === 'bfloat16' || result.dtype === 'float16';
    const line = range(lowering, wide ? 'float32' : result.dtype, size);
    const name = lowering.reshaped(wide ? lowering.cast(line, result.dtype) : line, [size], shape);
    lowering.setSpread(result, { name, shape });
  },
  broadcast_in_dim: (lowering, { operands: [x], attributes, results: [result] }) => {
    if (!x || !result) return;
    const dimensions = attributes.dimensions as readonly number[];
    const { name, shape } = lowering.spread(x);
    const placed = result.shape.map((_, axis): Dim => {
      const from = dimensions.indexOf(axis);
      return from < 0 ? 1 : (shape[from] ?? 1);
    });
    const ordered = dimensions.every((axis, index) => index === 0 || axis > (dimensions[index - 1] ?? 0));
    if (ordered) return lowering.setSpread(result, { name: lowering.reshaped(name, shape, placed), shape: placed });
    const order = dimensions.map((_, index) => index).toSorted((a, b) => (dimensions[a] ?? 0) - (dimensions[b] ?? 0));
    const moved = lowering.node('Transpose', [name], { attributes: { perm: { ints: order } } });
    const from = order.map((axis) => shape[axis] ?? 1);
    lowering.setSpread(result, { name: lowering.reshaped(moved, from, placed), shape: placed });
  },
  reshape: (lowering, { operands: [x], results: [result] }) => {
    if (x && result) lowering.setViewOf(result, x);
  },
  transpose: (lowering, { operands: [x], attributes, results: [result] }) => {
    lowering.define(result, 'Transpose', [lowering.name(x)], {
      attributes: { perm: { ints: attributes.permutation as readonly number[] } },
    });
  },
  slice: (lowering, { operands: [x], attributes, results: [result] }) => {
    if (!x || !result) return;
    const [start, limit, stride] = [
      attributes.start as Shape,
      attributes.limit as Shape,
      attributes.stride as readonly number[],
    ];
    const axes = x.shape
      .map((_, axis) => axis)
      .filter((axis) => start[axis] !== 0 || limit[axis] !== x.shape[axis] || stride[axis] !== 1);
    const pick = (dims: readonly Dim[]) => axes.map((axis) => dims[axis] ?? 0);
    through(lowering, x, result, (name) => [
      'Slice',
      [
        name,
        lowering.shapeTensor(pick(start)),
        lowering.shapeTensor(pick(limit)),
        lowering.integers(axes),
        lowering.shapeTensor(pick(stride)),
      ],
    ]);
  },
  pad: (lowering, { operands: [x], attributes, results: [result] }) => {
    if (!x || !result) return;
    const pads = [...(attributes.low as Shape), ...(attributes.high as Shape)];
    if (x.dtype === 'bool') {
      const padded = lowering.node('Pad', [
        lowering.cast(lowering.name(x), 'int32'),
        lowering.shapeTensor(pads),
        lowering.constant('int32', [], [Number(attributes.value)]),
      ]);
      return lowering.define(result, 'Cast', [padded], castSpec('bool'));
    }
    const type = x.dtype === 'bfloat16' || x.dtype === 'float16' ? 'float32' : x.dtype;
    const fill = lowering.constant(type, [], [Number(attributes.value)]);
    if (type === x.dtype) return lowering.define(result, 'Pad', [lowering.name(x), lowering.shapeTensor(pads), fill]);
    const padded = lowering.node('Pad', [lowering.cast(lowering.name(x), type), lowering.shapeTensor(pads), fill]);
    lowering.define(result, 'Cast', [padded], castSpec(x.dtype));
  },
  concatenate: (lowering, { operands, attributes, results: [result] }) => {
    const names = operands.filter(({ shape }) => !shape.includes(0)).map((operand) => lowering.name(operand));
    const [only] = names;
    if (names.length === 1 && only) return lowering.define(result, 'Identity', [only]);
    lowering.define(result, 'Concat', names.length ? names : operands.map((operand) => lowering.name(operand)), {
      attributes: { axis: { int: Number(attributes.dimension) } },
    });
  },
  reverse: (lowering, { operands: [x], attributes, results: [result] }) => {
    const axes = attributes.dimensions as readonly number[];
    const all = (value: number) => lowering.integers(axes.map(() => value));
    through(lowering, x, result, (name) => [
      'Slice',
      [name, all(-1), all(Number.MIN_SAFE_INTEGER), lowering.integers(axes), all(-1)],
    ]);
  },
  dynamic_slice: (lowering, { operands: [x, ...starts], attributes, results: [result] }) => {
    if (!x || !result) return;
    const sizes = attributes.sizes as Shape;
    const from = windowStarts(lowering, x, starts, sizes);
    const to = lowering.node('Add', [from, lowering.shapeTensor(sizes)]);
    through(lowering, x, result, (name) => [
      'Slice',
      [name, from, to, lowering.integers(sizes.map((_, axis) => axis))],
    ]);
  },
};

/** int64 [rank]: window starts, clamped so that the window lies inside. */
export function windowStarts(lowering: Lowering, x: Value, starts: readonly Value[], sizes: Shape): string {
  if (starts.length === 0) throw new LfmError('shape-mismatch', 'dynamic_slice of a scalar has nothing to slice.');
  const lines = starts.map((start) => lowering.reshaped(lowering.name(start), [], [1]));
  const raw = lowering.cast(lowering.node('Concat', lines, { attributes: { axis: { int: 0 } } }), 'int64');
  const room = lowering.shapeTensor(x.shape.map((dim, axis) => subtractDims(dim, sizes[axis] ?? 0)));
  return lowering.node('Max', [lowering.node('Min', [raw, room]), lowering.constant('int64', [], [0])]);
}
