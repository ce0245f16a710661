// Weights of 4 and 8 bits: products with packed matrices, rows of packed tables, symmetric and affine.
import * as t from '../../../src/tensor/index.ts';
import type { OperationCase } from '../case.ts';
import { allFloats, f, i32, testCase } from '../case.ts';

const symbols = [
  { B: 2, T: 3 },
  { B: 1, T: 1 },
];
const packed = (shape: readonly number[]) => ({ dtype: 'uint8', shape, values: { below: 256 } }) as const;
const small = { range: [0.01, 0.1] } as const;

interface Options {
  readonly form: t.QuantizedForm;
  readonly activations?: t.Activations;
  readonly columns?: number;
  readonly leading?: t.Shape;
  readonly floats?: readonly t.DType[];
}

const rows = 5;

function product(
  name: string,
  { form, activations = 'float32', leading = ['B', 'T'], ...rest }: Options,
): OperationCase {
  const { columns = 2 * form.block, floats = ['float32'] } = rest;
  const blocks = columns / form.block;
  return testCase({
    kind: 'matmul_quantized',
    name,
    inputs: {
      x: f([...leading, columns]),
      packed: packed([rows, blocks, (form.block * form.bits) / 8]),
      scales: f([rows, blocks], small),
      minimums: f([rows, blocks]),
    },
    body: ({ x, packed: levels, scales, minimums }) => {
      const parts = [levels, scales, ...(form.affine ? [minimums] : [])];
      return { y: t.linear(x, new t.QuantizedTensor(parts, form, activations)) };
    },
    // Rounding has no slope of its own: what passes through it is checked apart.
    ...(activations === 'float32' && { differentiable: ['x'] }),
    bindings: symbols,
    floats,
  });
}

const seenInParts = testCase({
  kind: 'matmul_quantized',
  name: 'matmul_quantized of a matrix that is seen as several',
  inputs: { x: f(['B', 'T', 32]), packed: packed([6, 1, 16]), scales: f([6, 1], small) },
  body: ({ x, packed: levels, scales }) => {
    const w = new t.QuantizedTensor([levels, scales], { bits: 4, block: 32, affine: false }, 'float32');
    return { y: t.linear(x, t.reshape(w, [3, 2, 32])), whole: t.sum(t.reshape(w, [12, 16]), [1]) };
  },
  differentiable: ['x'],
  bindings: symbols,
});

const rowsOf = (name: string, form: t.QuantizedForm): OperationCase =>
  testCase({
    kind: 'dequantize',
    name,
    inputs: {
      ids: i32(['B', 'T'], { below: rows }),
      packed: packed([rows, 2, (form.block * form.bits) / 8]),
      scales: f([rows, 2], small),
      minimums: f([rows, 2]),
    },
    body: ({ ids, packed: levels, scales, minimums }) => {
      const parts = [levels, scales, ...(form.affine ? [minimums] : [])];
      return { y: t.embed(ids, new t.QuantizedTensor(parts, form, 'float32')) };
    },
    differentiable: form.affine ? ['scales', 'minimums'] : ['scales'],
    bindings: symbols,
  });

const levels = (shape: readonly number[]) =>
  ({ dtype: 'int8', shape, values: { list: [-127, 3, 90, -41, 0, 77, 12] } }) as const;

/** The scales make numbers of the size of weights; x has one row of zeros where there are several. */
const rounded = (name: string, columns: number, seen?: t.Shape): OperationCase =>
  testCase({
    kind: 'matmul_rows',
    name,
    inputs: { x: f(['B', 'T', columns]), levels: levels([columns, rows + 1]), scales: f([rows + 1], small) },
    body: ({ x, levels: given, scales }) => {
      const w = new t.RoundedTensor([given, scales]);
      return { y: t.linear(x, seen ? t.reshape(w, seen) : w), none: t.linear(t.mul(x, 0), w) };
    },
    bindings: symbols,
  });

const roundedMatrix = testCase({
  kind: 'rounded_matrix',
  name: 'rounded_matrix',
  inputs: { levels: levels([64, rows]), scales: f([rows], small) },
  body: ({ levels: given, scales }) => ({ y: new t.RoundedTensor([given, scales]) }),
  differentiable: ['scales'],
});

const symmetric = { bits: 4, block: 32, affine: false } as const;
const affine = { bits: 4, block: 32, affine: true } as const;

export const quantizedCases: OperationCase[] = [
  product('matmul_quantized of 4 bits', { form: symmetric, floats: allFloats }),
  product('matmul_quantized of 4 bits with minimums', { form: affine }),
  product('matmul_quantized of one row', { form: affine, leading: [1] }),
  product('matmul_quantized in blocks of 128', { form: { bits: 4, block: 128, affine: false }, columns: 128 }),
  product('matmul_quantized of 8 bits', { form: { bits: 8, block: 32, affine: false } }),
  product('matmul_quantized of 8 bits with minimums', { form: { bits: 8, block: 32, affine: true } }),
  product('matmul_quantized with int8 activations', { form: symmetric, activations: 'int8' }),
  product('matmul_quantized with minimums and int8 activations', { form: affine, activations: 'int8' }),
  rounded('matmul_rows', 128),
  rounded('matmul_rows of blocks of 32', 96),
  rounded('matmul_rows of an odd number of columns', 7),
  rounded('matmul_rows of a matrix that is seen as several', 64, [2, 3, 64]),
  roundedMatrix,
  seenInParts,
  rowsOf('rows of a table of 4 bits', symmetric),
  rowsOf('rows of a table of 4 bits with minimums', affine),
  rowsOf('rows of a table of 8 bits', { bits: 8, block: 32, affine: false }),
];
