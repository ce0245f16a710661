// attention: grouped-query softmax attention, whole sequences (training) and over a fixed-capacity cache (generation).
// Shapes: B batch, T queries, S keys, H query heads, G key/value heads, R = H / G, D width of a head, C capacity.
import { vectorJacobian } from '../autodiff.ts';
import { defineComposite } from '../definition.ts';
import type { DType } from '../dtype.ts';
import { LfmError } from '../error.ts';
import {
  add,
  and,
  cast,
  div,
  dotGeneral,
  eq,
  exp,
  expandDims,
  full,
  gt,
  iota,
  le,
  log,
  max,
  maximum,
  minimum,
  mul,
  reshape,
  roundEven,
  scatterInto,
  select,
  sub,
  sum,
  tanh,
  transpose,
} from '../functions.ts';
import type { Dim } from '../shape.ts';
import { divideDims, multiplyDims } from '../shape.ts';
import type { Tensor } from '../tracer.ts';
import { decompositionOf, emit } from '../tracer.ts';

export type AttentionAttributes = {
  readonly causal: boolean;
  /** Keys further back than this many positions (the query's own counts as one) are not seen; null: all are. */
  readonly window: number | null;
  readonly scale: number;
  /** Scaled scores s become c tanh(s / c) before the mask (Gemma 2, arXiv 2408.00118); absent: they stay. */
  readonly softCap?: number;
  /** Whether document segments [B, T] follow q, k, v. */
  readonly segments: boolean;
};

function all(operands: readonly (Tensor | undefined)[], kind: string): Tensor[] {
  const found = operands.filter((tensor) => tensor !== undefined);
  if (found.length !== operands.length) throw new LfmError('shape-mismatch', `${kind} is short of an operand.`);
  return found;
}

/** [B, T, H, D] -> [B, H, T, D] and back. */
function swap(x: Tensor): Tensor {
  return transpose(x, [0, 2, 1, 3]);
}

/** Batched product over [B, G]: contracts axis l of the left with axis r of the right. */
function grouped(lhs: Tensor, rhs: Tensor, l: number, r: number, preferredType: DType): Tensor {
  return dotGeneral(lhs, rhs, {
    lhsBatching: [0, 1],
    rhsBatching: [0, 1],
    lhsContracting: [l],
    rhsContracting: [r],
    preferredType,
  });
}

/** [B, H, T, X] -> [B, G, R*T, X]: the query heads of one key head stand together. */
function fold(x: Tensor, groups: Dim): Tensor {
  const [b = 1, h = 1, t = 1, d = 1] = x.shape;
  return reshape(x, [b, groups, multiplyDims(divideDims(h, groups), t), d]);
}

function statistics(dtype: DType): DType {
  return dtype === 'float64' ? 'float64' : 'float32';
}

/** Where query t may see key s, [.., T, S] from positions [.., T, 1] and [.., 1, S]. */
function visible(
  query: Tensor,
  key: Tensor,
  { causal, window }: Pick<AttentionAttributes, 'causal' | 'window'>,
): Tensor | undefined {
  const past = causal ? le(key, query) : undefined;
  if (window === null) return past;
  const near = gt(key, sub(query, window));
  return past ? and(past, near) : near;
}

function mask(q: Tensor, keys: Dim, segments: Tensor | undefined, attributes: AttentionAttributes): Tensor | undefined {
  const length = q.dim(2);
  const positions = visible(iota('int32', [1, 1, length, 1], 2), iota('int32', [1, 1, 1, keys], 3), attributes);
  if (!segments) return positions;
  const same = eq(expandDims(expandDims(segments, 2), 1), expandDims(expandDims(segments, 1), 1));
  return positions ? and(same, positions) : same;
}

type Scoring = Pick<AttentionAttributes, 'scale' | 'softCap'>;

/** Scaled scores [B, H, T, S] of q [B, H, T, D] with k [B, G, S, D], capped where asked for, in the statistics' type. */
function cappedScores(q: Tensor, k: Tensor, { scale, softCap }: Scoring): Tensor {
  const raw = grouped(fold(q, k.dim(1)), k, 3, 3, statistics(q.dtype));
  const scores = softCap === undefined ? mul(raw, scale) : mul(tanh(mul(raw, scale / softCap)), softCap);
  return reshape(scores, [q.dim(0), q.dim(1), q.dim(2), k.dim(2)]);
}

function masked(scores: Tensor, seen: Tensor | undefined): Tensor {
  if (!seen) return scores;
  // Added rather than selected: the mask is small and the scores are walked once. A finite bound keeps rows that see
  // nothing free of NaN.
  const zero = full(scores.dtype, [], 0);
  return add(scores, select(seen, zero, -1e30));
}

defineComposite<AttentionAttributes>({
  kind: 'attention',
  /** attention(q [B, T, H, D], k [B, S, G, D], v [B, S, G, D], segments?) -> out [B, T, H, D], log-sum-exp [B, H, T]. */
  decompose: (operands, attributes) => {
    const [q_, k_, v_] = all(operands.slice(0, 3), 'attention');
    if (!q_ || !k_ || !v_) return [];
    const [q, k, v] = [swap(q_), swap(k_), swap(v_)];
    const scores = masked(cappedScores(q, k, attributes), mask(q, k.dim(2), operands[3], attributes));
    const top = max(scores, [-1]);
    const weights = exp(sub(scores, expandDims(top, -1)));
    const total = sum(weights, [-1]);
    // Divided after the product with v: D numbers a query instead of S.
    const raw = reshape(grouped(fold(cast(weights, q.dtype), k.dim(1)), v, 3, 2, weights.dtype), q.shape);
    const out = cast(div(raw, expandDims(total, -1)), q.dtype);
    return [swap(out), add(top, log(total))];
  },
  gradient: ({ operands, results: [out, lse], attributes, cotangents }) => {
    const [dOut, dLse] = cotangents;
    // The residual is read by a derivative of the derivative.
    if (dLse) return vectorJacobian(decompositionOf('attention', operands, attributes), operands, cotangents);
    if (!out || !lse || !dOut) return [];
    return emit('attention_grad', [...operands.slice(0, 3), out, lse, dOut, ...operands.slice(3)], attributes);
  },
});

/** attention_grad(q, k, v, out, log-sum-exp, d out, segments?) -> dq, dk, dv (Dao et al. 2022, arXiv 2205.14135, B.2). */
defineComposite<AttentionAttributes>({
  kind: 'attention_grad',
  decompose: (operands, attributes) => {
    const [q_, k_, v_, out_, lse, dOut_] = all(operands.slice(0, 6), 'attention_grad');
    if (!q_ || !k_ || !v_ || !out_ || !lse || !dOut_) return [];
    const [q, k, v, out, dOut] = [swap(q_), swap(k_), swap(v_), swap(out_), swap(dOut_)];
    const groups = k.dim(1);
    const wide = statistics(q.dtype);
    const { scale, softCap } = attributes;
    const capped = cappedScores(q, k, attributes);
    const scores = masked(capped, mask(q, k.dim(2), operands[6], attributes));
    const weights = exp(sub(scores, expandDims(lse, -1)));
    const dWeights = reshape(grouped(fold(dOut, groups), v, 3, 3, wide), weights.shape);
    const delta = sum(mul(cast(dOut, wide), cast(out, wide)), [-1]);
    // The scale waits for the products: their results are narrower.
    const dCapped = mul(weights, sub(dWeights, expandDims(delta, -1)));
    // d (c tanh(s / c)) = 1 - (its value / c)^2.
    const dScores =
      softCap === undefined ? dCapped : mul(dCapped, sub(1, mul(mul(capped, capped), 1 / (softCap * softCap))));
    const [p, ds] = [fold(cast(weights, q.dtype), groups), fold(cast(dScores, q.dtype), groups)];
    const dq = reshape(mul(grouped(ds, k, 3, 2, q.dtype), scale), q.shape);
    const dk = mul(grouped(ds, fold(q, groups), 2, 2, k.dtype), scale);
    const dv = grouped(p, fold(dOut, groups), 2, 2, v.dtype);
    return [swap(dq), swap(dk), swap(dv)];
  },
});

/** Softmax attention of q over k and v; query heads share key heads in order (grouped-query, arXiv 2305.13245). */
export function attention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: Scoring & { causal?: boolean; window?: number | null; segments?: Tensor | undefined },
): Tensor {
  const { scale, softCap, causal = true, window = null, segments } = options;
  const capped = softCap === undefined ? {} : { softCap };
  const attributes: AttentionAttributes = { causal, window, scale, ...capped, segments: segments !== undefined };
  return emit('attention', segments ? [q, k, v, segments] : [q, k, v], attributes)[0] ?? q;
}

/** Scales [G, D] of a cache of int8, as wide as [B, G, T, D]. */
function wideScales(scales: Tensor | undefined): Tensor {
  if (scales) return expandDims(expandDims(scales, 1), 0);
  throw new LfmError(
    'shape-mismatch',
    'cached_attention over caches of int8 expects scales [G, D] of keys and values.',
  );
}

/** Rows [B, G, T, D] as a cache holds them: whole numbers of its scales where it is of int8. */
function held(rows: Tensor, cache: Tensor, scales: Tensor | undefined): Tensor {
  if (cache.dtype !== 'int8') return cast(rows, cache.dtype);
  const levels = roundEven(mul(rows, div(1, wideScales(scales))));
  return cast(minimum(maximum(levels, -128), 127), 'int8');
}

/** What a cache holds, in the type of computation. */
function meant(cache: Tensor, scales: Tensor | undefined, dtype: DType): Tensor {
  return cache.dtype === 'int8' ? mul(cast(cache, dtype), cast(wideScales(scales), dtype)) : cast(cache, dtype);
}

/**
 * cached_attention(q [B, T, H, D], k [B, T, G, D], v, key cache [B, G, C, D], value cache, starts [B] int32)
 * -> out [B, T, H, D], key cache, value cache. Row b's new keys stand at starts[b] and after; query t sees the keys up to
 * starts[b] + t. Rows past the capacity are left out, or refused where a kernel cannot leave them out; what a cache holds at
 * and after row starts[b] + T is not said.
 *
 * Caches of int8 are followed by their scales, float32 [G, D] each: an element is its level times the scale of its place. A kernel
 * may let queries meet the rows of their own call as they were before they were rounded.
 */
defineComposite<Scoring & { readonly window: number | null }>({
  kind: 'cached_attention',
  decompose: (operands, { window, ...scoring }) => {
    const [q_, k, v, keys, values, starts] = all(operands.slice(0, 6), 'cached_attention');
    const [keyScales, valueScales] = operands.slice(6);
    if (!q_ || !k || !v || !keys || !values || !starts) return [];
    const q = swap(q_);
    const positions = add(expandDims(starts, 1), iota('int32', [1, q.dim(2)], 1));
    const put = (cache: Tensor, rows: Tensor, scales: Tensor | undefined) =>
      scatterInto(cache, positions, held(swap(rows), cache, scales), { axis: 2, batchDims: 1, reducer: 'assign' });
    const [nextKeys, nextValues] = [put(keys, k, keyScales), put(values, v, valueScales)];
    const query = expandDims(expandDims(positions, 1), 3);
    const seen = visible(query, iota('int32', [1, 1, 1, keys.dim(2)], 3), { causal: true, window });
    const scores = masked(cappedScores(q, meant(nextKeys, keyScales, q.dtype), scoring), seen);
    const weights = exp(sub(scores, expandDims(max(scores, [-1]), -1)));
    const raw = reshape(
      grouped(fold(cast(weights, q.dtype), keys.dim(1)), meant(nextValues, valueScales, q.dtype), 3, 2, weights.dtype),
      q.shape,
    );
    const out = cast(div(raw, expandDims(sum(weights, [-1]), -1)), q.dtype);
    return [swap(out), nextKeys, nextValues];
  },
});

export function cachedAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  cache: {
    readonly keys: Tensor;
    readonly values: Tensor;
    readonly starts: Tensor;
    /** Of caches of int8. */
    readonly keyScales?: Tensor | undefined;
    readonly valueScales?: Tensor | undefined;
  },
  options: Scoring & { window?: number | null },
): { out: Tensor; keys: Tensor; values: Tensor } {
  const { keyScales, valueScales } = cache;
  const scales = keyScales && valueScales ? [keyScales, valueScales] : [];
  const operands = [q, k, v, cache.keys, cache.values, cache.starts, ...scales];
  const [out, keys, values] = emit('cached_attention', operands, {
    scale: options.scale,
    ...(options.softCap !== undefined && { softCap: options.softCap }),
    window: options.window ?? null,
  });
  if (!out || !keys || !values) throw new LfmError('no-result', 'cached_attention gave no result.');
  return { out, keys, values };
}
