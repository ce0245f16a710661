// Reductions and the largest k.
import * as t from '../../../src/tensor/index.ts';
import type { InputSpec, OperationCase } from '../case.ts';
import { allFloats, f, i32, testCase, u32 } from '../case.ts';

const symbols = [
  { B: 2, T: 3 },
  { B: 1, T: 5 },
];

type Reduction = typeof t.sum;
const reduced = (
  name: string,
  x: InputSpec,
  fn: Reduction,
  axes: readonly number[],
  more: Partial<OperationCase> = {},
): OperationCase => ({
  ...testCase({ kind: 'reduce', name, inputs: { x }, body: ({ x }) => ({ y: fn(x, axes) }) }),
  ...more,
});

const reducers = { sum: t.sum, max: t.max, min: t.min };
const everyReducer = Object.entries(reducers).flatMap(([name, fn]): OperationCase[] => {
  const dx = { differentiable: ['x'] };
  const spread = { distinct: [-2, 2] } as const;
  return [
    reduced(`reduce ${name} of the last axis`, f([2, 3, 4], spread), fn, [-1], { ...dx, floats: allFloats }),
    reduced(`reduce ${name} of a middle axis`, f([2, 3, 2], spread), fn, [1], dx),
    reduced(`reduce ${name} of two axes, given out of order`, f([2, 3, 4], spread), fn, [-1, 0], dx),
    reduced(`reduce ${name} of everything`, f([3, 4], spread), fn, [0, 1], dx),
    reduced(`reduce ${name} of axes of one`, f([1, 3, 1], spread), fn, [0, 2], dx),
    reduced(`reduce ${name} to nothing`, f([0, 3]), fn, [1]),
    reduced(
      `reduce ${name} with NaN and infinities`,
      f([4, 2], { list: [NaN, 1, Infinity, 1, -Infinity, 3, 1, 2] }),
      fn,
      [1],
    ),
    reduced(`reduce ${name} of int32`, i32([3, 3], { list: [5, -7, 3, 2147483647, -2147483648, 1, 0] }), fn, [1]),
    reduced(`reduce ${name} of uint32`, u32([2, 3]), fn, [0]),
    reduced(`reduce ${name} with symbols`, f(['B', 'T', 2], spread), fn, [1], { ...dx, bindings: symbols }),
    reduced(`reduce ${name} of the batch`, f(['B', 'T', 2], spread), fn, [0, 1], { ...dx, bindings: symbols }),
  ];
});

const otherReductions: OperationCase[] = [
  reduced('reduce sum of nothing is zero', f([2, 0]), t.sum, [1]),
  reduced('reduce max of nothing is minus infinity', f([2, 0]), t.max, [1]),
  reduced('reduce min of nothing is infinity', f([2, 0]), t.min, [1]),
  // 300 equal terms: sums in bfloat16 would stop growing at 256.
  reduced('reduce sum of many', f([2, 300], { list: [1] }), t.sum, [1], { floats: allFloats }),
  // One after another in float32, a million squares lose about a hundredth: the norm of all gradients is such a sum.
  testCase({
    kind: 'reduce',
    name: 'reduce sum of a million squares',
    inputs: { x: f([256, 4096], { list: [1e-3, 3e-4, 2e-3] }) },
    body: ({ x }) => ({ y: t.sum(t.mul(x, x), [0, 1]) }),
    tolerance: { relative: 1e-5, absolute: 0 },
  }),
  reduced('reduce sum over strided axes', f([3, 2, 2, 3]), t.sum, [0, 2], { differentiable: ['x'] }),
  reduced('mean', f([2, 3, 5]), t.mean, [0, 2], { differentiable: ['x'], floats: allFloats }),
  testCase({
    kind: 'reduce',
    name: 'equal maxima share the cotangent',
    inputs: { x: f([2, 4], { list: [1, 3, 3, 0, 2, 2, 2, 1] }) },
    // A sum of two rows that tie only with themselves: differences would see the kink, so the check is in the unit tests.
    body: ({ x }) => ({ y: t.max(x, [1]), least: t.min(x, [1]) }),
  }),
];

const topK = (name: string, x: InputSpec, k: number, more: Partial<OperationCase> = {}): OperationCase => ({
  ...testCase({ kind: 'top_k', name, inputs: { x }, body: ({ x }) => ({ ...t.topK(x, k) }) }),
  ...more,
});
const spread = { distinct: [-3, 3] } as const;
const topKCases: OperationCase[] = [
  topK('top_k', f([3, 6], spread), 2, { differentiable: ['x'], floats: allFloats }),
  topK('top_k of all', f([2, 4], spread), 4, { differentiable: ['x'] }),
  topK('top_k of one row', f([5], spread), 1, { differentiable: ['x'] }),
  topK('top_k of three axes', f([2, 2, 5], spread), 3, { differentiable: ['x'] }),
  topK('top_k of equal values keeps the lower index', f([2, 6], { list: [1, 3, 3, 0, 3, 2, 2, 2, 2, 2, 2, 2] }), 3),
  topK('top_k with infinities', f([1, 5], { list: [-Infinity, 2, Infinity, -1, -Infinity] }), 5),
  topK('top_k of int32', i32([2, 5], { list: [4, 9, -3, 0, 7, 1, 2, 3, -9, 8] }), 2),
  topK('top_k with symbols', f(['B', 'T', 5], spread), 2, { differentiable: ['x'], bindings: symbols }),
];

export const reductionCases: readonly OperationCase[] = [...everyReducer, ...otherReductions, ...topKCases];
