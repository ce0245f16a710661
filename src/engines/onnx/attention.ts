// Attention over a cache as com.microsoft.GroupQueryAttention and, in models that stand alone, ONNX's own.
import type { Operation, Value } from '../../tensor/index.ts';
import type { Mapping } from './composites.ts';
import { lastRows, sideBySide } from './cache-rows.ts';
import { levelAttention } from './levels.ts';
import type { Lowering } from './lowering.ts';

export const floats = (operands: Operation['operands']) => operands.every(({ dtype }) => dtype === 'float32');

/** Query heads times rows of the cache up to which scores of a chunk of a prompt are few megabytes. */
const FEW_SCORES = 2 ** 17;

/**
 * Whether the kernel is to hold all scores of a row, rather than walk them by tiles: for few rows that takes half the time, for
 * a prompt over a large cache much memory.
 */
export function holdsScores(lowering: Lowering, { operands: [q, , , cache], attributes }: Operation): boolean {
  const [, length, heads] = q?.shape ?? [];
  if (cache?.dtype === 'int8') return length === 1 || lowering.fewRows;
  const isSmall = Number(heads) * Number(cache?.shape[2]) <= FEW_SCORES;
  return attributes.softCap !== undefined || length === 1 || lowering.fewRows || isSmall;
}

/**
 * cached_attention as com.microsoft.GroupQueryAttention: it writes the new rows into the cache and walks only the rows in
 * use, where the decomposition copies the cache and walks its whole capacity. (The kernel takes several rows of a batch only
 * for one token each.)
 */
export const cachedAttention: Mapping = {
  fits: ({ operands, attributes }) => {
    const [batch, length, , width] = operands[0]?.shape ?? [];
    const known = typeof width === 'number' && width % 8 === 0;
    const [keys, values, , ...scales] = operands.slice(3);
    const isHeld = floats(operands.slice(3, 5)) || [keys, values].every((cache) => cache?.dtype === 'int8');
    const fitting = floats([...operands.slice(0, 3), ...scales]) && isHeld;
    return fitting && known && attributes.window === null && (batch === 1 || length === 1);
  },
  rule: (lowering, operation) => {
    const [q, , , keys] = operation.operands;
    const scale = Number(operation.attributes.scale);
    // A GPU's kernel goes its own way.
    const isHeld = lowering.weights !== 'packed' && holdsScores(lowering, operation);
    if (keys?.dtype === 'int8' && !isHeld) return levelAttention(lowering, operation);
    if (!q || !isHeld) return groupedAttention(lowering, operation, { ...lastRows(lowering, operation), scale });
    const scaled = { id: -1, dtype: q.dtype, shape: q.shape };
    lowering.define(scaled, 'Mul', [lowering.name(q), lowering.constant('float32', [], [scale])]);
    heldAttention(lowering, operation, scaled);
  },
  inPlace: { 3: 1, 4: 2 },
};

/**
 * With `queries`, q times the scale: the kernel's product of one row is the fast one where it scales nothing itself. It holds
 * all scores of a row where it is given a sink; one of -∞ takes nothing.
 */
export function heldAttention(lowering: Lowering, operation: Operation, queries: Value | undefined): void {
  const heads = Number(queries?.shape[2]);
  const sinks = lowering.constant('float32', [heads], Array<number>(heads).fill(-Infinity));
  groupedAttention(lowering, operation, { ...lastRows(lowering, operation), scale: 1, queries, sinks });
}

/** rotary as ONNX's RotaryEmbedding, heads side by side. */
export const rotary: Mapping = {
  fits: ({ operands }) =>
    floats(operands) &&
    operands[0]?.shape.slice(2).every((dim) => typeof dim === 'number') === true &&
    !operands[0].shape.includes(0),
  rule: (lowering, operation) => rotated(lowering, operation, (table) => lowering.name(table)),
  inPlace: {},
};

/** `nameOf`: of the table of cosines, and of sines. */
export function rotated(
  lowering: Lowering,
  { operands: [x, cos, sin], results: [y] }: Operation,
  nameOf: (table: Value) => string,
): void {
  if (!x || !cos || !sin || !y) return;
  const [batch = 1, length = 1, heads = 1, width = 1] = x.shape;
  const flat = [batch, length, Number(heads) * Number(width)];
  const inputs = [lowering.shaped(x, flat), nameOf(cos), nameOf(sin)];
  const turned = lowering.node('RotaryEmbedding', inputs, { attributes: { num_heads: { int: Number(heads) } } });
  lowering.setView(y, turned, flat);
}

/** What the kernel is given beside the operation: `last` and `total` as lastRows makes them. */
interface Grouped {
  readonly last: string;
  readonly total: string;
  readonly scale: number;
  /** In place of the operation's. */
  readonly queries?: Value | undefined;
  readonly sinks?: string;
}

function groupedAttention(
  lowering: Lowering,
  { operands, results, attributes }: Operation,
  { last, total, scale, queries, sinks }: Grouped,
): void {
  const [given, k, v, keys, values, , ...scales] = operands;
  const q = queries ?? given;
  const [out, nextKeys, nextValues] = results;
  if (q && k && v && out) {
    const [batch = 1, length = 1, heads = 1, width = 1] = q.shape;
    const [groups = 1] = k.shape.slice(2);
    const inputs = [
      sideBySide(lowering, q),
      sideBySide(lowering, k),
      sideBySide(lowering, v),
      lowering.name(keys),
      lowering.name(values),
      last,
      total,
      ...(sinks === undefined ? [] : ['', '', '', '', sinks]),
      ...scales.map((of) => lowering.name(of)),
    ];
    const shape = [batch, length, Number(heads) * Number(width)];
    const raw = { id: -1, dtype: q.dtype, shape };
    lowering.defineAll([raw, nextKeys, nextValues], 'GroupQueryAttention', inputs, {
      domain: 'com.microsoft',
      attributes: {
        num_heads: { int: Number(heads) },
        kv_num_heads: { int: Number(groups) },
        scale: { float: scale },
        ...(attributes.softCap !== undefined && { softcap: { float: Number(attributes.softCap) } }),
        ...(scales.length > 0 && levelAttributes),
      },
    });
    lowering.setView(out, lowering.name(raw), shape);
  }
}

/** Of caches of int8 with a scale for each place of a row. Their kernel is only called with sinks, whose place comes before the scales'. */
const levelAttributes = {
  k_quant_type: { string: 'PER_CHANNEL' },
  v_quant_type: { string: 'PER_CHANNEL' },
  kv_cache_bit_width: { int: 8 },
};

/**
 * cached_attention in a model that stands alone: the cache comes with as many rows as it holds and leaves with the new ones
 * after them. Rows of a batch are of one length. Heads that GroupQueryAttention has no kernel for go to ONNX's own Attention.
 */
export const growingAttention = {
  fits: ({ operands, attributes }: Operation): boolean =>
    floats(operands.slice(0, 5)) && typeof operands[0]?.shape[3] === 'number' && attributes.window === null,
  rule: (lowering: Lowering, operation: Operation): void => {
    const [q, , , , , starts] = operation.operands;
    const count = lowering.cast(lowering.dimScalar(q?.shape[1] ?? 1), 'int32');
    const end = lowering.node('Add', [lowering.name(starts), count]);
    const total = lowering.node('ReduceMax', [end], { attributes: { keepdims: { int: 0 } } });
    if (Number(q?.shape[3]) % 8 > 0) return standardAttention(lowering, operation, { count, total });
    const last = lowering.node('Sub', [end, lowering.constant('int32', [], [1])]);
    groupedAttention(lowering, operation, { last, total, scale: Number(operation.attributes.scale) });
  },
};

/** Attention of operator set 23, whose own causal mask does not know of the past's rows. */
function standardAttention(
  lowering: Lowering,
  { operands: [q, k, v, keys, values], results: [out, nextKeys, nextValues], attributes }: Operation,
  { count, total }: { readonly count: string; readonly total: string },
): void {
  if (!q || !k || !v || !out) return;
  const [batch = 1, length = 1, heads = 1] = q.shape;
  const upTo = (from: string) => lowering.node('Range', [from, total, lowering.constant('int32', [], [1])]);
  const positions = lowering.node('Unsqueeze', [
    upTo(lowering.node('Sub', [total, count])),
    lowering.constant('int64', [1], [1]),
  ]);
  const mask = lowering.node('LessOrEqual', [upTo(lowering.constant('int32', [], [0])), positions]);
  const raw = { id: -1, dtype: q.dtype, shape: [batch, length, Number(heads) * Number(v.shape[3])] };
  const inputs = [
    sideBySide(lowering, q),
    sideBySide(lowering, k),
    sideBySide(lowering, v),
    mask,
    lowering.name(keys),
    lowering.name(values),
  ];
  lowering.defineAll([raw, nextKeys, nextValues], 'Attention', inputs, {
    attributes: {
      q_num_heads: { int: Number(heads) },
      kv_num_heads: { int: Number(k.shape[2]) },
      scale: { float: Number(attributes.scale) },
      ...(attributes.softCap !== undefined && { softcap: { float: Number(attributes.softCap) } }),
    },
  });
  lowering.setView(out, lowering.name(raw), raw.shape);
}
