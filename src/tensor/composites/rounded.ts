// matmul_rows and rounded_matrix: products of whole rows of int8, for many rows at once. One scale a row would suit rows with a
// few large elements badly, so rows are turned first: by blocks, by an orthogonal matrix that spreads each element over its block
// (Ashkboos et al. 2024, QuaRot). Both sides of a product turned alike give the same product.
// Shapes: N rows of weights, K columns.
import { defineComposite } from '../definition.ts';
import { LfmError } from '../error.ts';
import {
  abs,
  broadcastTo,
  cast,
  constant,
  div,
  dotGeneral,
  expandDims,
  gt,
  max,
  mul,
  reshape,
  roundEven,
  select,
  transpose,
} from '../functions.ts';
import type { Tensor } from '../tracer.ts';

const LARGEST_TURN = 64;

/** Columns that are turned together: the largest power of two that divides their number, up to 64. */
export function turnSize(columns: number): number {
  let size = 1;
  while (size < LARGEST_TURN && columns % (2 * size) === 0) size *= 2;
  return size;
}

/** Sylvester's Hadamard matrix over the root of its size, row by row: symmetric, and its own inverse. */
export function hadamard(size: number): Float32Array {
  const isOdd = (bits: number): boolean => (bits === 0 ? false : isOdd(bits & (bits - 1)) === false);
  const value = 1 / Math.sqrt(size);
  return Float32Array.from({ length: size * size }, (_, at) =>
    isOdd(Math.floor(at / size) & (at % size)) ? -value : value,
  );
}

const plain = { lhsBatching: [], rhsBatching: [] };

/** x [..., K] with each block of columns turned. */
function turned(x: Tensor): Tensor {
  const columns = Number(x.dim(-1));
  const size = turnSize(columns);
  if (size === 1) return x;
  const matrix = cast(constant('float32', [size, size], hadamard(size)), x.dtype);
  const blocks = reshape(x, [...x.shape.slice(0, -1), columns / size, size]);
  const contracting = { lhsContracting: [blocks.rank - 1], rhsContracting: [0], preferredType: x.dtype };
  return reshape(dotGeneral(blocks, matrix, { ...plain, ...contracting }), x.shape);
}

/** Rows [..., K] as whole numbers from -127 to 127 of the same type, and each row's scale [...]. */
function inLevels(rows: Tensor): { readonly levels: Tensor; readonly scales: Tensor } {
  const scales = div(max(abs(rows), [-1]), 127);
  const inverse = div(1, select(gt(scales, 0), scales, 1));
  return { levels: roundEven(mul(rows, expandDims(inverse, -1))), scales };
}

/** A matrix [N, K] as the parts of a RoundedTensor: levels int8 [K, N] and scales [N]. */
export function roundedRows(matrix: Tensor): { readonly levels: Tensor; readonly scales: Tensor } {
  const { levels, scales } = inLevels(turned(matrix));
  return { levels: cast(transpose(levels, [1, 0]), 'int8'), scales };
}

function checked(kind: string, levels: Tensor | undefined, scales: Tensor | undefined): [Tensor, Tensor] {
  if (levels?.dtype === 'int8' && levels.rank === 2 && scales?.rank === 1 && scales.dim(0) === levels.dim(1))
    return [levels, scales];
  const shown = [levels, scales].map((part) => (part ? `${part.dtype}[${part.shape.join(', ')}]` : 'nothing'));
  throw new LfmError('shape-mismatch', `${kind} expects int8 [K, N] with scales [N]; found ${shown.join(' and ')}.`);
}

/** rounded_matrix(levels int8 [K, N], scales [N]) -> the matrix [N, K] that they stand for, in the scales' type. */
defineComposite({
  kind: 'rounded_matrix',
  decompose: (operands) => {
    const [levels, scales] = checked('rounded_matrix', operands[0], operands[1]);
    const rows = transpose(cast(levels, scales.dtype), [1, 0]);
    return [turned(mul(rows, expandDims(scales, -1)))];
  },
});

/**
 * matmul_rows(x [..., K], levels int8 [K, N], scales [N]) -> [..., N]: x is turned, and each of its rows rounded to int8 by a
 * scale of its own. For inference: rounding has no gradient.
 */
defineComposite({
  kind: 'matmul_rows',
  decompose: ([x, ...parts]) => {
    const [levels, scales] = checked('matmul_rows', parts[0], parts[1]);
    if (!x || x.dim(-1) !== levels.dim(0))
      throw new LfmError(
        'shape-mismatch',
        `matmul_rows expects x of [..., ${levels.dim(0)}]; found [${x?.shape.join(', ') ?? ''}].`,
      );
    const left = inLevels(turned(x));
    const contracting = { lhsContracting: [x.rank - 1], rhsContracting: [0], preferredType: x.dtype };
    const product = dotGeneral(left.levels, cast(levels, x.dtype), { ...plain, ...contracting });
    return [mul(mul(product, broadcastTo(cast(scales, x.dtype), product.shape)), expandDims(left.scales, -1))];
  },
});
