// cached_attention: grouped-query softmax attention over a cache of fixed capacity, as generation has it.
// Shapes: B batch, T new tokens, H query heads, G key/value heads, D width of a head, C capacity.
import { defineComposite } from '../definition.ts';
import type { DType } from '../dtype.ts';
import { LfmError } from '../error.ts';
import { add, cast, div, expandDims, iota, maximum, minimum, mul, roundEven, scatterInto } from '../functions.ts';
import type { Tensor } from '../tracer.ts';
import { emit } from '../tracer.ts';
import type { Reach, Scoring } from './attention-scores.ts';
import { all, cappedScores, masked, softmaxOf, swap, visible } from './attention-scores.ts';

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
defineComposite<Scoring & Reach>({
  kind: 'cached_attention',
  decompose: (operands, { window, sinks = 0, ...scoring }) => {
    const [q_, k, v, keys, values, starts] = all(operands.slice(0, 6), 'cached_attention');
    const [keyScales, valueScales] = operands.slice(6);
    if (!q_ || !k || !v || !keys || !values || !starts) return [];
    const q = swap(q_);
    const positions = add(expandDims(starts, 1), iota('int32', [1, q.dim(2)], 1));
    const put = (cache: Tensor, rows: Tensor, scales: Tensor | undefined) =>
      scatterInto(cache, positions, held(swap(rows), cache, scales), { axis: 2, batchDims: 1, reducer: 'assign' });
    const [nextKeys, nextValues] = [put(keys, k, keyScales), put(values, v, valueScales)];
    const query = expandDims(expandDims(positions, 1), 3);
    const seen = visible(query, iota('int32', [1, 1, 1, keys.dim(2)], 3), { causal: true, window, sinks });
    const scores = masked(cappedScores(q, meant(nextKeys, keyScales, q.dtype), scoring), seen);
    const { out } = softmaxOf(scores, meant(nextValues, valueScales, q.dtype), q.dtype);
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
  options: Scoring & Partial<Reach>,
): { out: Tensor; keys: Tensor; values: Tensor } {
  const { keyScales, valueScales } = cache;
  const scales = keyScales && valueScales ? [keyScales, valueScales] : [];
  const operands = [q, k, v, cache.keys, cache.values, cache.starts, ...scales];
  const [out, keys, values] = emit('cached_attention', operands, {
    scale: options.scale,
    ...(options.softCap !== undefined && { softCap: options.softCap }),
    window: options.window ?? null,
    ...(options.sinks !== undefined && { sinks: options.sinks }),
  });
  if (!out || !keys || !values) throw new LfmError('no-result', 'cached_attention gave no result.');
  return { out, keys, values };
}
