// Attention in a window while generating: the rows of the sequence's first tokens, its sinks, then a ring of those before the query's own.
// Shapes: B batch, T new tokens, G key/value heads, D width of a head, R = window rows of the ring, C = sinks + R + 1 rows of a
// buffer, or fewer where a sequence cannot be so long.
import { LfmError } from '../tensor/error.ts';
import type { Tensor } from '../tensor/index.ts';
import {
  add,
  cachedAttention,
  concatenate,
  expandDims,
  gatherFrom,
  gt,
  iota,
  lt,
  maximum,
  minimum,
  remainder,
  rowAttention,
  select,
  sub,
  transpose,
  writeRow,
  zeros,
} from '../tensor/index.ts';
import type { StateDeclaration } from './state.ts';
import { ring as ringRows, window as lastRows } from './state.ts';

/** Up to so many rows a buffer is not worth being sized by the sequence's length. */
const FEW_ROWS = 512;

export interface WindowOptions {
  /** How many tokens back a query sees, its own included. */
  readonly window: number;
  /** How many tokens at the front it sees all the same. */
  readonly sinks: number;
}

/** What is kept of rows of a shape [G, D]: those that a query sees, and one that nobody reads. */
export function windowRows([g = 1, d = 1]: readonly number[], { window, sinks }: WindowOptions): StateDeclaration {
  const size = sinks + window + 1;
  return size <= FEW_ROWS ? ringRows([g, size, d]) : lastRows([g, d], size);
}

interface Held {
  /** [B, G, C, D]. The row of position p stands at p, or past the sinks at sinks + (p - sinks) mod R; what stands after them is not said. */
  readonly keys: Tensor;
  readonly values: Tensor;
  /** Tokens seen before, and valid new ones, int32 [B]. */
  readonly starts: Tensor;
  readonly lengths: Tensor;
}

type Attended = { readonly out: Tensor; readonly keys: Tensor; readonly values: Tensor };
type Scoring = { readonly scale: number; readonly softCap?: number };

/** Attention of q [B, T, H, D] over the rows held and k, v [B, T, G, D]; and the rows to hold next. */
export function windowedAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  held: Held,
  { window, sinks, ...scoring }: Scoring & WindowOptions,
): Attended {
  const buffer = held.keys.dim(2);
  if (typeof buffer !== 'number')
    throw new LfmError('unbound-symbol', `A window of ${buffer} rows needs a known size.`);
  const place = { rows: Math.min(buffer, sinks + window), ring: window, sinks };
  return q.dim(1) === 1 && buffer > place.rows
    ? ofOne(q, k, v, held, scoring, place)
    : ofMany(q, k, v, held, { ...scoring, window, sinks }, place);
}

interface Place {
  /** Sinks and ring together, or as much of them as the buffer has. */
  readonly rows: number;
  readonly ring: number;
  readonly sinks: number;
}

/** Row of each position. */
function rowOf(position: Tensor, { ring, sinks }: Place): Tensor {
  const past = remainder(maximum(sub(position, sinks), 0), ring);
  return select(lt(position, sinks), position, add(past, sinks));
}

/**
 * The new row takes the place of the oldest, which the window has left; all rows held are then seen, whatever their order. A row
 * of the batch without a new token writes past them.
 */
function ofOne(q: Tensor, k: Tensor, v: Tensor, held: Held, scoring: Scoring, place: Place): Attended {
  const { starts, lengths } = held;
  const at = select(gt(lengths, 0), rowOf(starts, place), place.rows);
  const row = (x: Tensor) => transpose(x, [0, 2, 1, 3]);
  const [keys, values] = [writeRow(held.keys, row(k), at), writeRow(held.values, row(v), at)];
  const counts = minimum(add(starts, 1), place.rows);
  return { out: rowAttention(q, keys, values, counts, scoring), keys, values };
}

/** The rows held are put in order, the new ones after them; of both the last are kept. */
function ofMany(q: Tensor, k: Tensor, v: Tensor, held: Held, options: Scoring & WindowOptions, place: Place): Attended {
  const { rows, ring, sinks } = place;
  const [b = 1, g = 1, buffer = 1, d = 1] = held.keys.shape;
  const index = iota('int32', [1, rows], 1);
  const starts = expandDims(held.starts, 1);
  const count = minimum(starts, rows);
  // Past the sinks the oldest row stands where the next would.
  const shift = select(lt(starts, rows), 0, remainder(maximum(sub(starts, sinks), 0), ring));
  const turned = add(remainder(add(maximum(sub(index, sinks), 0), shift), ring), sinks);
  const order = select(lt(index, sinks), index, minimum(turned, rows - 1));
  const at = (x: Tensor, places: Tensor) => gatherFrom(x, places, { axis: 2, batchDims: 1 });
  const room = zeros(held.keys.dtype, [b, g, q.dim(1), d]);
  const cache = {
    keys: concatenate([at(held.keys, order), room], 2),
    values: concatenate([at(held.values, order), room], 2),
    starts: minimum(held.starts, rows),
  };
  const { out, ...grown } = cachedAttention(q, k, v, cache, options);
  // The position that each row holds next: the newest that goes there.
  const next = iota('int32', [1, buffer], 1);
  const last = sub(add(starts, expandDims(held.lengths, 1)), 1);
  const back = remainder(maximum(sub(last, next), 0), ring);
  const newest = select(lt(next, sinks), next, sub(sub(last, back), sub(starts, count)));
  const places = select(lt(last, next), next, newest);
  return { out, keys: at(grown.keys, places), values: at(grown.values, places) };
}
