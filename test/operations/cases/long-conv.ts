// Long convolutions: in chunks of different sizes, over documents, and their gradient as an operation.
import * as t from '../../../src/tensor/index.ts';
import { emit } from '../../../src/tensor/tracer.ts';
import type { OperationCase } from '../case.ts';
import { f, i32, testCase } from '../case.ts';

interface Given {
  readonly batch?: t.Dim;
  readonly documents?: readonly number[];
}

function long(name: string, length: number, chunk: number, { batch = 2, documents }: Given = {}): OperationCase {
  return testCase({
    kind: 'long_conv',
    name,
    inputs: {
      h: f([length, 3]),
      z: f([batch, length, 3]),
      ...(documents && { segments: i32([batch, length], { list: documents }) }),
    },
    body: ({ h, z, segments }: Readonly<Record<string, t.Tensor>>) =>
      h && z ? { y: t.longConv(h, z, { segments, chunk }) } : {},
    ...(typeof batch === 'string' && { bindings: [{ [batch]: 3 }] }),
    differentiable: ['h', 'z'] as never[],
  });
}

export const longConvCases: readonly OperationCase[] = [
  long('long_conv', 8, 4),
  long('long_conv with a rest', 7, 3),
  long('long_conv in one chunk', 5, 16),
  long('long_conv of one token', 1, 4),
  long('long_conv of a batch told later', 5, 2, {
    batch: 'B',
    documents: [0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 3, 4, 5, 5, 5],
  }),
  long('long_conv over documents', 7, 3, { documents: [0, 0, 1, 1, 1, 2, 2, 5, 5, 5, 5, 5, 5, 5] }),
  long('long_conv over documents of a chunk', 8, 2, { documents: [0, 0, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 5, 5, 5] }),
  long('long_conv over short documents', 4, 8, { documents: [0, 1, 1, 2, 3, 3, 3, 3] }),
  testCase({
    kind: 'long_conv_grad',
    name: 'long_conv_grad',
    inputs: { h: f([5, 2]), z: f([1, 5, 2]), dy: f([1, 5, 2]) },
    body: ({ h, z, dy }) => {
      const [dh, dz] = emit('long_conv_grad', [h, z, dy], { chunk: 2, segments: false });
      return dh && dz ? { dh, dz } : {};
    },
    differentiable: ['h', 'z', 'dy'],
  }),
];
