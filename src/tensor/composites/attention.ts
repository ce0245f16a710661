// attention: grouped-query softmax attention of whole sequences, as training and scoring have them.
// Shapes: B batch, T queries, S keys, H query heads, G key/value heads, D width of a head.
import { vectorJacobian } from '../autodiff.ts';
import { defineComposite } from '../definition.ts';
import {
  add,
  and,
  cast,
  eq,
  exp,
  expandDims,
  iota,
  log,
  lt,
  mul,
  ne,
  or,
  pad,
  reshape,
  sliceAxis,
  sub,
  sum,
} from '../functions.ts';
import type { Dim } from '../shape.ts';
import type { Tensor } from '../tracer.ts';
import { decompositionOf, emit } from '../tracer.ts';
import type { Reach, Scoring } from './attention-scores.ts';
import {
  tiled,
  tiledKeys,
  tiledKeysGradient,
  tiledMask,
  tiledStatistics,
  tilingOf,
  untiled,
  untiledStatistics,
} from './attention-tiles.ts';
import { all, cappedScores, fold, grouped, masked, softmaxOf, statistics, swap, visible } from './attention-scores.ts';

export type AttentionAttributes = Reach &
  Scoring & {
    readonly causal: boolean;
    /** Whether document segments [B, T] follow q, k, v. */
    readonly segments: boolean;
  };

/** Whether a key is among the first `sinks` of its document, [B, 1, 1, S] from segments [B, S] whose documents stand one after another. */
function documentFronts(segments: Tensor, sinks: number): Tensor {
  const length = segments.dim(1);
  const before = sliceAxis(pad(segments, [0, sinks], [0, 0]), 1, 0, length);
  const first = or(ne(before, segments), lt(iota('int32', [1, length], 1), sinks));
  return expandDims(expandDims(first, 1), 1);
}

function mask(q: Tensor, keys: Dim, segments: Tensor | undefined, attributes: AttentionAttributes): Tensor | undefined {
  const { sinks = 0 } = attributes;
  const [query, key] = [iota('int32', [1, 1, q.dim(2), 1], 2), iota('int32', [1, 1, 1, keys], 3)];
  if (!segments) return visible(query, key, attributes);
  const positions = visible(query, key, attributes, sinks > 0 ? documentFronts(segments, sinks) : undefined);
  const same = eq(expandDims(expandDims(segments, 2), 1), expandDims(expandDims(segments, 1), 1));
  return positions ? and(same, positions) : same;
}

defineComposite<AttentionAttributes>({
  kind: 'attention',
  /** attention(q [B, T, H, D], k [B, S, G, D], v [B, S, G, D], segments?) -> out [B, T, H, D], log-sum-exp [B, H, T]. */
  decompose: (operands, attributes) => {
    const [q_, k_, v_] = all(operands.slice(0, 3), 'attention');
    if (!q_ || !k_ || !v_) return [];
    const tiling = tilingOf(q_, k_, attributes);
    const met = (x: Tensor) => swap(tiling ? tiledKeys(x, tiling) : x);
    const [q, k, v] = [swap(tiling ? tiled(q_, tiling) : q_), met(k_), met(v_)];
    const seen = tiling ? tiledMask(tiling) : mask(q, k.dim(2), operands[3], attributes);
    const scores = masked(cappedScores(q, k, attributes), seen);
    const { out, top, total } = softmaxOf(scores, v, q.dtype);
    const statistic = add(top, log(total));
    return tiling ? [untiled(swap(out), tiling), untiledStatistics(statistic, tiling)] : [swap(out), statistic];
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
    const [q_, k_, v_, out_, lse_, dOut_] = all(operands.slice(0, 6), 'attention_grad');
    if (!q_ || !k_ || !v_ || !out_ || !lse_ || !dOut_) return [];
    const tiling = tilingOf(q_, k_, attributes);
    const cut = (x: Tensor) => swap(tiling ? tiled(x, tiling) : x);
    const met = (x: Tensor) => swap(tiling ? tiledKeys(x, tiling) : x);
    const [q, k, v, out, dOut] = [cut(q_), met(k_), met(v_), cut(out_), cut(dOut_)];
    const lse = tiling ? tiledStatistics(lse_, tiling) : lse_;
    const groups = k.dim(1);
    const wide = statistics(q.dtype);
    const { scale, softCap } = attributes;
    const capped = cappedScores(q, k, attributes);
    const scores = masked(capped, tiling ? tiledMask(tiling) : mask(q, k.dim(2), operands[6], attributes));
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
    if (!tiling) return [swap(dq), swap(dk), swap(dv)];
    const gathered = (x: Tensor, cotangent: Tensor) => tiledKeysGradient(x, swap(cotangent), tiling);
    return [untiled(swap(dq), tiling), gathered(k_, dk), gathered(v_, dv)];
  },
});

/** Softmax attention of q over k and v; query heads share key heads in order (grouped-query, arXiv 2305.13245). */
export function attention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: Scoring & Partial<Reach> & { causal?: boolean; segments?: Tensor | undefined },
): Tensor {
  const { segments, causal = true, window = null, ...others } = options;
  const attributes: AttentionAttributes = { ...others, causal, window, segments: segments !== undefined };
  return emit('attention', segments ? [q, k, v, segments] : [q, k, v], attributes)[0] ?? q;
}
