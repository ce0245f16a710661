// cached_attention of many tokens over caches of int8. GroupQueryAttention's own kernel for them walks levels one query at a time, which
// for a prompt takes three times as long as products of float32: so the rows in use become float32 for the length of a layer.
// Shapes: T new rows, S of them before, H query heads, G key/value heads, D width of one.
import type { Operation, Value } from '../../tensor/index.ts';
import { lastRows, sideBySide } from './cache-rows.ts';
import type { Lowering } from './lowering.ts';

/** Where new rows go, int64 [1, G, T, 3]; and how many stand before them, [1]. */
function placesOf(lowering: Lowering, k: Value, starts: Value | undefined): { places: string; before: string } {
  const [, length = 1, groups = 1] = k.shape;
  const before = lowering.cast(lowering.name(starts), 'int64');
  const one = lowering.constant('int64', [], [1]);
  const from = lowering.reshaped(before, [1], []);
  const rows = lowering.node('Range', [from, lowering.node('Add', [from, lowering.dimScalar(length)]), one]);
  const heads = Array.from({ length: Number(groups) }, (_, head) => head);
  const shape = lowering.shapeTensor([1, groups, length, 1]);
  const coordinates = [
    lowering.constant('int64', [1, 1, 1, 1], [0]),
    lowering.constant('int64', [1, heads.length, 1, 1], heads),
    lowering.node('Unsqueeze', [rows, lowering.integers([0, 1, 3])]),
  ].map((one) => lowering.node('Expand', [one, shape]));
  return { places: lowering.node('Concat', coordinates, { attributes: { axis: { int: 3 } } }), before };
}

/**
 * Writes the new rows x [1, T, G, D] into a cache; answers all before them and their own over the scales, as float32. The new queries
 * meet their own rows unrounded: those near by matter most, and of a prompt this leaves a fifth of the rounding's harm.
 */
function written(
  lowering: Lowering,
  x: Value,
  scales: Value,
  { cache, next, places, before }: { cache: Value; next: Value; places: string; before: string },
): { readonly past: string; readonly own: string } {
  const width = Number(x.shape[2]) * Number(x.shape[3]);
  const inverse = lowering.node('Reciprocal', [lowering.reshaped(lowering.name(scales), scales.shape, [width])]);
  const scaled = lowering.node('Mul', [sideBySide(lowering, x), inverse]);
  const [unit, zero] = [lowering.constant('float32', [], [1]), lowering.constant('int8', [], [0])];
  const levels = lowering.node('QuantizeLinear', [scaled, unit, zero]);
  const flat = [1, x.shape[1] ?? 1, width];
  const rows = lowering.node('Transpose', [lowering.reshaped(levels, flat, x.shape)], {
    attributes: { perm: { ints: [0, 2, 1, 3] } },
  });
  lowering.define(next, 'ScatterND', [lowering.name(cache), places, rows]);
  const ends = [lowering.integers([0]), before, lowering.integers([2])];
  const past = lowering.node('Slice', [lowering.name(next), ...ends]);
  return { past: lowering.cast(past, 'float32'), own: scaled };
}

/** Scales [G, D] beside one another as query heads meet them, [H * D]. */
function repeated(lowering: Lowering, scales: Value, heads: number): string {
  const [groups = 1, width = 1] = scales.shape.map(Number);
  const apart = lowering.reshaped(lowering.name(scales), scales.shape, [groups, 1, width]);
  const shape = [groups, heads / groups, width];
  return lowering.reshaped(lowering.node('Expand', [apart, lowering.integers(shape)]), shape, [heads * width]);
}

/**
 * [1], as int64. It reads two values of one shape that nobody else reads: what nobody reads is kept until the run ends, here of each
 * layer all rows as float32.
 */
function onceRead(lowering: Lowering, values: readonly Value[]): string {
  const capacities = values.map((value) =>
    lowering.node('Shape', [lowering.name(value)], { attributes: { start: { int: 2 }, end: { int: 3 } } }),
  );
  return lowering.node('Div', capacities);
}

/** For one row of the batch. Scales of keys go into the queries and those of values into what comes out: they are fewer than the rows. */
export function levelAttention(lowering: Lowering, operation: Operation): void {
  const { operands, results, attributes } = operation;
  const [q, k, v, keys, values, starts, keyScales, valueScales] = operands;
  const [out, nextKeys, nextValues] = results;
  if (!q || !k || !v || !keys || !values || !keyScales || !valueScales || !out || !nextKeys || !nextValues) return;
  const [heads, groups, width] = [Number(q.shape[2]), Number(k.shape[2]), Number(q.shape[3])];
  const at = placesOf(lowering, k, starts);
  const inKeys = written(lowering, k, keyScales, { cache: keys, next: nextKeys, ...at });
  const inValues = written(lowering, v, valueScales, { cache: values, next: nextValues, ...at });
  const { last, total } = lastRows(lowering, operation);
  const queries = lowering.node('Mul', [sideBySide(lowering, q), repeated(lowering, keyScales, heads)]);
  const shape = [1, q.shape[1] ?? 1, heads * width];
  const raw: Value = { id: -1, dtype: 'float32', shape };
  // The kernel needs somewhere to put old and new rows together; nobody reads it.
  const present = [keys, values].map(({ shape: of }): Value => ({ id: -1, dtype: 'float32', shape: of }));
  lowering.defineAll(
    [raw, ...present],
    'GroupQueryAttention',
    [queries, inKeys.own, inValues.own, inKeys.past, inValues.past, last, total],
    {
      domain: 'com.microsoft',
      attributes: {
        num_heads: { int: heads },
        kv_num_heads: { int: groups },
        scale: { float: Number(attributes.scale) },
        ...(attributes.softCap !== undefined && { softcap: { float: Number(attributes.softCap) } }),
      },
    },
  );
  const scaling = lowering.node('Expand', [repeated(lowering, valueScales, heads), onceRead(lowering, present)]);
  lowering.setView(out, lowering.node('Mul', [lowering.name(raw), scaling]), shape);
}
