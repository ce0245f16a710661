// experts: SwiGLU experts over routed tokens, none dropped. A token's experts gathered where tokens are few; where they are many,
// tokens sorted by expert and multiplied in groups, so that weights are read where they lie.
// Shapes: N tokens, K experts a token, M = N K pairs, E experts, D hidden, F inside.
import { backward, vectorJacobian } from '../autodiff.ts';
import { defineComposite } from '../definition.ts';
import { LfmError } from '../error.ts';
import {
  add,
  and,
  broadcastTo,
  cast,
  dotGeneral,
  eq,
  expandDims,
  gatherFrom,
  ge,
  iota,
  linear,
  lt,
  mul,
  pad,
  reshape,
  scatterInto,
  select,
  sliceAxis,
  sub,
  sum,
  transpose,
  zeros,
  zerosLike,
} from '../functions.ts';
import { scan } from '../primitives/control.ts';
import type { Dim } from '../shape.ts';
import { sizeOf } from '../shape.ts';
import type { Tensor } from '../tracer.ts';
import { decompositionOf, emit } from '../tracer.ts';
import { raggedDot } from './ragged-dot.ts';
import { silu } from './silu.ts';

export type ExpertsAttributes = {
  /** Whether the weights are of but some of the experts, from the one that the last operand names: others give nothing. */
  readonly part: boolean;
};

interface Parts {
  readonly x: Tensor;
  readonly indices: Tensor;
  readonly shares: Tensor;
  readonly w1: Tensor;
  readonly w3: Tensor;
  readonly w2: Tensor;
  readonly rest: readonly Tensor[];
}

/** Operands with tokens in one axis. */
function partsOf(operands: readonly Tensor[]): Parts {
  const [x, indices, shares, w1, w3, w2, ...rest] = operands;
  if (!x || !indices || !shares || !w1 || !w3 || !w2)
    throw new LfmError('shape-mismatch', `experts expects six operands or more; found ${operands.length}.`);
  const flat = (tensor: Tensor) => reshape(tensor, [sizeOf(tensor.shape.slice(0, -1)), tensor.dim(-1)]);
  return { x: flat(x), indices: flat(indices), shares: flat(shares), w1, w3, w2, rest };
}

const rowsAt = (x: Tensor, at: Tensor): Tensor => gatherFrom(x, at, { axis: 0, batchDims: 0 });

/** Of counts [M, E], the sums over the rows before each one: within blocks of rows, and over the blocks before. */
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

interface Order {
  /** Where each pair of a token and an expert stands once sorted by expert, [M]. */
  readonly places: Tensor;
  /** The token of each sorted pair, [M]. */
  readonly tokens: Tensor;
  /** Pairs of each expert, [E]. */
  readonly sizes: Tensor;
}

/** Pairs sorted by expert, in their order; those of experts that are not here come last. */
function orderOf(indices: Tensor, experts: number, first: Tensor | undefined): Order {
  const [n, k] = [Number(indices.dim(0)), Number(indices.dim(1))];
  const given = reshape(indices, [n * k]);
  const local = first ? sub(given, first) : given;
  const keys = first ? select(and(ge(local, 0), lt(local, experts)), local, experts) : local;
  const bins = first ? experts + 1 : experts;
  const isOf = cast(eq(expandDims(keys, 1), iota('int32', [1, bins], 1)), 'float32');
  const counts = sum(isOf, [0]);
  const isEarlier = cast(lt(iota('int32', [bins, bins], 1), iota('int32', [bins, bins], 0)), 'float32');
  const starts = sum(mul(isEarlier, counts), [1]);
  const places = cast(sum(mul(isOf, add(countsBefore(isOf), starts)), [1]), 'int32');
  const tokens = reshape(iota('int32', [n, k], 0), [n * k]);
  return {
    places,
    tokens: sorted(tokens, places),
    sizes: sliceAxis(cast(counts, 'int32'), 0, 0, experts),
  };
}

/** Values [M] in the order of the places. */
function sorted(values: Tensor, places: Tensor): Tensor {
  return scatterInto(zeros(values.dtype, values.shape), places, values, { axis: 0, batchDims: 0, reducer: 'assign' });
}

/** What goes into the second product: each pair's hidden values times its share, [M, F]. */
function weighted(a: Tensor, b: Tensor, shares: Tensor): Tensor {
  return mul(mul(silu(a), b), expandDims(shares, 1));
}

/** Rows of sorted pairs back at their tokens and added up: [N, D] of [M, D]. */
function gathered(rows: Tensor, places: Tensor, k: number): Tensor {
  const back = rowsAt(rows, places);
  return sum(reshape(back, [Number(back.dim(0)) / k, k, back.dim(1)]), [1]);
}

function pairsOf(parts: Parts, part: boolean) {
  const { x, indices, shares, w1, w3, rest } = parts;
  const first = part ? rest.at(-1) : undefined;
  const order = orderOf(indices, Number(w1.dim(0)), first);
  const rows = rowsAt(x, order.tokens);
  const scales = sorted(reshape(shares, order.places.shape), order.places);
  const product = (w: Tensor) => raggedDot(rows, w, order.sizes, 2, part);
  return { ...order, rows, scales, products: () => [product(w1), product(w3)] as const, k: Number(indices.dim(1)) };
}

/** lhs [A, R, I] times rhs [A, O, I] over I. */
function batched(lhs: Tensor, rhs: Tensor): Tensor {
  const plain = { lhsBatching: [0], rhsBatching: [0], preferredType: lhs.dtype };
  return dotGeneral(lhs, rhs, { ...plain, lhsContracting: [2], rhsContracting: [2] });
}

/** Each pair with the weights of its own expert. */
function byPairs({ x, indices, shares, w1, w3, w2 }: Parts): Tensor {
  const [n, k, d] = [x.dim(0), Number(indices.dim(1)), x.dim(1)];
  const pairs = Number(n) * k;
  const at = reshape(indices, [pairs]);
  const repeated = reshape(broadcastTo(expandDims(x, 1), [n, k, d]), [pairs, 1, d]);
  const [a, b, c] = [w1, w3, w2].map((w) => rowsAt(w, at)) as [Tensor, Tensor, Tensor];
  const y = batched(mul(silu(batched(repeated, a)), batched(repeated, b)), c);
  return sum(mul(reshape(y, [n, k, d]), expandDims(shares, -1)), [1]);
}

/** Every expert over all tokens, one after the other; those it is not chosen by have a share of 0. */
function overAll({ x, indices, shares, w1, w3, w2 }: Parts): Tensor {
  const start = mul(x, 0);
  const { carries } = scan(w1.dim(0), [start], [w1, w3, w2], (index, [total = start], [a = w1, b = w3, c = w2]) => {
    const share = sum(mul(shares, cast(eq(indices, index), shares.dtype)), [1]);
    const y = linear(mul(silu(linear(x, a)), linear(x, b)), c);
    return { carries: [add(total, mul(y, expandDims(share, 1)))], outputs: [] };
  });
  return carries[0] ?? start;
}

/**
 * experts(x [..., D], indices [..., K] int32, shares [..., K], w1 [E, F, D], w3 [E, F, D], w2 [E, D, F], first? [] int32)
 * -> y [..., D], the sum over K of shares times the chosen experts' outputs, w2 (silu(w1 x) * w3 x); and, where there are many
 * tokens, as residuals the products with w1 and w3, [M, F], sorted by expert. Exact: no token is dropped. Many tokens take
 * memory for their pairs and none for copies of weights; few read only the weights of their own experts; a number of tokens
 * that is a symbol runs every expert over all.
 */
defineComposite<ExpertsAttributes>({
  kind: 'experts',
  decompose: (operands, { part }) => {
    const parts = partsOf(operands);
    const { x, indices, w1, w2 } = parts;
    const shape: readonly Dim[] = operands[0]?.shape ?? [];
    const n = x.dim(0);
    if (!part && typeof n !== 'number') return [reshape(overAll(parts), shape)];
    if (!part && Number(n) * Number(indices.dim(1)) <= Number(w1.dim(0))) return [reshape(byPairs(parts), shape)];
    const { places, sizes, scales, products, k } = pairsOf(parts, part);
    const [a, b] = products();
    const y = raggedDot(weighted(a, b, scales), w2, sizes, 2, part);
    return [reshape(gathered(y, places, k), shape), a, b];
  },
  gradient: ({ operands, attributes: { part }, results: [, a, b], cotangents: [dy, da, db] }) => {
    // The residuals are read by a derivative of the derivative.
    if (!a || !b || !dy || da || db)
      return vectorJacobian(decompositionOf('experts', operands, { part }), operands, [dy, da, db]);
    const [dx, dShares, ...weights] = emit('experts_grad', [...operands.slice(0, 6), dy, a, b, ...operands.slice(6)], {
      part,
      kept: true,
    });
    return [dx, undefined, dShares, ...weights];
  },
});

export type ExpertsGradAttributes = ExpertsAttributes & {
  /** Whether the residuals are among the operands; else they are computed anew. */
  readonly kept: boolean;
};

/**
 * experts_grad(x, indices, shares, w1, w3, w2, dy [..., D], a?, b? [M, F], first?) -> dx, d shares, dw1, dw3, dw2. Besides
 * these it holds rows for the pairs alone.
 */
defineComposite<ExpertsGradAttributes>({
  kind: 'experts_grad',
  decompose: (operands, { part, kept }) => {
    const parts = partsOf(operands);
    const { w1, w3, w2, rest } = parts;
    const [x, , shares] = operands;
    const { places, tokens, sizes, scales, rows, products, k } = pairsOf(parts, part);
    const [dy, ...others] = rest;
    const [a, b] = kept ? others : products();
    if (!x || !shares || !dy || !a || !b)
      throw new LfmError('shape-mismatch', `experts_grad lacks operands; found ${operands.length}.`);
    const dRows = rowsAt(reshape(dy, parts.x.shape), tokens);
    const dHidden = raggedDot(dRows, w2, sizes, 1, part);
    const hidden = weighted(a, b, scales);
    const wrt = [a, b, scales];
    const [da = zerosLike(a), db = zerosLike(b), dScales = zerosLike(scales)] = backward([hidden], [dHidden], wrt);
    const toRows = add(raggedDot(da, w1, sizes, 1, part), raggedDot(db, w3, sizes, 1, part));
    const sums = (left: Tensor, right: Tensor) => raggedDot(left, right, sizes, 0, part);
    return [
      reshape(gathered(toRows, places, k), x.shape),
      reshape(rowsAt(dScales, places), shares.shape),
      sums(da, rows),
      sums(db, rows),
      sums(dRows, hidden),
    ];
  },
});

/** w1, w3 [E, F, D] and w2 [E, D, F]. */
export interface ExpertWeights {
  readonly w1: Tensor;
  readonly w3: Tensor;
  readonly w2: Tensor;
}

/** See the composite. `first`: the number of the expert whose weights come first, where there are but some. */
export function experts(
  x: Tensor,
  indices: Tensor,
  shares: Tensor,
  { w1, w3, w2 }: ExpertWeights,
  first?: Tensor,
): Tensor {
  const operands = [x, indices, shares, w1, w3, w2, ...(first ? [first] : [])];
  const [y] = emit('experts', operands, { part: first !== undefined });
  if (!y) throw new LfmError('no-result', 'experts gave no result.');
  return y;
}
