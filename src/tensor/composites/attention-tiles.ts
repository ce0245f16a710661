// Attention in a window by tiles: a sequence is cut into tiles of N tokens, each a row of a larger batch whose queries meet the keys of
// their own tile, of the one before it and the first few of the sequence, so that scores grow with T N instead of T T.
// Shapes: B batch, T tokens, K = T / N tiles, H query heads, G key/value heads, D width of a head, F first keys, S = F + 2 N keys.
import { vectorJacobian } from '../autodiff.ts';
import {
  add,
  and,
  broadcastTo,
  concatenate,
  expandDims,
  ge,
  gt,
  iota,
  le,
  lt,
  mul,
  or,
  pad,
  reshape,
  sliceAxis,
  sub,
  transpose,
} from '../functions.ts';
import type { Dim } from '../shape.ts';
import { multiplyDims } from '../shape.ts';
import type { Tensor } from '../tracer.ts';
import { trace } from '../tracer.ts';
import type { AttentionAttributes } from './attention.ts';

export interface Tiling {
  readonly batch: Dim;
  /** K, N and F. */
  readonly count: number;
  readonly size: number;
  readonly first: number;
  readonly window: number;
  readonly sinks: number;
}

/** Products of fewer rows than this leave a GPU's tiles half empty. */
const LEAST = 32;
/** First keys come in whole vectors. */
const VECTOR = 8;

/** How an attention of q over k is cut; undefined where it does not divide, or is as well left whole. */
export function tilingOf(q: Tensor, k: Tensor, attributes: AttentionAttributes): Tiling | undefined {
  const { causal, window, sinks = 0, segments } = attributes;
  const [batch = 1, length] = q.shape;
  if (!causal || window === null || segments || typeof length !== 'number' || k.dim(1) !== length) return undefined;
  let size = LEAST;
  while (size < window - 1) size *= 2;
  const first = Math.ceil(sinks / VECTOR) * VECTOR;
  if (length % size !== 0 || length < 3 * size + first) return undefined;
  return { batch, count: length / size, size, first, window, sinks };
}

/** x [B, T, H, D] as rows of a larger batch [B K, N, H, D]. */
export function tiled(x: Tensor, { batch, count, size }: Tiling): Tensor {
  return reshape(x, [multiplyDims(batch, count), size, x.dim(2), x.dim(3)]);
}

/** [B K, N, H, D] -> [B, T, H, D]. */
export function untiled(x: Tensor, { batch, count, size }: Tiling): Tensor {
  return reshape(x, [batch, count * size, x.dim(2), x.dim(3)]);
}

/** Statistics [B, H, T] -> [B K, H, N]. */
export function tiledStatistics(x: Tensor, { batch, count, size }: Tiling): Tensor {
  const cut = transpose(reshape(x, [batch, x.dim(1), count, size]), [0, 2, 1, 3]);
  return reshape(cut, [multiplyDims(batch, count), x.dim(1), size]);
}

/** [B K, H, N] -> [B, H, T]. */
export function untiledStatistics(x: Tensor, { batch, count, size }: Tiling): Tensor {
  const cut = transpose(reshape(x, [batch, count, x.dim(1), size]), [0, 2, 1, 3]);
  return reshape(cut, [batch, x.dim(1), count * size]);
}

/** Keys or values [B, T, G, D] as each tile meets them: the sequence's first, those of the tile before, its own; [B K, S, G, D]. */
export function tiledKeys(x: Tensor, { batch, count, size, first }: Tiling): Tensor {
  const [, , g = 1, d = 1] = x.shape;
  const own = reshape(x, [batch, count, size, g, d]);
  const before = pad(sliceAxis(own, 1, 0, count - 1), [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]);
  const front = first > 0 ? [broadcastTo(expandDims(sliceAxis(x, 1, 0, first), 1), [batch, count, first, g, d])] : [];
  const met = concatenate([...front, before, own], 2);
  return reshape(met, [multiplyDims(batch, count), met.dim(2), g, d]);
}

/** The cotangent of x [B, T, G, D] from that of `tiledKeys(x)`. */
export function tiledKeysGradient(x: Tensor, cotangent: Tensor, tiling: Tiling): Tensor {
  const program = trace('tiled_keys', { x }, ({ x: inner = x }) => ({ met: tiledKeys(inner, tiling) }));
  return vectorJacobian(program, [x], [cotangent])[0] ?? x;
}

/** Which of its keys a query meets, [B K, 1, N, S]. A first key is met as such, never in its own tile. */
export function tiledMask({ batch, count, size, first, window, sinks }: Tiling): Tensor {
  const keys = first + 2 * size;
  const tile = mul(iota('int32', [count, 1, 1, 1], 0), size);
  const query = add(tile, iota('int32', [1, 1, size, 1], 2));
  const column = iota('int32', [1, 1, 1, keys], 3);
  const key = add(tile, sub(column, first + size));
  const near = and(and(ge(key, sinks), le(key, query)), gt(key, sub(query, window)));
  const front = and(lt(column, sinks), le(column, query));
  const seen = or(and(lt(column, first), front), and(ge(column, first), near));
  const whole = broadcastTo(expandDims(seen, 0), [batch, count, 1, size, keys]);
  return reshape(whole, [multiplyDims(batch, count), 1, size, keys]);
}
