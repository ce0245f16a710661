// Products of groups of rows, and mixtures of experts made of them: groups that are empty, uneven, or leave rows over.
import * as t from '../../../src/tensor/index.ts';
import type { OperationCase } from '../case.ts';
import { allFloats, f, i32, testCase } from '../case.ts';

const ragged = (
  name: string,
  axis: 0 | 1 | 2,
  sizes: readonly number[],
  { rows = 9, partial = false, ...more }: { rows?: number; partial?: boolean } & Partial<OperationCase> = {},
): OperationCase => ({
  ...testCase({
    kind: 'ragged_dot',
    name: `ragged_dot, ${name}`,
    inputs: {
      lhs: f([rows, 4]),
      rhs: f(axis === 0 ? [rows, 3] : axis === 1 ? [sizes.length, 4, 3] : [sizes.length, 3, 4]),
      sizes: i32([sizes.length], { list: sizes }),
    },
    body: (given) => ({ y: t.raggedDot(given.lhs, given.rhs, given.sizes, axis, partial) }),
    differentiable: ['lhs', 'rhs'],
  }),
  ...more,
});

export const expertCases: readonly OperationCase[] = [
  ragged('a matrix [K, N] a group', 1, [4, 0, 5], { floats: allFloats }),
  ragged('a matrix [N, K] a group', 2, [3, 3, 3], { floats: allFloats }),
  ragged('sums over the rows of each group', 0, [2, 0, 7], { floats: allFloats }),
  ragged('rows of no group', 1, [3, 2]),
  ragged('sums that leave rows out', 0, [3, 2]),
  ragged('all rows in the last of many groups', 2, [0, 0, 0, 0, 0, 0, 9]),
  ragged('more rows than a tile', 2, [11, 0, 29], { rows: 40 }),
  ragged('sums over more rows than a tile', 0, [11, 0, 29], { rows: 40 }),
  ragged('one row', 1, [0, 1], { rows: 1 }),
  ragged('no rows', 1, [0, 0], { rows: 0 }),
  ragged('sums over no rows', 0, [0, 0], { rows: 0 }),
  ragged('a loop that ends with the groups', 1, [3, 0, 2], { rows: 40, partial: true }),
  ragged('sums in a loop that ends with the groups', 0, [3, 0, 2], { rows: 40, partial: true }),
];
