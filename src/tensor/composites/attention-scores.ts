// What attention over whole sequences and over a cache have in common: scores, and who sees whom.
// Shapes: B batch, T queries, S keys, H query heads, G key/value heads, R = H / G, D width of a head.
import type { DType } from '../dtype.ts';
import { LfmError } from '../error.ts';
import {
  add,
  and,
  cast,
  div,
  dotGeneral,
  exp,
  expandDims,
  full,
  gt,
  le,
  lt,
  max,
  mul,
  or,
  reshape,
  select,
  sub,
  sum,
  tanh,
  transpose,
} from '../functions.ts';
import type { Dim } from '../shape.ts';
import { divideDims, multiplyDims } from '../shape.ts';
import type { Tensor } from '../tracer.ts';

export type Scoring = {
  readonly scale: number;
  /** Scaled scores s become c tanh(s / c) before the mask (Gemma 2, arXiv 2408.00118); absent: they stay. */
  readonly softCap?: number;
};

export type Reach = {
  /** Keys further back than this many positions (the query's own counts as one) are not seen; null: all are. */
  readonly window: number | null;
  /** How many keys at the front are seen all the same (attention sinks: StreamingLLM, arXiv 2309.17453); absent: none. */
  readonly sinks?: number;
};

/** Operands that must be there. */
export function all(operands: readonly (Tensor | undefined)[], kind: string): Tensor[] {
  const found = operands.filter((tensor) => tensor !== undefined);
  if (found.length !== operands.length) throw new LfmError('shape-mismatch', `${kind} is short of an operand.`);
  return found;
}

/** [B, T, H, D] -> [B, H, T, D] and back. */
export function swap(x: Tensor): Tensor {
  return transpose(x, [0, 2, 1, 3]);
}

/** Batched product over [B, G]: contracts axis l of the left with axis r of the right. */
export function grouped(lhs: Tensor, rhs: Tensor, l: number, r: number, preferredType: DType): Tensor {
  return dotGeneral(lhs, rhs, {
    lhsBatching: [0, 1],
    rhsBatching: [0, 1],
    lhsContracting: [l],
    rhsContracting: [r],
    preferredType,
  });
}

/** [B, H, T, X] -> [B, G, R*T, X]: the query heads of one key head stand together. */
export function fold(x: Tensor, groups: Dim): Tensor {
  const [b = 1, h = 1, t = 1, d = 1] = x.shape;
  return reshape(x, [b, groups, multiplyDims(divideDims(h, groups), t), d]);
}

export function statistics(dtype: DType): DType {
  return dtype === 'float64' ? 'float64' : 'float32';
}

/**
 * Where query t may see key s, [.., T, S] from positions [.., T, 1] and [.., 1, S]. `front`: whether a key is a sink, where its
 * position does not say.
 */
export function visible(
  query: Tensor,
  key: Tensor,
  { causal, window, sinks = 0 }: Reach & { readonly causal: boolean },
  front?: Tensor,
): Tensor | undefined {
  const past = causal ? le(key, query) : undefined;
  if (window === null) return past;
  const last = gt(key, sub(query, window));
  const near = sinks > 0 ? or(last, front ?? lt(key, sinks)) : last;
  return past ? and(past, near) : near;
}

/** Scaled scores [B, H, T, S] of q [B, H, T, D] with k [B, G, S, D], capped where asked for, in the statistics' type. */
export function cappedScores(q: Tensor, k: Tensor, { scale, softCap }: Scoring): Tensor {
  const raw = grouped(fold(q, k.dim(1)), k, 3, 3, statistics(q.dtype));
  const scores = softCap === undefined ? mul(raw, scale) : mul(tanh(mul(raw, scale / softCap)), softCap);
  return reshape(scores, [q.dim(0), q.dim(1), q.dim(2), k.dim(2)]);
}

export function masked(scores: Tensor, seen: Tensor | undefined): Tensor {
  if (!seen) return scores;
  // Added rather than selected: the mask is small and the scores are walked once. A finite bound keeps rows that see
  // nothing free of NaN.
  const zero = full(scores.dtype, [], 0);
  return add(scores, select(seen, zero, -1e30));
}

/**
 * Values [B, G, S, X] by the softmax of scores [B, H, T, S], in `dtype`: out [B, H, T, X], and of each query the largest score and the
 * sum of exponentials above it.
 */
export function softmaxOf(scores: Tensor, values: Tensor, dtype: DType): { out: Tensor; top: Tensor; total: Tensor } {
  const top = max(scores, [-1]);
  const weights = exp(sub(scores, expandDims(top, -1)));
  const total = sum(weights, [-1]);
  // Divided after the product with the values: X numbers a query instead of S.
  const product = grouped(fold(cast(weights, dtype), values.dim(1)), values, 3, 2, weights.dtype);
  const raw = reshape(product, [scores.dim(0), scores.dim(1), scores.dim(2), values.dim(3)]);
  return { out: cast(div(raw, expandDims(total, -1)), dtype), top, total };
}
