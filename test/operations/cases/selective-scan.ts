// Selective scans: by chunks and by tokens, with a state before, padding and documents.
import * as t from '../../../src/tensor/index.ts';
import { emit } from '../../../src/tensor/tracer.ts';
import type { OperationCase } from '../case.ts';
import { f, i32, testCase } from '../case.ts';

const steps = { range: [0.1, 0.9] } as const;
const rates = { range: [-1.5, -0.2] } as const;

interface Given {
  readonly batch?: t.Dim;
  readonly length?: t.Dim;
  readonly chunk?: number;
  readonly state?: boolean;
  readonly lengths?: readonly number[];
  readonly segments?: readonly number[];
}

/** D 3, N 2. */
function selective(name: string, { batch = 2, length = 7, chunk = 3, ...parts }: Given): OperationCase {
  const inputs = {
    x: f([batch, length, 3]),
    dt: f([batch, length, 3], steps),
    a: f([3, 2], rates),
    b: f([batch, length, 2]),
    c: f([batch, length, 2]),
    ...(parts.state && { state: f([batch, 3, 2]) }),
    ...(parts.lengths && { lengths: i32([batch], { list: parts.lengths }) }),
    ...(parts.segments && { segments: i32([batch, length], { list: parts.segments }) }),
  };
  return testCase({
    kind: 'selective_scan',
    name,
    inputs,
    body: (given: Readonly<Record<string, t.Tensor>>) => {
      const { x, dt, a, b, c, ...rest } = given;
      if (!x || !dt || !a || !b || !c) return {};
      const { y, next } = t.selectiveScan(x, dt, a, { b, c }, { ...rest, chunk });
      return { y, next };
    },
    ...(typeof length === 'string' && { bindings: [{ [length]: 1 }, { [length]: 5 }] }),
    ...(typeof batch === 'string' && { bindings: [{ [batch]: 3 }] }),
    differentiable: (['x', 'dt', 'a', 'b', 'c', 'state'] as const).filter((key) => key in inputs) as never[],
  });
}

export const selectiveScanCases: readonly OperationCase[] = [
  selective('selective_scan', {}),
  selective('selective_scan of one token', { length: 1, state: true }),
  selective('selective_scan of a length told later', { length: 'T', state: true }),
  selective('selective_scan of a batch told later', { batch: 'B', state: true }),
  selective('selective_scan in one chunk', { chunk: 16, state: true }),
  selective('selective_scan with padding', { state: true, lengths: [7, 4] }),
  selective('selective_scan over documents', { segments: [0, 0, 1, 1, 1, 2, 2, 5, 5, 5, 5, 5, 5, 5] }),
  testCase({
    kind: 'selective_scan_grad',
    name: 'selective_scan_grad',
    inputs: {
      x: f([1, 5, 2]),
      dt: f([1, 5, 2], steps),
      a: f([2, 2], rates),
      b: f([1, 5, 2]),
      c: f([1, 5, 2]),
      dy: f([1, 5, 2]),
      dNext: f([1, 2, 2]),
    },
    body: (given: Readonly<Record<string, t.Tensor>>) => {
      const { dy, dNext, ...operands } = given;
      const list = Object.values(operands);
      const attributes = { chunk: 2, state: false, lengths: false, segments: false };
      const [, , states] = emit('selective_scan', list, attributes);
      if (!states || !dy || !dNext) return {};
      const found = emit('selective_scan_grad', [...list, states, dy, dNext], { ...attributes, end: true });
      return Object.fromEntries(found.map((tensor, i) => [`d${i}`, tensor]));
    },
    differentiable: ['x', 'dt', 'dy', 'dNext'] as never[],
  }),
];
