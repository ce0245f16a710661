// Composites that ONNX Runtime has a kernel for, where the kernel is faster than the decomposition (see LOG.md).
import type { Operation, Value } from '../../tensor/index.ts';
import type { Lowering, Rule } from './lowering.ts';

interface Mapping {
  /** Whether the kernel can do this instance; otherwise it is expanded. */
  readonly fits: (operation: Operation) => boolean;
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
    const [q, , , cache] = operands;
    const [batch, length, , width] = q?.shape ?? [];
    const known = typeof width === 'number' && width % 8 === 0 && typeof cache?.shape[2] === 'number';
    return floats(operands.slice(0, 5)) && known && attributes.window === null && (batch === 1 || length === 1);
  },
  rule: (lowering, operation) => {
    const { operands, results, attributes } = operation;
    const [q, k, v, keys, values] = operands;
    const [out, nextKeys, nextValues] = results;
    if (!q || !k || !v || !out) return;
    const [batch = 1, length = 1, heads = 1, width = 1] = q.shape;
    const [groups = 1] = k.shape.slice(2);
    const flat = (x: typeof q, count: typeof heads) =>
      lowering.reshaped(lowering.name(x), x.shape, [batch, length, Number(count) * Number(width)]);
    const { last, total } = lastRows(lowering, operation);
    const inputs = [
      flat(q, heads),
      flat(k, groups),
      flat(v, groups),
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
      },
    });
    lowering.define(out, 'Reshape', lowering.reshapeInputs(lowering.name(raw), shape, out.shape));
  },
  inPlace: { 3: 1, 4: 2 },
};

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
    const inputs = [lowering.reshaped(lowering.name(x), x.shape, flat), lowering.name(cos), lowering.name(sin)];
    const turned = lowering.node('RotaryEmbedding', inputs, { attributes: { num_heads: { int: Number(heads) } } });
    lowering.define(y, 'Reshape', lowering.reshapeInputs(turned, flat, y.shape));
  },
  inPlace: {},
};

/** Groups whose products stand side by side in the graph. */
const MOST_GROUPS = 256;

/**
 * ragged_dot with each group's own rows, whatever their number: the rows split at run time, one product a group, or a loop that
 * cuts out a group's rows on both sides. Nothing is computed twice or filled up, where the decomposition would copy the whole
 * result at every step.
 */
const raggedDot: Mapping = {
  fits: ({ operands }) =>
    floats(operands.slice(0, 2)) && Number(operands[2]?.shape[0]) <= MOST_GROUPS && !operands[0]?.shape.includes(0),
  rule: (lowering, { operands: [lhs, rhs, sizes], attributes, results: [result] }) => {
    if (!lhs || !rhs || !sizes || !result) return;
    const groups = Number(sizes.shape[0]);
    const counts = lowering.cast(lowering.name(sizes), 'int64');
    if (attributes.rhsContracting === 0) return sumsOfGroups(lowering, [lhs, rhs], counts, result);
    const given = lowering.node('ReduceSum', [counts], { attributes: { keepdims: { int: 1 } } });
    const rest = lowering.node('Sub', [lowering.dimTensor(lhs.shape[0] ?? 1), given]);
    const concatenated = { attributes: { axis: { int: 0 } } };
    const lengths = lowering.node('Concat', [counts, rest], concatenated);
    const along = { attributes: { axis: { int: 0 } } };
    const rows = lowering.graph.node('Split', [lowering.name(lhs), lengths], { ...along, outputs: groups + 1 });
    const [, n = 1, k = 1] = rhs.shape;
    const spec = {
      domain: 'com.microsoft',
      attributes: { transB: { int: Number(attributes.rhsContracting === 2) } },
    };
    const products = rows.slice(0, groups).map((name, group) => {
      const one = lowering.node('Gather', [lowering.name(rhs), lowering.constant('int64', [], [group])], along);
      return lowering.node('FusedMatMul', [name, one], spec);
    });
    const width = attributes.rhsContracting === 2 ? n : k;
    const zeros = lowering.node('Expand', [
      lowering.constant('float32', [], [0]),
      lowering.node('Concat', [rest, lowering.dimTensor(width)], concatenated),
    ]);
    lowering.define(result, 'Concat', [...products, zeros], concatenated);
  },
  inPlace: {},
};

/** ragged_dot over the ragged axis itself: a product for each group, stacked. */
function sumsOfGroups(lowering: Lowering, sides: readonly Value[], counts: string, result: Value): void {
  const ends = lowering.node('CumSum', [counts, lowering.constant('int64', [], [0])]);
  const [groups = 1, ...shape] = result.shape;
  const line = (name: string) => lowering.node('Reshape', [name, lowering.integers([Number(groups), 1])]);
  const bounds = [lowering.node('Sub', [ends, counts]), ends].map(line);
  const body = lowering.graph.subgraph();
  const entered = bounds.map((name) => body.input(`${name}.of.group`, 'int64', [1]));
  const names = sides.map((side) => lowering.name(side));
  const axis = lowering.integers([0]);
  const [left = '', right = ''] = names.map((name) => body.node('Slice', [name, ...entered, axis]));
  // Turned beforehand: see the rule of dot_general.
  const turned = body.node('Transpose', [left], { attributes: { perm: { ints: [1, 0] } } });
  body.output(body.node('MatMul', [turned, right]), 'float32', shape.map(Number));
  lowering.define(result, 'Scan', bounds, {
    attributes: { body: { graph: body }, num_scan_inputs: { int: bounds.length } },
  });
}

const mappings: Readonly<Record<string, Mapping>> = {
  cached_attention: cachedAttention,
  rms_norm: rmsNorm,
  rotary,
  ragged_dot: raggedDot,
};

export const compositeRules: Readonly<Record<string, Rule>> = Object.fromEntries(
  Object.entries(mappings).map(([kind, { rule }]) => [kind, rule]),
);

/** Whether an operation is left whole for its kernel. */
export function isMapped(operation: Operation): boolean {
  return mappings[operation.kind]?.fits(operation) ?? false;
}

/** Whether the kernel may write a result into this operand's own memory. */
export function appendsInPlace({ kind, operands, results }: Operation, input: unknown, output: unknown): boolean {
  const pairs = Object.entries(mappings[kind]?.inPlace ?? {});
  const at = operands.flatMap((operand, index) => (operand === input ? [index] : []));
  const [only] = at;
  return at.length === 1 && pairs.some(([operand, result]) => Number(operand) === only && results[result] === output);
}
