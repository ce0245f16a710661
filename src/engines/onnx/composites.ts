// Composites that ONNX Runtime has a kernel for, where the kernel is faster than the decomposition (see LOG.md).
import type { Operation, Value } from '../../tensor/index.ts';
import type { Lowering, Rule } from './lowering.ts';
import { matmulNBits } from './quantized.ts';
import { groupedProducts } from './ragged.ts';
import { wholeRows } from './rounded.ts';

interface Mapping {
  /** Whether the kernel can do this instance; otherwise it is expanded. `isBound`: whether a value is fixed when compiled. */
  readonly fits: (operation: Operation, isBound: (value: Value) => boolean) => boolean;
  readonly rule: Rule;
  /** Operand index -> index of the result that may share its memory: the kernel appends in place. */
  readonly inPlace: Readonly<Record<number, number>>;
}

const floats = (operands: Operation['operands']) => operands.every(({ dtype }) => dtype === 'float32');

/** The last row that each row of the batch writes, int32 [B]; one past the capacity is an error instead of a stray write. */
function lastRows(lowering: Lowering, { operands }: Operation): { last: string; total: string } {
  const [q, , , cache, , starts] = operands;
  const [capacity, length] = [cache?.shape[2] ?? 1, q?.shape[1] ?? 1];
  const count = lowering.cast(lowering.dimScalar(length), 'int32');
  const one = lowering.constant('int32', [], [1]);
  const end = lowering.node('Sub', [lowering.node('Add', [lowering.name(starts), count]), one]);
  const zero = lowering.constant('int64', [], [0]);
  const rows = lowering.node('Range', [zero, lowering.dimScalar(capacity), lowering.constant('int64', [], [1])]);
  const last = lowering.node('Gather', [lowering.cast(rows, 'int32'), end]);
  const longest = lowering.node('ReduceMax', [last], { attributes: { keepdims: { int: 0 } } });
  return { last, total: lowering.node('Add', [longest, one]) };
}

/**
 * cached_attention as com.microsoft.GroupQueryAttention: it writes the new rows into the cache and walks only the rows in
 * use, where the decomposition copies the cache and walks its whole capacity. (The kernel takes several rows of a batch only
 * for one token each.)
 */
const cachedAttention: Mapping = {
  fits: ({ operands, attributes }) => {
    const [batch, length, , width] = operands[0]?.shape ?? [];
    const known = typeof width === 'number' && width % 8 === 0;
    return floats(operands.slice(0, 5)) && known && attributes.window === null && (batch === 1 || length === 1);
  },
  rule: (lowering, operation) => groupedAttention(lowering, operation, lastRows(lowering, operation)),
  inPlace: { 3: 1, 4: 2 },
};

/** [B, T, H, D] as [B, T, H * D]. */
function sideBySide(lowering: Lowering, x: Value): string {
  const [batch = 1, length = 1, heads = 1, width = 1] = x.shape;
  return lowering.shaped(x, [batch, length, Number(heads) * Number(width)]);
}

/** The kernel itself: `last` and `total` as lastRows makes them. */
function groupedAttention(
  lowering: Lowering,
  { operands, results, attributes }: Operation,
  { last, total }: { readonly last: string; readonly total: string },
): void {
  const [q, k, v, keys, values] = operands;
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
    ];
    const shape = [batch, length, Number(heads) * Number(width)];
    const raw = { id: -1, dtype: q.dtype, shape };
    lowering.defineAll([raw, nextKeys, nextValues], 'GroupQueryAttention', inputs, {
      domain: 'com.microsoft',
      attributes: {
        num_heads: { int: Number(heads) },
        kv_num_heads: { int: Number(groups) },
        scale: { float: Number(attributes.scale) },
        ...(attributes.softCap !== undefined && { softcap: { float: Number(attributes.softCap) } }),
      },
    });
    lowering.setView(out, lowering.name(raw), shape);
  }
}

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
    groupedAttention(lowering, operation, { last, total });
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

/** rms_norm as SimplifiedLayerNormalization: one walk instead of four. */
const rmsNorm: Mapping = {
  fits: ({ operands }) => floats(operands) && (operands[0]?.shape.length ?? 0) > 1 && !operands[0]?.shape.includes(0),
  rule: (lowering, { operands: [x, weight], results: [y, inverse], attributes }) => {
    if (!x || !weight || !y || !inverse) return;
    const spec = {
      attributes: { axis: { int: -1 }, epsilon: { float: Number(attributes.eps) }, stash_type: { int: 1 } },
    };
    const inputs = [lowering.name(x), lowering.name(weight)];
    if (!lowering.isRead(inverse)) return lowering.define(y, 'SimplifiedLayerNormalization', inputs, spec);
    // The kernel keeps the axis that the residual does without.
    const kept = { id: -1, dtype: inverse.dtype, shape: [...inverse.shape, 1] };
    lowering.defineAll([y, kept], 'SimplifiedLayerNormalization', inputs, spec);
    lowering.define(inverse, 'Reshape', lowering.reshapeInputs(lowering.name(kept), kept.shape, inverse.shape));
  },
  inPlace: {},
};

/** rotary as ONNX's RotaryEmbedding, heads side by side. */
const rotary: Mapping = {
  fits: ({ operands }) =>
    floats(operands) &&
    operands[0]?.shape.slice(2).every((dim) => typeof dim === 'number') === true &&
    !operands[0].shape.includes(0),
  rule: (lowering, { operands: [x, cos, sin], results: [y] }) => {
    if (!x || !y) return;
    const [batch = 1, length = 1, heads = 1, width = 1] = x.shape;
    const flat = [batch, length, Number(heads) * Number(width)];
    const inputs = [lowering.shaped(x, flat), lowering.name(cos), lowering.name(sin)];
    const turned = lowering.node('RotaryEmbedding', inputs, { attributes: { num_heads: { int: Number(heads) } } });
    lowering.setView(y, turned, flat);
  },
  inPlace: {},
};

const mappings: Readonly<Record<string, Mapping>> = {
  cached_attention: cachedAttention,
  rms_norm: rmsNorm,
  rotary,
  matmul_quantized: { ...matmulNBits, inPlace: {} },
  matmul_rows: { ...wholeRows, inPlace: {} },
  ragged_dot: { ...groupedProducts, inPlace: {} },
};

export const compositeRules: Readonly<Record<string, Rule>> = Object.fromEntries(
  Object.entries(mappings).map(([kind, { rule }]) => [kind, rule]),
);

/** Whether an operation is left whole for its kernel. */
export function isMapped(operation: Operation, isBound: (value: Value) => boolean): boolean {
  return mappings[operation.kind]?.fits(operation, isBound) ?? false;
}

/** Whether the kernel may write a result into this operand's own memory. */
export function appendsInPlace({ kind, operands, results }: Operation, input: unknown, output: unknown): boolean {
  const pairs = Object.entries(mappings[kind]?.inPlace ?? {});
  const at = operands.flatMap((operand, index) => (operand === input ? [index] : []));
  const [only] = at;
  return at.length === 1 && pairs.some(([operand, result]) => Number(operand) === only && results[result] === output);
}
