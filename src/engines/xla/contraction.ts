// Matrix products and reductions in StableHLO.
import type { DType } from '../../tensor/index.ts';
import { isFloat } from '../../tensor/index.ts';
import type { DotAttributes } from '../../tensor/primitives/contraction.ts';
import type { Emitter, Ref, Rule } from './emitter.ts';
import { integerArray, sumType } from './emitter.ts';

const widths: Readonly<Partial<Record<DType, number>>> = { float64: 64, float32: 32, bfloat16: 16, float16: 16 };

/** A float result narrower than the operands is rounded after the product, not inside it. */
function productType(operand: DType, result: DType): DType {
  if (!isFloat(operand) || !isFloat(result)) return result;
  return (widths[result] ?? 0) < (widths[operand] ?? 0) ? operand : result;
}

function dimensionNumbers(a: DotAttributes): string {
  const list = (name: string, axes: readonly number[]) => `${name} = [${axes.join(', ')}]`;
  const parts = [
    list('lhs_batching_dimensions', a.lhsBatching),
    list('rhs_batching_dimensions', a.rhsBatching),
    list('lhs_contracting_dimensions', a.lhsContracting),
    list('rhs_contracting_dimensions', a.rhsContracting),
  ];
  return `dot_dimension_numbers = #stablehlo.dot<${parts.join(', ')}>`;
}

interface Reduction {
  readonly op: string;
  /** What a float and an integer of `bits` bits begin with. */
  readonly start: (dtype: DType) => number;
}

function bitsOf(dtype: DType): number {
  return Number(/\d+$/.exec(dtype)?.[0] ?? 1);
}

function lowest(dtype: DType): number {
  if (isFloat(dtype)) return -Infinity;
  return dtype.startsWith('int') ? -(2 ** (bitsOf(dtype) - 1)) : 0;
}

function highest(dtype: DType): number {
  if (isFloat(dtype)) return Infinity;
  return 2 ** (dtype.startsWith('int') ? bitsOf(dtype) - 1 : bitsOf(dtype)) - 1;
}

const reductions: Readonly<Record<string, Reduction>> = {
  sum: { op: 'stablehlo.add', start: () => 0 },
  max: { op: 'stablehlo.maximum', start: lowest },
  min: { op: 'stablehlo.minimum', start: highest },
};

/** Along axes, in the operand's own type. */
export function reduced(emitter: Emitter, x: Ref, reducer: string, axes: readonly number[]): Ref {
  const { op, start } = reductions[reducer] ?? { op: 'stablehlo.add', start: () => 0 };
  const scalar = { dtype: x.dtype, shape: [] };
  const body = emitter.region([scalar, scalar], (inner, given) => [inner.one(op, given, scalar)]);
  const shape = x.shape.filter((_, axis) => !axes.includes(axis));
  const initial = emitter.scalar(x.dtype, start(x.dtype));
  return emitter.one(
    'stablehlo.reduce',
    [x, initial],
    { dtype: x.dtype, shape },
    `dimensions = ${integerArray(axes)}`,
    [body],
  );
}

export const contractionRules: Readonly<Record<string, Rule>> = {
  dot_general: (emitter, { operands: [lhs, rhs], attributes, results: [result] }) => {
    if (!lhs || !rhs || !result) return;
    const a = attributes as unknown as DotAttributes;
    const type = productType(lhs.dtype, result.dtype);
    // A program that says float32 means it: GPUs would otherwise round the factors to TF32's ten bits.
    const level = lhs.dtype === 'float32' || lhs.dtype === 'float64' ? 'HIGHEST' : 'DEFAULT';
    const precision = `precision_config = [#stablehlo<precision ${level}>, #stablehlo<precision ${level}>]`;
    const operands = [emitter.ref(lhs), emitter.ref(rhs)];
    const given = `${dimensionNumbers(a)}, ${precision}`;
    const product = emitter.one(
      'stablehlo.dot_general',
      operands,
      { dtype: type, shape: emitter.dims(result.shape) },
      given,
    );
    emitter.define(result, emitter.convert(product, result.dtype));
  },
  reduce: (emitter, { operands: [x], attributes, results: [result] }) => {
    if (!x || !result) return;
    const reducer = String(attributes.reducer);
    const type = reducer === 'sum' ? sumType(x.dtype) : x.dtype;
    const total = reduced(
      emitter,
      emitter.convert(emitter.ref(x), type),
      reducer,
      attributes.axes as readonly number[],
    );
    emitter.define(result, emitter.convert(total, result.dtype));
  },
};
