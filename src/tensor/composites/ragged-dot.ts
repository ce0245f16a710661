// ragged_dot: rows sorted by group, each group with a matrix of its own, as CHLO's ragged_dot; no matrix is ever copied for a
// block of rows. Shapes: M rows, G groups, K and N widths, R rows of a tile.
import { defineComposite } from '../definition.ts';
import { LfmError } from '../error.ts';
import {
  add,
  and,
  cast,
  dotGeneral,
  dynamicSlice,
  dynamicUpdateSlice,
  floor,
  full,
  ge,
  iota,
  le,
  lt,
  minimum,
  mul,
  reshape,
  select,
  sub,
  sum,
  zeros,
} from '../functions.ts';
import { scan, whileLoop } from '../primitives/control.ts';
import { multiplyDims } from '../shape.ts';
import type { Tensor } from '../tracer.ts';
import { emitOne } from '../tracer.ts';

export type RaggedDotAttributes = {
  /**
   * The axis of rhs that is contracted. 2: rhs [G, N, K] gives [M, N]; 1: rhs [G, K, N] gives [M, N]; 0: rhs [M, N] gives
   * [G, K, N], the sums over each group's own rows.
   */
  readonly rhsContracting: 0 | 1 | 2;
  /** Whether groups may hold far fewer rows than there are, so that a loop had better end with them. */
  readonly partial: boolean;
};

/** Rows taken at once: about a group's share, none so small that a matrix is read for nothing. */
function tileRows(rows: number, groups: number): number {
  const share = Math.min(256, 2 ** Math.max(3, Math.ceil(Math.log2(rows / groups))));
  return Math.min(share, 2 ** Math.floor(Math.log2(rows)));
}

/** Sums of values [G] up to and with each. */
function sumsUpTo(values: Tensor): Tensor {
  const count = values.dim(0);
  const isUpTo = le(iota('int32', [count, count], 1), iota('int32', [count, count], 0));
  return sum(mul(cast(isUpTo, 'int32'), values), [1]);
}

/** The element of values [G] at a scalar index. */
function at(values: Tensor, index: Tensor): Tensor {
  return reshape(dynamicSlice(values, [index], [1]), []);
}

interface Tile {
  readonly group: Tensor;
  /** Where its rows begin: as many as a tile has, those of the group among them. */
  readonly start: Tensor;
  /** Which rows are the group's and no earlier tile's, bool [R, 1]. */
  readonly isOwn: Tensor;
}

/** How many tiles the groups have, and the tile of each number; numbers past the last give tiles that own nothing. */
function tilesOf(sizes: Tensor, rows: number, size: number): { count: Tensor; tile: (index: Tensor) => Tile } {
  const groups = Number(sizes.dim(0));
  const ends = sumsUpTo(sizes);
  const starts = sub(ends, sizes);
  const tiles = cast(floor(mul(cast(add(sizes, size - 1), 'float32'), 1 / size)), 'int32');
  const lastTiles = sumsUpTo(tiles);
  const firstTiles = sub(lastTiles, tiles);
  const tile = (index: Tensor): Tile => {
    const passed = sum(cast(ge(index, lastTiles), 'int32'), [0]);
    const group = minimum(passed, groups - 1);
    const from = add(at(starts, group), mul(sub(index, at(firstTiles, group)), size));
    const start = minimum(from, rows - size);
    const row = add(iota('int32', [size, 1], 0), start);
    return { group, start, isOwn: and(ge(row, from), lt(row, at(ends, group))) };
  };
  return { count: at(lastTiles, full('int32', [], groups - 1)), tile };
}

function parts(operands: readonly Tensor[]): [Tensor, Tensor, Tensor] {
  const [lhs, rhs, sizes] = operands;
  if (!lhs || !rhs || !sizes)
    throw new LfmError('shape-mismatch', `ragged_dot expects lhs, rhs and sizes; found ${operands.length} operands.`);
  return [lhs, rhs, sizes];
}

/** Checks operands and returns the number of rows. */
function rowsOf(lhs: Tensor, rhs: Tensor, sizes: Tensor, rhsContracting: number): number {
  const rows = lhs.dim(0);
  const fits = rhsContracting
    ? rhs.rank === 3 && rhs.dim(0) === sizes.dim(0) && rhs.dim(rhsContracting) === lhs.dim(1)
    : rhs.rank === 2 && rhs.dim(0) === rows;
  if (typeof rows === 'number' && lhs.rank === 2 && fits && sizes.rank === 1 && lhs.dtype === rhs.dtype) return rows;
  const found = [lhs, rhs, sizes].map(({ dtype, shape }) => `${dtype}[${shape.join(', ')}]`).join(', ');
  throw new LfmError(
    'shape-mismatch',
    `ragged_dot expects lhs [M, K] of known size, rhs ${rhsContracting === 0 ? '[M, N]' : 'of one matrix a group that fits K'} and sizes [G]; found ${found}.`,
  );
}

/**
 * ragged_dot(lhs [M, K], rhs, sizes int32 [G]) -> [M, N] or [G, K, N] (see the attribute). The first sizes[0] rows belong to
 * group 0, the next sizes[1] to group 1, and so on; rows after the last group give zeros. Sums are kept in float32 or wider.
 */
defineComposite<RaggedDotAttributes>({
  kind: 'ragged_dot',
  decompose: (operands, { rhsContracting, partial }) => {
    const [lhs, rhs, sizes] = parts(operands);
    const rows = rowsOf(lhs, rhs, sizes, rhsContracting);
    const groups = Number(sizes.dim(0));
    const [k, n] = [lhs.dim(1), rhsContracting === 0 ? rhs.dim(1) : rhs.dim(3 - rhsContracting)];
    const type = rhsContracting || lhs.dtype === 'float64' ? lhs.dtype : 'float32';
    const start = zeros(type, rhsContracting ? [rows, n] : [groups, k, n]);
    if (rows === 0) return [cast(start, lhs.dtype)];
    const size = tileRows(rows, groups);
    const { count, tile } = tilesOf(sizes, rows, size);
    const zero = full('int32', [], 0);
    const plain = { lhsBatching: [], rhsBatching: [], preferredType: type };
    const step = (index: Tensor, total: Tensor): Tensor => {
      const { group, start: from, isOwn } = tile(index);
      const taken = dynamicSlice(lhs, [from, zero], [size, k]);
      if (rhsContracting === 0) {
        const other = dynamicSlice(rhs, [from, zero], [size, n]);
        const own = select(isOwn, taken, 0);
        const product = dotGeneral(own, other, { ...plain, lhsContracting: [0], rhsContracting: [0] });
        const place = [group, zero, zero];
        const before = dynamicSlice(total, place, [1, k, n]);
        return dynamicUpdateSlice(total, add(before, reshape(product, [1, k, n])), place);
      }
      const [, ...shape] = rhs.shape;
      const matrix = reshape(dynamicSlice(rhs, [group, zero, zero], [1, ...shape]), shape);
      const product = dotGeneral(taken, matrix, {
        ...plain,
        lhsContracting: [1],
        rhsContracting: [rhsContracting - 1],
      });
      const before = dynamicSlice(total, [from, zero], [size, n]);
      return dynamicUpdateSlice(total, select(isOwn, product, before), [from, zero]);
    };
    // As many tiles as the least even sizes can need.
    const most = Math.floor((rows + Math.min(groups, rows) * (size - 1)) / size);
    const [total = start] = partial
      ? whileLoop(
          [start, zero],
          ([, index = zero]) => lt(index, count),
          ([before = start, index = zero]) => [step(index, before), add(index, 1)],
        )
      : scan(most, [start], [], (index, [before = start]) => ({ carries: [step(index, before)], outputs: [] })).carries;
    return [cast(total, lhs.dtype)];
  },
  gradient: ({ operands, attributes: { rhsContracting, partial }, cotangents: [dy], needed }) => {
    const [lhs, rhs, sizes] = parts(operands);
    if (!dy) return [];
    const product = (a: Tensor, b: Tensor, axis: 0 | 1 | 2) => raggedDot(a, b, sizes, axis, partial);
    if (rhsContracting === 0)
      return [needed[0] ? product(rhs, dy, 2) : undefined, needed[1] ? product(lhs, dy, 1) : undefined];
    const [left, right] = rhsContracting === 2 ? [dy, lhs] : [lhs, dy];
    return [
      needed[0] ? product(dy, rhs, rhsContracting === 2 ? 1 : 2) : undefined,
      needed[1] ? product(left, right, 0) : undefined,
    ];
  },
  // Tiles that are not full are the decomposition's own affair.
  flops: ([lhs, rhs], { rhsContracting }) => {
    const n = rhs?.shape[rhsContracting === 0 ? 1 : 3 - rhsContracting] ?? 1;
    return multiplyDims(2, multiplyDims(multiplyDims(lhs?.shape[0] ?? 1, lhs?.shape[1] ?? 1), n));
  },
});

/** See the composite. Its gradients are ragged products too. */
export function raggedDot(
  lhs: Tensor,
  rhs: Tensor,
  sizes: Tensor,
  rhsContracting: 0 | 1 | 2 = 1,
  partial = false,
): Tensor {
  return emitOne('ragged_dot', [lhs, rhs, sizes], { rhsContracting, partial });
}
