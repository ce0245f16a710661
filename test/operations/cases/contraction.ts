// dot_general: batch axes anywhere, several contracting axes in any order, wider result types.
import * as t from '../../../src/tensor/index.ts';
import type { InputSpec, OperationCase } from '../case.ts';
import { allFloats, f, i32, testCase } from '../case.ts';

const symbols = [
  { B: 2, T: 3 },
  { B: 1, T: 5 },
];
const both = { differentiable: ['a', 'b'] };

type Axes = Omit<Parameters<typeof t.dotGeneral>[2], 'preferredType'>;
const dot = (
  name: string,
  a: InputSpec,
  b: InputSpec,
  axes: Partial<Axes>,
  more: Partial<OperationCase> = {},
): OperationCase => ({
  ...testCase({
    kind: 'dot_general',
    name: `dot_general, ${name}`,
    inputs: { a, b },
    body: ({ a, b }) => ({
      y: t.dotGeneral(a, b, {
        lhsBatching: [],
        rhsBatching: [],
        lhsContracting: [],
        rhsContracting: [],
        ...axes,
        preferredType: a.dtype,
      }),
    }),
  }),
  ...more,
});

export const contractionCases: readonly OperationCase[] = [
  dot(
    'matrix by matrix',
    f([3, 4]),
    f([4, 2]),
    { lhsContracting: [1], rhsContracting: [0] },
    { ...both, floats: allFloats },
  ),
  dot('both transposed', f([4, 3]), f([2, 4]), { lhsContracting: [0], rhsContracting: [1] }, both),
  dot(
    'few columns, all but the last axis contracted',
    f([2, 3, 33]),
    f([2, 3, 2]),
    { lhsContracting: [0, 1], rhsContracting: [0, 1] },
    both,
  ),
  dot(
    'few columns in a wide type',
    f([3, 4, 8]),
    f([3, 1]),
    { lhsContracting: [0], rhsContracting: [0] },
    { floats: allFloats },
  ),
  dot('vector by vector', f([5]), f([5]), { lhsContracting: [0], rhsContracting: [0] }, both),
  dot('matrix by vector', f([2, 5]), f([5]), { lhsContracting: [1], rhsContracting: [0] }, both),
  dot('outer product', f([3]), f([2, 2]), {}, both),
  dot('scalar by matrix', f([]), f([2, 3]), {}, both),
  dot('axes of one', f([1, 1]), f([1, 1]), { lhsContracting: [1], rhsContracting: [0] }, both),
  dot(
    'leading batch',
    f([2, 3, 4]),
    f([2, 4, 2]),
    { lhsBatching: [0], rhsBatching: [0], lhsContracting: [2], rhsContracting: [1] },
    { ...both, floats: allFloats },
  ),
  dot(
    'batch that does not lead',
    f([3, 2, 4]),
    f([4, 5, 2]),
    { lhsBatching: [1], rhsBatching: [2], lhsContracting: [2], rhsContracting: [0] },
    both,
  ),
  dot(
    'two batch axes, crossed',
    f([2, 3, 4]),
    f([3, 4, 2]),
    { lhsBatching: [1, 0], rhsBatching: [0, 2], lhsContracting: [2], rhsContracting: [1] },
    both,
  ),
  dot('batch alone', f([3, 2]), f([3, 2]), { lhsBatching: [0, 1], rhsBatching: [0, 1] }, both),
  dot('several contracting axes', f([2, 3, 4]), f([3, 4, 5]), { lhsContracting: [1, 2], rhsContracting: [0, 1] }, both),
  dot(
    'contracting axes out of order',
    f([2, 3, 4]),
    f([3, 5, 4]),
    { lhsContracting: [2, 1], rhsContracting: [2, 0] },
    both,
  ),
  dot(
    'contracting axes out of order on the right',
    f([3, 2, 4]),
    f([4, 2, 3]),
    { lhsContracting: [0, 2], rhsContracting: [2, 0] },
    both,
  ),
  dot(
    'batch and several contracting',
    f([2, 3, 2, 4]),
    f([4, 2, 5, 3]),
    { lhsBatching: [2], rhsBatching: [1], lhsContracting: [3, 1], rhsContracting: [0, 3] },
    both,
  ),
  dot('nothing contracted is a sum of nothing', f([2, 0]), f([0, 3]), { lhsContracting: [1], rhsContracting: [0] }),
  dot('no rows', f([0, 3]), f([3, 2]), { lhsContracting: [1], rhsContracting: [0] }),
  dot('int32', i32([2, 3], { list: [1, -2, 3, 40, -5, 6] }), i32([3, 2], { list: [7, 8, -9, 10, 11, -12] }), {
    lhsContracting: [1],
    rhsContracting: [0],
  }),
  dot(
    'symbols for batch and rows',
    f(['B', 'T', 3]),
    f(['B', 3, 'T']),
    { lhsBatching: [0], rhsBatching: [0], lhsContracting: [2], rhsContracting: [1] },
    { ...both, bindings: symbols },
  ),
  dot(
    'a symbol contracted',
    f(['B', 'T', 2]),
    f(['B', 'T', 3]),
    { lhsContracting: [0, 1], rhsContracting: [0, 1] },
    { ...both, bindings: symbols },
  ),
  testCase({
    kind: 'dot_general',
    name: 'dot_general, 16 bits in and float32 out',
    inputs: { a: f([3, 8]), b: f([2, 8]) },
    body: ({ a, b }, float) => ({
      y: t.dotGeneral(a, b, {
        lhsBatching: [],
        rhsBatching: [],
        lhsContracting: [1],
        rhsContracting: [1],
        preferredType: float === 'float64' ? 'float64' : 'float32',
      }),
    }),
    differentiable: ['a', 'b'],
    floats: allFloats,
  }),
  testCase({
    kind: 'dot_general',
    name: 'dot_general, 400 terms in 16 bits',
    // Equal terms: partial sums kept in bfloat16 would stop growing at 256.
    inputs: { a: f([1, 400], { list: [1] }), b: f([400, 2], { list: [1, 0.5] }) },
    body: ({ a, b }) => ({ y: t.matmul(a, b) }),
    floats: allFloats,
  }),
  testCase({
    kind: 'dot_general',
    name: 'linear',
    inputs: { x: f(['B', 'T', 4]), w: f([3, 4]) },
    body: ({ x, w }) => ({ y: t.linear(x, w) }),
    differentiable: ['x', 'w'],
    bindings: symbols,
    floats: allFloats,
  }),
  testCase({
    kind: 'dot_general',
    name: 'matmul with batch',
    inputs: { a: f([2, 2, 3, 4]), b: f([2, 2, 4, 2]) },
    body: ({ a, b }) => ({ y: t.matmul(a, b) }),
    differentiable: ['a', 'b'],
  }),
  testCase({
    kind: 'dot_general',
    name: 'a tensor times itself',
    inputs: { x: f([3, 3]) },
    body: ({ x }) => ({ y: t.matmul(x, x) }),
    differentiable: ['x'],
  }),
];
