// Weights as the WebAssembly kernels multiply them fastest: turned, so that a product reads them in order, and expanded from 4 and
// 8 bits in blocks, for which those kernels are unusably slow (1.5 GOP/s; LOG.md). Made once for all programs of a model.
// Shapes: a weight is [N, K]; turned [K, N].
import type { Value } from '../../tensor/index.ts';
import { sizeOf } from '../../tensor/index.ts';
import type { Lowering, NodeSpec } from './lowering.ts';
import { reshapeSpec } from './lowering.ts';
import { floatsOf } from './packed-forms.ts';

/** Rows that are turned together: each line of memory is then written once. */
const BAND = 64;
const MIDDLE = 128;
const FARTHEST = 127;

type Row = (n: number, into: Float32Array) => void;

/** Calls `write` for each row, by bands, and turns what it wrote. */
function turnFloats([rows, columns]: readonly [number, number], into: Float32Array, write: Row): void {
  const band = new Float32Array(BAND * columns);
  for (let first = 0; first < rows; first += BAND) {
    const count = Math.min(BAND, rows - first);
    for (let i = 0; i < count; i++) write(first + i, band.subarray(i * columns, (i + 1) * columns));
    for (let k = 0, at = first; k < columns; k++, at += rows)
      for (let i = 0, from = k; i < count; i++, from += columns) into[at + i] = band[from] as number;
  }
}

/**
 * Columns of a turned matrix that become a product of their own, so that its bytes lie together: the kernel walks strips of 16
 * columns, and where rows lie far apart memory comes in late, by a third, or for a whole vocabulary by two. Narrower ones cost a
 * prompt's many rows more.
 */
const [LEAST_STRIP, MOST_STRIP] = [16, 32];

/** The widest strip that cuts the columns evenly, or all of them. */
function stripWidth(columns: number): number {
  for (let width = MOST_STRIP; width >= LEAST_STRIP; width--) if (columns % width === 0) return width;
  return columns;
}

/** The same of bytes. Apart from it, since one loop over arrays of both kinds takes three times as long. */
function turnBytes(
  [rows, columns]: readonly [number, number],
  into: Uint8Array,
  write: (n: number, row: Uint8Array) => void,
): void {
  const band = new Uint8Array(BAND * columns);
  for (let first = 0; first < rows; first += BAND) {
    const count = Math.min(BAND, rows - first);
    for (let i = 0; i < count; i++) write(first + i, band.subarray(i * columns, (i + 1) * columns));
    for (let k = 0, at = first; k < columns; k++, at += rows)
      for (let i = 0, from = k; i < count; i++, from += columns) into[at + i] = band[from] as number;
  }
}

/** A bound float32 matrix [N, K], or one whose rows are seen by groups [.., K], as [K, N]; undefined for anything else. */
export function turnedWeight(
  lowering: Lowering,
  seen: Value,
): { readonly name: string; readonly transposed: boolean } | undefined {
  const view = lowering.given.has(seen) ? undefined : lowering.producerOf(seen);
  const weight = view?.kind === 'reshape' ? (view.operands[0] ?? seen) : seen;
  const [n, k] = weight.shape;
  if (seen.shape.at(-1) !== k) return undefined;
  if (!lowering.given.has(weight) || weight.dtype !== 'float32' || weight.shape.length !== 2) return undefined;
  const size = [Number(n), Number(k)] as const;
  const name = lowering.derive(`${lowering.name(weight)} turned`, {
    dtype: 'float32',
    dims: size.toReversed(),
    from: [weight],
    fill: (into, given = into) => {
      const matrix = floatsOf(given);
      turnFloats(size, floatsOf(into), (row, line) => line.set(matrix.subarray(row * size[1], (row + 1) * size[1])));
    },
  });
  return { name, transposed: true };
}

/** A packed weight. */
export interface Packed {
  readonly packed: Value;
  readonly scales: Value;
  readonly minimums: Value | undefined;
}

/** Reads rows of a packed matrix as float32; `parts` are packed, scales and, where affine, minimums. */
function rowReader(
  [packed, scales, minimums]: readonly Uint8Array[],
  { bits, block, blocks }: { readonly bits: number; readonly block: number; readonly blocks: number },
): Row {
  const [levels, factors] = [packed ?? new Uint8Array(), floatsOf(scales)];
  const least = minimums && floatsOf(minimums);
  const centre = least ? 0 : 2 ** (bits - 1);
  return (n, into) => {
    for (let g = 0, k = 0; g < blocks; g++) {
      const at = n * blocks + g;
      const factor = factors[at] as number;
      const minimum = (least ? (least[at] as number) : 0) - factor * centre;
      if (bits === 8)
        for (let i = at * block; i < (at + 1) * block; i++) into[k++] = factor * (levels[i] as number) + minimum;
      else
        for (let i = (at * block) >> 1; i < ((at + 1) * block) >> 1; i++) {
          const two = levels[i] as number;
          into[k++] = factor * (two & 15) + minimum;
          into[k++] = factor * (two >> 4) + minimum;
        }
    }
  };
}

/** A row as bytes around 128, and the scale that makes it floats again. */
function roundRow(row: Float32Array, into: Uint8Array): number {
  let most = 0;
  for (let k = 0; k < row.length; k++) {
    const size = Math.abs(row[k] as number);
    if (size > most) most = size;
  }
  const scale = most / FARTHEST;
  const factor = scale === 0 ? 0 : 1 / scale;
  // All are positive then, and cutting off the fraction rounds.
  for (let k = 0; k < row.length; k++) into[k] = (row[k] as number) * factor + (MIDDLE + 0.5);
  return scale;
}

/**
 * matmul_quantized, its weights expanded: to float32 where activations are; where they are int8, to 8 bits with one scale a row,
 * and then each of several rows of x is divided by its largest element, so that no row's content moves the rounding of another by more
 * than a factor of two (DynamicQuantizeMatMul has one scale for all of x).
 */
export function expandedProduct(
  lowering: Lowering,
  y: Value,
  x: Value,
  { packed, scales, minimums }: Packed,
  { bits: given, activations }: Readonly<Record<string, unknown>>,
): void {
  const bits = Number(given);
  const [rows = 1, blocks = 1, bytes = 1] = packed.shape.map(Number);
  const form = { bits, blocks, block: (bytes * 8) / bits };
  const size = [rows, form.block * blocks] as const;
  const dims = size.toReversed();
  const from = [packed, scales, ...(minimums ? [minimums] : [])];
  const name = lowering.name(packed);
  if (activations === 'float32') {
    const weight = lowering.derive(`${name} as floats, turned`, {
      dtype: 'float32',
      dims,
      from,
      fill: (into, ...parts) => turnFloats(size, floatsOf(into), rowReader(parts, form)),
    });
    return lowering.define(y, 'MatMul', [lowering.name(x), weight]);
  }
  const count = sizeOf(x.shape.slice(0, -1));
  const width = stripWidth(rows);
  const strips = rows / width;
  // Scales come of the same walk as levels, which are always made just before them.
  const found = new Float32Array(rows);
  const levels = lowering.derive(`${name} by rows, turned`, {
    dtype: 'uint8',
    dims: strips === 1 ? dims : [strips, size[1], width],
    from,
    fill: (into, ...parts) => {
      const [read, line] = [rowReader(parts, form), new Float32Array(size[1])];
      for (let first = 0; first < rows; first += width)
        turnBytes([width, size[1]], into.subarray(first * size[1], (first + width) * size[1]), (n, row) => {
          read(first + n, line);
          found[first + n] = roundRow(line, row);
        });
    },
  });
  const factors = lowering.derive(`${name} by rows, scales`, {
    dtype: 'float32',
    dims: strips === 1 ? [rows] : [strips, 1, width],
    from,
    fill: (into) => floatsOf(into).set(found),
  });
  const middle = lowering.constant('uint8', [], [MIDDLE]);
  const product = (given: string): Made => {
    const seen = strips === 1 ? given : lowering.reshaped(given, x.shape, [1, count, size[1]]);
    const made = {
      type: 'DynamicQuantizeMatMul',
      inputs: [seen, levels, factors, middle],
      spec: { domain: 'com.microsoft' },
    };
    if (strips === 1) return made;
    const byStrips = lowering.node(made.type, made.inputs, made.spec);
    const byRows =
      count === 1 ? byStrips : lowering.node('Transpose', [byStrips], { attributes: { perm: { ints: [1, 0, 2] } } });
    const shape = lowering.reshapeInputs(byRows, [count, strips, width], y.shape);
    return { type: 'Reshape', inputs: shape, spec: reshapeSpec(y.shape) };
  };
  if (count === 1) {
    const { type, inputs, spec } = product(lowering.name(x));
    return lowering.define(y, type, inputs, spec);
  }
  const axis = lowering.integers([x.shape.length - 1]);
  const largest = lowering.node('ReduceMax', [lowering.node('Abs', [lowering.name(x)]), axis]);
  // A row of zeros stays one.
  const divisor = lowering.node('Max', [largest, lowering.constant('float32', [], [1e-30])]);
  const { type, inputs, spec } = product(lowering.node('Div', [lowering.name(x), divisor]));
  lowering.define(y, 'Mul', [lowering.node(type, inputs, spec), divisor]);
}

/** A node that is not yet in the graph. */
interface Made {
  readonly type: string;
  readonly inputs: readonly string[];
  readonly spec: NodeSpec;
}
