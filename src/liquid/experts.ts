// SwiGLU experts over routed tokens, none dropped: a token's experts gathered where tokens are few, tokens sorted into blocks
// of one expert where they are many. Shapes: N tokens, K experts a token, E experts, D hidden, F inside, M rows in blocks of R.
import type { Tensor } from '../tensor/index.ts';
import {
  add,
  broadcastTo,
  cast,
  dotGeneral,
  eq,
  expandDims,
  floor,
  gatherFrom,
  ge,
  iota,
  le,
  linear,
  lt,
  minimum,
  mul,
  neg,
  pad,
  reshape,
  scan,
  scatterInto,
  silu,
  sliceAxis,
  sub,
  sum,
  transpose,
  zeros,
} from '../tensor/index.ts';

/** w1, w3 [E, F, D] and w2 [E, D, F]. */
export interface ExpertWeights {
  readonly w1: Tensor;
  readonly w3: Tensor;
  readonly w2: Tensor;
}

/** lhs [A, R, I] times rhs [A, O, I] over I. */
function batched(lhs: Tensor, rhs: Tensor): Tensor {
  const plain = { lhsBatching: [0], rhsBatching: [0], preferredType: lhs.dtype };
  return dotGeneral(lhs, rhs, { ...plain, lhsContracting: [2], rhsContracting: [2] });
}

/** x [A, R, D] through the SwiGLU of each A's own weights. */
function swiglus(x: Tensor, { w1, w3, w2 }: ExpertWeights): Tensor {
  return batched(mul(silu(batched(x, w1)), batched(x, w3)), w2);
}

function chosen({ w1, w3, w2 }: ExpertWeights, experts: Tensor): ExpertWeights {
  const take = (w: Tensor) => gatherFrom(w, experts, { axis: 0, batchDims: 0 });
  return { w1: take(w1), w3: take(w3), w2: take(w2) };
}

/** Of counts [P, E], the sums over the rows before each one: within blocks of rows, and over the blocks before. */
function countsBefore(counts: Tensor): Tensor {
  const [rows, experts] = [Number(counts.dim(0)), Number(counts.dim(1))];
  const size = Math.ceil(Math.sqrt(rows));
  const blocks = Math.ceil(rows / size);
  const whole = reshape(pad(counts, [0, 0], [blocks * size - rows, 0]), [blocks, size, experts]);
  const earlier = (count: number) =>
    cast(lt(iota('int32', [count, count], 1), iota('int32', [count, count], 0)), 'float32');
  const plain = { lhsBatching: [], rhsBatching: [], preferredType: 'float32' } as const;
  const within = dotGeneral(earlier(size), whole, { ...plain, lhsContracting: [1], rhsContracting: [1] });
  const across = dotGeneral(earlier(blocks), sum(whole, [1]), { ...plain, lhsContracting: [1], rhsContracting: [0] });
  const all = add(transpose(within, [1, 0, 2]), expandDims(across, 1));
  return sliceAxis(reshape(all, [blocks * size, experts]), 0, 0, rows);
}

/** Where each token's experts [N, K] lie when tokens are sorted by expert, each expert's rows filled up to whole blocks. */
function sorted(experts: Tensor, count: number, size: number) {
  const [n, k] = [Number(experts.dim(0)), Number(experts.dim(1))];
  const pairs = n * k;
  // All that the fullest filling can need.
  const blocks = Math.floor(pairs / size) + Math.min(count, pairs);
  const isOf = cast(eq(expandDims(reshape(experts, [pairs]), 1), iota('int32', [1, count], 1)), 'float32');
  const own = (x: Tensor) => sum(mul(isOf, x), [1]);
  const held = neg(floor(mul(sum(isOf, [0]), -1 / size)));
  const plain = { lhsBatching: [], rhsBatching: [], preferredType: 'float32' } as const;
  const isUpTo = cast(le(iota('int32', [count, count], 1), iota('int32', [count, count], 0)), 'float32');
  const ends = dotGeneral(isUpTo, held, { ...plain, lhsContracting: [1], rhsContracting: [0] });
  const starts = mul(sub(ends, held), size);
  const places = cast(add(own(countsBefore(isOf)), own(expandDims(starts, 0))), 'int32');
  // A block past the last one in use is empty: whose weights it is given does not matter.
  const passed = ge(cast(iota('int32', [blocks, 1], 0), 'float32'), expandDims(ends, 0));
  const owners = minimum(cast(sum(cast(passed, 'float32'), [1]), 'int32'), count - 1);
  return { places, owners, blocks };
}

/**
 * Σ over K of shares [N, K] times the chosen experts' outputs: x [N, D], experts [N, K] int32 below the number of experts.
 * Exact: no token is dropped. Few tokens read only the weights of their own experts; many are computed in blocks of rows of one
 * expert, at most one block an expert more than the rows need; a number of tokens that is a symbol runs every expert over all.
 */
export function runExperts(x: Tensor, experts: Tensor, shares: Tensor, weights: ExpertWeights): Tensor {
  const [n, d, k, count] = [x.dim(0), x.dim(1), Number(experts.dim(1)), Number(weights.w1.dim(0))];
  const scaled = (y: Tensor) => sum(mul(y, expandDims(shares, -1)), [1]);
  if (typeof n !== 'number') return overAll(x, experts, shares, weights);
  const pairs = n * k;
  const repeated = reshape(broadcastTo(expandDims(x, 1), [n, k, d]), [pairs, d]);
  if (pairs <= count) {
    const y = swiglus(expandDims(repeated, 1), chosen(weights, reshape(experts, [pairs])));
    return scaled(reshape(y, [n, k, d]));
  }
  const size = Math.min(128, 2 ** Math.max(2, Math.ceil(Math.log2(pairs / count))));
  const { places, owners, blocks } = sorted(experts, count, size);
  const filled = scatterInto(zeros(x.dtype, [blocks * size, d]), places, repeated, {
    axis: 0,
    batchDims: 0,
    reducer: 'assign',
  });
  const y = swiglus(reshape(filled, [blocks, size, d]), chosen(weights, owners));
  const back = gatherFrom(reshape(y, [blocks * size, d]), places, { axis: 0, batchDims: 0 });
  return scaled(reshape(back, [n, k, d]));
}

/** Every expert over all tokens, one after the other; those it is not chosen by have a share of 0. */
function overAll(x: Tensor, experts: Tensor, shares: Tensor, { w1, w3, w2 }: ExpertWeights): Tensor {
  const start = mul(x, 0);
  const { carries } = scan(w1.dim(0), [start], [w1, w3, w2], (index, [total = start], [a = w1, b = w3, c = w2]) => {
    const share = sum(mul(shares, cast(eq(experts, index), shares.dtype)), [1]);
    const y = linear(mul(silu(linear(x, a)), linear(x, b)), c);
    return { carries: [add(total, mul(y, expandDims(share, 1)))], outputs: [] };
  });
  return carries[0] ?? start;
}
