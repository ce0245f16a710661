// Attention over whole sequences, its gradient, and attention over a cache.
import * as t from '../../../src/tensor/index.ts';
import { emit } from '../../../src/tensor/tracer.ts';
import type { InputSpec, OperationCase } from '../case.ts';
import { allFloats, f, i32, testCase } from '../case.ts';

const symbols = [
  { B: 2, T: 3 },
  { B: 1, T: 5 },
];
const qkv = ['q', 'k', 'v'] as const;

interface Options {
  readonly causal?: boolean;
  readonly window?: number | null;
  readonly sinks?: number;
  readonly softCap?: number;
}
interface Sizes {
  readonly B?: number | string;
  readonly T?: number | string;
  readonly S?: number | string;
  readonly H?: number;
  readonly G?: number;
  readonly D?: number;
}

const inputsOf = ({
  B = 2,
  T = 4,
  S = T,
  H = 2,
  G = 2,
  D = 4,
}: Sizes): { q: InputSpec; k: InputSpec; v: InputSpec } => ({
  q: f([B, T, H, D]),
  k: f([B, S, G, D]),
  v: f([B, S, G, D]),
});

const attended = (name: string, sizes: Sizes, options: Options, more: Partial<OperationCase> = {}): OperationCase => ({
  ...testCase({
    kind: 'attention',
    name,
    inputs: inputsOf(sizes),
    body: ({ q, k, v }) => ({ out: t.attention(q, k, v, { scale: 0.5, ...options }) }),
    differentiable: qkv,
  }),
  ...more,
});

const inDocuments = (
  name: string,
  sizes: Sizes,
  options: Options,
  list: readonly number[],
  more: Partial<OperationCase> = {},
): OperationCase => ({
  ...testCase({
    kind: 'attention',
    name,
    inputs: { ...inputsOf(sizes), segments: i32([sizes.B ?? 2, sizes.T ?? 4], { list }) },
    body: ({ q, k, v, segments }) => ({ out: t.attention(q, k, v, { scale: 0.5, ...options, segments }) }),
    differentiable: qkv,
  }),
  ...more,
});
const documents = [0, 0, 1, 1, 3, 4, 4, 4];

const wholeCases: OperationCase[] = [
  attended('attention, causal', {}, {}, { floats: allFloats }),
  attended('attention, causal, grouped', { H: 4, G: 2 }, {}, { floats: allFloats }),
  attended('attention, one key head for all', { H: 3, G: 1, D: 2 }, {}),
  attended('attention, both ways', { H: 4, G: 2 }, { causal: false }),
  attended('attention of other keys', { T: 3, S: 5, H: 2, G: 1 }, { causal: false }),
  attended('attention in a window', { T: 5, H: 2, G: 1 }, { window: 2 }),
  attended('attention in a window of one', { T: 3 }, { window: 1 }),
  attended('attention in a window that holds all', { T: 3 }, { window: 9 }),
  attended('attention in a window, both ways', { T: 5 }, { causal: false, window: 2 }),
  attended('attention in a window behind sinks', { T: 6, H: 2, G: 1 }, { window: 2, sinks: 1 }),
  attended('attention in a window by tiles', { B: 1, T: 96, H: 2, G: 1, D: 2 }, { window: 5 }),
  attended(
    'attention in a window behind sinks by tiles',
    { T: 128, H: 4, G: 2, D: 2 },
    { window: 33, sinks: 3 },
    { floats: ['float32', 'bfloat16'] },
  ),
  attended('attention with capped scores', { T: 5, H: 4, G: 2 }, { softCap: 0.3 }, { floats: ['float32', 'bfloat16'] }),
  attended('attention with capped scores in a window', { T: 5 }, { softCap: 0.3, window: 2 }),
  attended('attention of one position', { B: 1, T: 1, H: 1, G: 1, D: 2 }, {}),
  attended(
    'attention with large scores',
    { T: 3 },
    {},
    { inputs: { q: f([2, 3, 2, 4], { range: [-9, 9] }), k: f([2, 3, 2, 4], { range: [-9, 9] }), v: f([2, 3, 2, 4]) } },
  ),
  attended(
    'attention with symbols',
    { B: 'B', T: 'T', H: 4, G: 2, D: 2 },
    {},
    { bindings: symbols, floats: ['float32', 'bfloat16'] },
  ),
  inDocuments('attention in documents', { H: 4, G: 2 }, {}, documents, { floats: ['float32', 'bfloat16'] }),
  inDocuments('attention in documents, both ways', {}, { causal: false }, documents),
  inDocuments('attention in documents and a window', { H: 2, G: 1 }, { window: 2 }, documents),
  inDocuments('attention in documents and a window behind sinks', { H: 2, G: 1 }, { window: 2, sinks: 1 }, documents),
  inDocuments('attention in documents with symbols', { B: 'B', T: 'T', H: 2, G: 1, D: 2 }, {}, [0, 0, 2, 2, 3], {
    bindings: symbols,
  }),
  testCase({
    kind: 'attention',
    name: 'attention of a tensor with itself',
    inputs: { x: f([2, 3, 2, 4]) },
    body: ({ x }) => ({ out: t.attention(x, x, x, { scale: 0.5 }) }),
    differentiable: ['x'],
  }),
  testCase({
    kind: 'attention',
    name: 'attention with its log-sum-exp used',
    inputs: inputsOf({ H: 4, G: 2, T: 3 }),
    body: ({ q, k, v }) => {
      const [out = q, lse = q] = emit('attention', [q, k, v], {
        causal: true,
        window: null,
        scale: 0.5,
        segments: false,
      });
      return { out, lse };
    },
    differentiable: qkv,
  }),
];

const gradientCases: OperationCase[] = [
  testCase({
    kind: 'attention_grad',
    name: 'attention_grad',
    inputs: { ...inputsOf({ B: 'B', T: 'T', H: 4, G: 2, D: 2 }), dOut: f(['B', 'T', 4, 2]) },
    body: ({ q, k, v, dOut }) => {
      const attributes = { causal: true, window: null, scale: 0.5, segments: false };
      const [out = q, lse = q] = emit('attention', [q, k, v], attributes);
      const [dq = q, dk = k, dv = v] = emit('attention_grad', [q, k, v, out, lse, dOut], attributes);
      return { dq, dk, dv };
    },
    differentiable: ['q', 'k', 'v', 'dOut'],
    bindings: symbols,
    floats: ['float32', 'bfloat16'],
  }),
  testCase({
    kind: 'attention_grad',
    name: 'attention_grad of capped scores',
    inputs: { ...inputsOf({ T: 3, H: 2, G: 1, D: 2 }), dOut: f([2, 3, 2, 2]) },
    body: ({ q, k, v, dOut }) => {
      const attributes = { causal: true, window: null, scale: 0.7, softCap: 0.3, segments: false };
      const [out = q, lse = q] = emit('attention', [q, k, v], attributes);
      const [dq = q, dk = k, dv = v] = emit('attention_grad', [q, k, v, out, lse, dOut], attributes);
      return { dq, dk, dv };
    },
    differentiable: ['q', 'k', 'dOut'],
  }),
  testCase({
    kind: 'attention_grad',
    name: 'attention_grad in documents and a window',
    inputs: {
      ...inputsOf({ T: 4, H: 2, G: 1, D: 2 }),
      dOut: f([2, 4, 2, 2]),
      segments: i32([2, 4], { list: documents }),
    },
    body: ({ q, k, v, dOut, segments }) => {
      const attributes = { causal: true, window: 3, scale: 0.7, segments: true };
      const [out = q, lse = q] = emit('attention', [q, k, v, segments], attributes);
      const [dq = q, dk = k, dv = v] = emit('attention_grad', [q, k, v, out, lse, dOut, segments], attributes);
      return { dq, dk, dv };
    },
    differentiable: ['q', 'dOut'],
  }),
];

interface CacheSizes {
  readonly T: number | string;
  readonly starts: readonly number[];
  readonly H?: number;
  readonly G?: number;
  readonly B?: number | string;
  readonly window?: number;
  readonly sinks?: number;
  readonly softCap?: number;
  readonly D?: number;
}

/** Some of every size, at either end too. */
const levelList = Array.from({ length: 61 }, (_, i) => ((i * 89) % 256) - 128);
const byLevels = { relative: 0.02, absolute: 0.02 };

/** Of queries, keys and values that are not in a cache yet. */
const newRows = (B: t.Dim, T: t.Dim, H: number, G: number, D: number) => ({
  q: f([B, T, H, D]),
  k: f([B, T, G, D]),
  v: f([B, T, G, D]),
});

/** Capacity 8. Kernels may let queries meet rows before they are rounded, so the scales have room for all of them: what is compared is what is meant. */
const overLevels = (name: string, { B = 2, T, H = 4, G = 2, starts, softCap, D = 8 }: CacheSizes): OperationCase =>
  testCase({
    kind: 'cached_attention',
    name,
    inputs: {
      ...newRows(B, T, H, G, D),
      keys: { dtype: 'int8', shape: [B, G, 8, D], values: { list: levelList } },
      values: { dtype: 'int8', shape: [B, G, 8, D], values: { list: levelList } },
      starts: i32([B], { list: starts }),
      keyScales: f([G, D], { range: [0.016, 0.03] }),
      valueScales: f([G, D], { range: [0.016, 0.03] }),
    },
    body: ({ q, k, v, keys, values, starts, keyScales, valueScales }) => {
      const options = { scale: 0.5, ...(softCap !== undefined && { softCap }) };
      const found = t.cachedAttention(q, k, v, { keys, values, starts, keyScales, valueScales }, options);
      const ends = t.reshape(t.add(starts, t.full('int32', [], Number(T))), [B, 1, 1, 1]);
      const used = (cache: t.Tensor, scales: t.Tensor) => {
        const wide = t.expandDims(t.expandDims(scales, 1), 0);
        return t.select(t.lt(t.iota('int32', [1, 1, 8, 1], 2), ends), t.mul(t.cast(cache, 'float32'), wide), 0);
      };
      return { out: found.out, keys: used(found.keys, keyScales), values: used(found.values, valueScales) };
    },
    tolerance: byLevels,
  });

/** Capacity 8. */
const cached = (
  name: string,
  { B = 2, T, H = 4, G = 2, starts, window, sinks, softCap, D = 2 }: CacheSizes,
  more: Partial<OperationCase> = {},
): OperationCase => ({
  ...testCase({
    kind: 'cached_attention',
    name,
    inputs: {
      ...newRows(B, T, H, G, D),
      keys: f([B, G, 8, D]),
      values: f([B, G, 8, D]),
      starts: i32([B], { list: starts }),
    },
    body: ({ q, k, v, keys, values, starts }) => {
      const given = { ...(sinks !== undefined && { sinks }), ...(softCap !== undefined && { softCap }) };
      const options = { scale: 0.5, window: window ?? null, ...given };
      const found = t.cachedAttention(q, k, v, { keys, values, starts }, options);
      // What the cache holds after the rows in use is not said.
      const ends = t.reshape(t.add(starts, t.full('int32', [], Number(T))), [B, 1, 1, 1]);
      const used = (cache: t.Tensor) => t.select(t.lt(t.iota('int32', [1, 1, 8, 1], 2), ends), cache, 0);
      if (D !== 8) return found;
      return { out: found.out, keys: used(found.keys), values: used(found.values) };
    },
    differentiable: ['q', 'k', 'v', 'keys', 'values'],
  }),
  ...more,
});

const cachedCases: OperationCase[] = [
  cached('cached_attention of one token, unequal starts', { T: 1, starts: [0, 5] }, { floats: allFloats }),
  cached('cached_attention of one token at the last row', { T: 1, starts: [7, 3] }),
  cached(
    'cached_attention of several tokens, unequal starts',
    { T: 3, starts: [4, 0] },
    { floats: ['float32', 'bfloat16'] },
  ),
  cached('cached_attention of one token, heads of 8', { T: 1, starts: [0, 7], D: 8 }),
  cached('cached_attention of several tokens of one row, heads of 8', { B: 1, T: 3, starts: [4], D: 8 }),
  cached('cached_attention from nothing, heads of 8', { B: 1, T: 5, starts: [0], D: 8 }),
  cached('cached_attention to the last row, heads of 8', { B: 1, T: 2, H: 2, G: 1, starts: [6], D: 8 }),
  cached('cached_attention without groups', { T: 2, H: 2, G: 2, starts: [1, 6] }),
  cached('cached_attention with one key head', { T: 2, H: 3, G: 1, starts: [2, 0] }),
  cached('cached_attention in a window', { T: 2, starts: [5, 0], window: 3 }),
  cached('cached_attention in a window behind sinks', { T: 2, starts: [5, 0], window: 3, sinks: 2 }),
  cached('cached_attention with capped scores', { T: 2, starts: [5, 0], softCap: 0.3 }),
  cached('cached_attention with capped scores, heads of 8', { T: 1, starts: [0, 6], softCap: 0.3, D: 8 }),
  cached('cached_attention leaves out rows past the capacity', { T: 3, starts: [6, 7] }),
  cached('cached_attention with symbols', { B: 'B', T: 'T', H: 2, G: 1, starts: [3, 0] }, { bindings: symbols }),
  overLevels('cached_attention over int8, one token, unequal starts', { T: 1, starts: [0, 6] }),
  overLevels('cached_attention over int8, several tokens of one row', { B: 1, T: 3, starts: [4] }),
  overLevels('cached_attention over int8 from nothing', { B: 1, T: 5, starts: [0] }),
  overLevels('cached_attention over int8 to the last row', { B: 1, T: 2, H: 3, G: 1, starts: [6] }),
  overLevels('cached_attention over int8, several tokens of several rows', { T: 3, starts: [5, 0] }),
  overLevels('cached_attention over int8 with capped scores', { B: 1, T: 2, starts: [3], softCap: 0.3 }),
  overLevels('cached_attention over int8, heads of 4', { T: 2, starts: [3, 0], D: 4 }),
  testCase({
    kind: 'cached_attention',
    name: 'cached_attention over a bfloat16 cache',
    inputs: {
      q: f([2, 2, 2, 2]),
      k: f([2, 2, 1, 2]),
      v: f([2, 2, 1, 2]),
      keys: { dtype: 'bfloat16', shape: [2, 1, 6, 2] },
      values: { dtype: 'bfloat16', shape: [2, 1, 6, 2] },
      starts: i32([2], { list: [3, 0] }),
    },
    body: ({ q, k, v, keys, values, starts }) => ({
      ...t.cachedAttention(q, k, v, { keys, values, starts }, { scale: 0.5 }),
    }),
    tolerance: { relative: 0.01, absolute: 0.01 },
  }),
  testCase({
    kind: 'cached_attention',
    name: 'cached_attention with keys that are the values',
    inputs: { q: f([1, 2, 2, 2]), k: f([1, 2, 1, 2]), cache: f([1, 1, 4, 2]), starts: i32([1], { list: [1] }) },
    body: ({ q, k, cache, starts }) => ({
      ...t.cachedAttention(q, k, k, { keys: cache, values: cache, starts }, { scale: 0.5 }),
    }),
    differentiable: ['q', 'k', 'cache'],
  }),
];

const written = (
  name: string,
  B: number | string,
  places: readonly number[],
  bindings?: typeof symbols,
): OperationCase =>
  testCase({
    kind: 'write_row',
    name,
    inputs: { buffer: f([B, 3, 5, 2]), row: f([B, 3, 1, 2]), place: i32([B], { list: places }) },
    body: ({ buffer, row, place }) => ({ out: t.writeRow(buffer, row, place) }),
    differentiable: ['buffer', 'row'],
    floats: ['float32', 'bfloat16'],
    ...(bindings && { bindings }),
  });

const ofRows = (
  name: string,
  B: number | string,
  counts: readonly number[],
  more: Partial<OperationCase> = {},
): OperationCase => ({
  ...testCase({
    kind: 'row_attention',
    name,
    inputs: { q: f([B, 1, 4, 2]), keys: f([B, 2, 5, 2]), values: f([B, 2, 5, 2]), counts: i32([B], { list: counts }) },
    body: ({ q, keys, values, counts }) => ({ out: t.rowAttention(q, keys, values, counts, { scale: 0.7 }) }),
    differentiable: ['q', 'keys', 'values'],
    floats: ['float32', 'bfloat16'],
  }),
  ...more,
});

const rowCases: OperationCase[] = [
  ofRows('row_attention over unequal numbers of rows', 3, [5, 1, 3]),
  ofRows('row_attention with symbols', 'B', [2, 5], { bindings: symbols }),
  written('write_row of unequal places', 3, [4, 0, 2]),
  written('write_row of one row', 1, [3]),
  written('write_row with symbols', 'B', [1, 4], symbols),
];

export const attentionCases: readonly OperationCase[] = [...wholeCases, ...gradientCases, ...cachedCases, ...rowCases];
