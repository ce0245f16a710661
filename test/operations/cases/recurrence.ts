// Recurrences with a matrix state: by chunks and by tokens, with decay, the delta rule, a state before, padding and documents.
import * as t from '../../../src/tensor/index.ts';
import { emit } from '../../../src/tensor/tracer.ts';
import type { OperationCase } from '../case.ts';
import { f, i32, testCase } from '../case.ts';

const decays = { range: [-0.8, -0.05] } as const;
const rates = { range: [0.1, 0.9] } as const;
const small = { range: [-0.7, 0.7] } as const;

/** B 2, G 1 or 2 key heads, H 2 heads, K 3, V 2. */
function recurrence(
  name: string,
  {
    length = 7,
    groups = 2,
    chunk = 3,
    ...parts
  }: {
    length?: number;
    groups?: number;
    chunk?: number;
    decay?: boolean;
    beta?: boolean;
    state?: boolean;
    lengths?: readonly number[];
    segments?: readonly number[];
  },
): OperationCase {
  const inputs = {
    q: f([2, length, groups, 3], small),
    k: f([2, length, groups, 3], small),
    v: f([2, length, 2, 2]),
    ...(parts.decay && { decay: f([2, length, 2], decays) }),
    ...(parts.beta && { beta: f([2, length, 2], rates) }),
    ...(parts.state && { state: f([2, 2, 3, 2]) }),
    ...(parts.lengths && { lengths: i32([2], { list: parts.lengths }) }),
    ...(parts.segments && { segments: i32([2, length], { list: parts.segments }) }),
  };
  return testCase({
    kind: 'linear_recurrence',
    name,
    inputs,
    body: (given: Readonly<Record<string, t.Tensor>>) => {
      const { q, k, v, ...rest } = given;
      if (!q || !k || !v) return {};
      const { y, next } = t.linearRecurrence(q, k, v, { ...rest, chunk });
      return { y, next };
    },
    differentiable: (['q', 'k', 'v', 'decay', 'beta', 'state'] as const).filter((key) => key in inputs) as never[],
  });
}

export const recurrenceCases: readonly OperationCase[] = [
  recurrence('linear_recurrence', {}),
  recurrence('linear_recurrence of one token', { length: 1, decay: true, state: true }),
  recurrence('linear_recurrence in one chunk', { chunk: 16, decay: true }),
  recurrence('linear_recurrence with decay and a state', { decay: true, state: true }),
  recurrence('linear_recurrence with shared keys', { groups: 1, decay: true, state: true }),
  recurrence('linear_recurrence with padding', { decay: true, state: true, lengths: [7, 4] }),
  recurrence('linear_recurrence over documents', { decay: true, segments: [0, 0, 1, 1, 1, 2, 2, 5, 5, 5, 5, 5, 5, 5] }),
  recurrence('linear_recurrence by the delta rule', { beta: true }),
  recurrence('linear_recurrence by the gated delta rule', { beta: true, decay: true, state: true }),
  recurrence('linear_recurrence by the delta rule, shared keys', { beta: true, decay: true, groups: 1 }),
  recurrence('linear_recurrence by the delta rule with padding', {
    beta: true,
    decay: true,
    state: true,
    lengths: [2, 7],
  }),
  recurrence('linear_recurrence by the delta rule over documents', {
    beta: true,
    decay: true,
    segments: [0, 0, 0, 0, 1, 1, 1, 3, 4, 4, 4, 4, 4, 4],
  }),
  recurrence('linear_recurrence by the delta rule, one token', { length: 1, beta: true, decay: true, state: true }),
  ...[false, true].map((beta) =>
    testCase({
      kind: 'linear_recurrence_grad',
      name: `linear_recurrence_grad${beta ? ' by the delta rule' : ''}`,
      inputs: {
        q: f([1, 5, 1, 2], small),
        k: f([1, 5, 1, 2], small),
        v: f([1, 5, 2, 2]),
        decay: f([1, 5, 2], decays),
        ...(beta && { beta: f([1, 5, 2], rates) }),
        dy: f([1, 5, 2, 2]),
        dNext: f([1, 2, 2, 2]),
      },
      body: (given: Readonly<Record<string, t.Tensor>>) => {
        const { dy, dNext, ...operands } = given;
        const list = Object.values(operands);
        const attributes = { chunk: 2, decay: true, beta, state: false, lengths: false, segments: false };
        const [, , states] = emit('linear_recurrence', list, attributes);
        if (!states || !dy || !dNext) return {};
        const found = emit('linear_recurrence_grad', [...list, states, dy, dNext], { ...attributes, end: true });
        return Object.fromEntries(found.map((tensor, i) => [`d${i}`, tensor]));
      },
      differentiable: ['q', 'v', 'dy', 'dNext'] as never[],
    }),
  ),
  testCase({
    kind: 'softplus',
    name: 'softplus',
    inputs: { x: f([9], { distinct: [-30, 30] }) },
    body: ({ x }) => ({ y: t.softplus(x) }),
    differentiable: ['x'],
  }),
  ...[5, 8, 13].map((size) =>
    testCase({
      kind: 'unit_lower_inverse',
      name: `unit_lower_inverse of ${size}`,
      inputs: { a: f([2, size, size], small) },
      body: ({ a }) => ({ y: t.unitLowerInverse(a) }),
      differentiable: ['a'],
    }),
  ),
];
