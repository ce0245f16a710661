// Products of groups of rows, and mixtures of experts made of them: groups that are empty, uneven, or leave rows over.
import * as t from '../../../src/tensor/index.ts';
import type { OperationCase } from '../case.ts';
import { emit } from '../../../src/tensor/tracer.ts';
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

/** Two experts of five for each token of [1, T]; `first`: weights of three of them, from that one on. */
const routed = (
  kind: 'experts' | 'experts_grad',
  name: string,
  tokens: number | string,
  { first, ...more }: { first?: number } & Partial<OperationCase> = {},
): OperationCase => {
  const count = first === undefined ? 5 : 3;
  return {
    ...testCase({
      kind,
      name: `${kind}, ${name}`,
      inputs: {
        x: f([1, tokens, 3]),
        indices: i32([1, tokens, 2], { list: [3, 0, 3, 4, 0, 3, 4, 2] }),
        shares: f([1, tokens, 2], { range: [0.2, 0.8] }),
        w1: f([count, 4, 3]),
        w3: f([count, 4, 3]),
        w2: f([count, 3, 4]),
        ...(kind === 'experts_grad' && { dy: f([1, tokens, 3]) }),
        ...(first !== undefined && { first: i32([], { list: [first] }) }),
      },
      body: (given: Readonly<Record<string, t.Tensor>>) => {
        const results = emit(kind, Object.values(given), { part: first !== undefined, kept: false });
        const names = kind === 'experts' ? ['y'] : ['dx', 'dShares', 'dw1', 'dw3', 'dw2'];
        return Object.fromEntries(names.flatMap((key, i) => (results[i] ? [[key, results[i]] as const] : [])));
      },
      differentiable: ['x', 'shares', 'w1', 'w3', 'w2'],
    }),
    ...more,
  };
};

export const expertCases: readonly OperationCase[] = [
  routed('experts', 'many tokens', 6, { floats: allFloats }),
  routed('experts', 'few tokens', 2),
  routed('experts', 'tokens by a symbol', 'T', { bindings: [{ T: 2 }, { T: 5 }] }),
  routed('experts', 'weights of some', 6, { first: 2 }),
  routed('experts_grad', 'many tokens', 6),
  routed('experts_grad', 'weights of some', 6, { first: 2 }),
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
