// Composites other than attention: normalisation, rotation, short convolution, cross entropy, random bits; and their gradients as composites.
import * as t from '../../../src/tensor/index.ts';
import { emit } from '../../../src/tensor/tracer.ts';
import type { InputSpec, OperationCase } from '../case.ts';
import { allFloats, f, i32, testCase, u32 } from '../case.ts';

const symbols = [
  { B: 2, T: 3 },
  { B: 1, T: 5 },
];
const positive = { range: [0.5, 1.5] } as const;

const normed = (
  name: string,
  x: InputSpec,
  w: InputSpec,
  eps: number,
  more: Partial<OperationCase> = {},
): OperationCase => ({
  ...testCase({
    kind: 'rms_norm',
    name,
    inputs: { x, w },
    body: ({ x, w }) => ({ y: t.rmsNorm(x, w, eps) }),
    differentiable: ['x', 'w'],
  }),
  ...more,
});

/** Types that statistics have beside a float: never narrower than float32. */
const wide = (float: t.DType): t.DType => (float === 'float64' ? 'float64' : 'float32');

const normCases: OperationCase[] = [
  normed('rms_norm', f(['B', 'T', 4]), f([4], positive), 1e-5, { bindings: symbols, floats: allFloats }),
  normed('rms_norm of one row', f([6]), f([6], positive), 1e-6),
  normed('rms_norm of width one', f([3, 1], { distinct: [-2, 2] }), f([1], positive), 0.1),
  normed('rms_norm with a large eps', f([2, 3]), f([3], positive), 1),
  // The forward pass alone: the derivative at zero is 1 / sqrt(eps), too steep for differences.
  normed('rms_norm of zeros', f([2, 3], { list: [0] }), f([3], positive), 1e-5, { differentiable: ['w'] }),
  testCase({
    kind: 'rms_norm',
    name: 'rms_norm with its residual used',
    inputs: { x: f([2, 4]), w: f([4], positive) },
    body: ({ x, w }) => {
      const [y = x, inverse = x] = emit('rms_norm', [x, w], { eps: 1e-5 });
      return { y, inverse };
    },
    differentiable: ['x', 'w'],
  }),
  testCase({
    kind: 'rms_norm_grad',
    name: 'rms_norm_grad',
    inputs: { x: f(['B', 'T', 4]), w: f([4], positive), dy: f(['B', 'T', 4]), inverse: f(['B', 'T'], positive) },
    body: ({ x, w, dy, inverse }, float) => {
      const [dx = x, dw = w] = emit('rms_norm_grad', [x, w, t.cast(inverse, wide(float)), dy]);
      return { dx, dw };
    },
    differentiable: ['x', 'w', 'dy', 'inverse'],
    bindings: symbols,
    floats: allFloats,
  }),
];

const siluCases: OperationCase[] = [
  testCase({
    kind: 'silu',
    name: 'silu',
    inputs: { x: f([3, 4]) },
    body: ({ x }) => ({ y: t.silu(x) }),
    differentiable: ['x'],
    floats: allFloats,
  }),
  testCase({
    kind: 'silu',
    name: 'silu with symbols',
    inputs: { x: f(['B', 'T', 2]) },
    body: ({ x }) => ({ y: t.silu(x) }),
    differentiable: ['x'],
    bindings: symbols,
  }),
  testCase({
    kind: 'silu',
    name: 'silu far out',
    inputs: { x: f([6], { list: [0, 100, -100, 20, -20, NaN] }) },
    body: ({ x }) => ({ y: t.silu(x) }),
  }),
  testCase({
    kind: 'silu_grad',
    name: 'silu_grad',
    inputs: { x: f(['B', 'T']), dy: f(['B', 'T']) },
    body: ({ x, dy }) => ({ dx: emit('silu_grad', [x, dy])[0] ?? x }),
    differentiable: ['x', 'dy'],
    bindings: symbols,
    floats: allFloats,
  }),
];

const rotaryCases: OperationCase[] = [
  testCase({
    kind: 'rotary',
    name: 'rotary',
    inputs: { x: f(['B', 'T', 2, 4]), positions: i32(['B', 'T'], { below: 40 }) },
    body: ({ x, positions }, float) => ({ y: t.rotary(x, t.rotaryTables(positions, 4, 10000, wide(float))) }),
    differentiable: ['x'],
    bindings: symbols,
    floats: allFloats,
  }),
  testCase({
    kind: 'rotary',
    name: 'rotary of one pair',
    inputs: { x: f([1, 2, 1, 2]), positions: i32([1, 2], { list: [0, 1000] }) },
    body: ({ x, positions }, float) => ({ y: t.rotary(x, t.rotaryTables(positions, 2, 1e6, wide(float))) }),
    differentiable: ['x'],
  }),
  testCase({
    kind: 'rotary',
    name: 'rotary with tables that are differentiated',
    inputs: { x: f([1, 2, 2, 4]), cos: f([1, 2, 2]), sin: f([1, 2, 2]) },
    body: ({ x, cos, sin }) => ({ y: t.rotary(x, { cos, sin }) }),
    differentiable: ['x', 'cos', 'sin'],
  }),
];

type ConvOptions = {
  readonly tail?: boolean;
  readonly lengths?: readonly number[];
  readonly segments?: readonly number[];
};
/** u [2, 4, 3], kernel 3; both results are outputs. */
const conv = (
  name: string,
  { tail, lengths, segments }: ConvOptions,
  more: Partial<OperationCase> = {},
): OperationCase => ({
  ...testCase({
    kind: 'causal_conv',
    name,
    inputs: {
      u: f([2, 4, 3]),
      w: f([3, 1, 3]),
      tail: f([2, 2, 3]),
      lengths: i32([2], { list: lengths ?? [0] }),
      segments: i32([2, 4], { list: segments ?? [0] }),
    },
    body: (inputs) => ({
      ...t.causalConv(inputs.u, inputs.w, {
        tail: tail ? inputs.tail : undefined,
        lengths: lengths ? inputs.lengths : undefined,
        segments: segments ? inputs.segments : undefined,
      }),
    }),
    differentiable: tail ? ['u', 'w', 'tail'] : ['u', 'w'],
  }),
  ...more,
});
const documents = [0, 0, 1, 1, 3, 4, 4, 4];

const convCases: OperationCase[] = [
  conv('causal_conv', {}, { floats: allFloats }),
  conv('causal_conv with a tail', { tail: true }, { floats: allFloats }),
  conv('causal_conv with lengths', { lengths: [4, 1] }),
  conv('causal_conv with lengths of zero', { lengths: [0, 2] }),
  conv('causal_conv with segments', { segments: documents }),
  conv('causal_conv with a tail and lengths', { tail: true, lengths: [3, 0] }),
  conv('causal_conv with a tail and segments', { tail: true, segments: documents }),
  conv('causal_conv with lengths and segments', { lengths: [2, 4], segments: documents }),
  conv('causal_conv with tail, lengths and segments', { tail: true, lengths: [1, 3], segments: documents }),
  testCase({
    kind: 'causal_conv',
    name: 'causal_conv with symbols, output alone',
    inputs: { u: f(['B', 'T', 2]), w: f([2, 1, 3]) },
    body: ({ u, w }) => ({ y: t.causalConv(u, w).y }),
    differentiable: ['u', 'w'],
    bindings: symbols,
    floats: allFloats,
  }),
  testCase({
    kind: 'causal_conv',
    name: 'causal_conv with symbols, state and lengths',
    inputs: { u: f(['B', 'T', 2]), w: f([2, 1, 4]), tail: f(['B', 3, 2]), lengths: i32(['B'], { below: 4 }) },
    body: ({ u, w, tail, lengths }) => ({ ...t.causalConv(u, w, { tail, lengths }) }),
    differentiable: ['u', 'w', 'tail'],
    bindings: symbols,
  }),
  testCase({
    kind: 'causal_conv',
    name: 'causal_conv of one step (decoding)',
    inputs: { u: f([3, 1, 2]), w: f([2, 1, 3]), tail: f([3, 2, 2]) },
    body: ({ u, w, tail }) => ({ ...t.causalConv(u, w, { tail }) }),
    differentiable: ['u', 'w', 'tail'],
  }),
  testCase({
    kind: 'causal_conv',
    name: 'causal_conv shorter than its kernel',
    inputs: { u: f([1, 2, 2]), w: f([2, 1, 4]) },
    body: ({ u, w }) => ({ ...t.causalConv(u, w) }),
    differentiable: ['u', 'w'],
  }),
  testCase({
    kind: 'causal_conv',
    name: 'causal_conv of kernel one',
    inputs: { u: f([2, 3, 2]), w: f([2, 1, 1]) },
    body: ({ u, w }) => ({ y: t.causalConv(u, w).y }),
    differentiable: ['u', 'w'],
  }),
  testCase({
    kind: 'causal_conv_grad',
    name: 'causal_conv_grad',
    inputs: { u: f(['B', 'T', 3]), w: f([3, 1, 3]), dy: f(['B', 'T', 3]) },
    body: ({ u, w, dy }) => {
      const [du = u, dw = w] = emit('causal_conv_grad', [u, w, dy]);
      return { du, dw };
    },
    differentiable: ['u', 'w', 'dy'],
    bindings: symbols,
    floats: allFloats,
  }),
];

/** Six tokens over seven words. Weights and losses are float32 beside 16-bit states. */
const entropy = (
  name: string,
  chunks: number,
  weights: InputSpec,
  { softCap, ...more }: Partial<OperationCase> & { readonly softCap?: number } = {},
): OperationCase => ({
  ...testCase({
    kind: 'softmax_cross_entropy',
    name,
    inputs: { x: f([6, 4]), w: f([7, 4]), labels: i32([6], { list: [0, 6, 3, 3, 1, 5] }), weights },
    body: ({ x, w, labels, weights }, float) => ({
      loss: t.softmaxCrossEntropy(x, w, labels, t.cast(weights, wide(float)), { chunks, softCap }),
    }),
    differentiable: ['x', 'w'],
  }),
  ...more,
});
const everyone = { list: [1] };

const entropyCases: OperationCase[] = [
  entropy('softmax_cross_entropy', 1, f([6], everyone), { floats: allFloats }),
  entropy('softmax_cross_entropy in two chunks', 2, f([6], everyone), { floats: allFloats }),
  entropy('softmax_cross_entropy of capped logits', 2, f([6], everyone), { floats: allFloats, softCap: 1.5 }),
  entropy('softmax_cross_entropy in chunks of one token', 6, f([6], positive)),
  entropy('softmax_cross_entropy with tokens of no weight', 3, f([6], { list: [1, 0, 0.5, 0, 0, 2] })),
  entropy('softmax_cross_entropy of no weight at all', 1, f([6], { list: [0] })),
  entropy('softmax_cross_entropy, weights differentiated', 2, f([6], positive), {
    differentiable: ['x', 'w', 'weights'],
  }),
  entropy('softmax_cross_entropy of large logits', 1, f([6], everyone), {
    inputs: {
      x: f([6, 4], { range: [-30, 30] }),
      w: f([7, 4], { range: [-3, 3] }),
      labels: i32([6], { list: [0, 6, 3, 3, 1, 5] }),
      weights: f([6], everyone),
    },
  }),
  testCase({
    kind: 'softmax_cross_entropy',
    name: 'softmax_cross_entropy with symbols',
    inputs: {
      x: f(['B', 'T', 3]),
      w: f([5, 3]),
      labels: i32(['B', 'T'], { below: 5 }),
      weights: f(['B', 'T'], positive),
    },
    body: ({ x, w, labels, weights }, float) => {
      const flat = (tensor: t.Tensor) => t.reshape(tensor, ['B*T', ...tensor.shape.slice(2)]);
      return {
        loss: t.softmaxCrossEntropy(flat(x), w, flat(labels), flat(t.cast(weights, wide(float))), { chunks: 1 }),
      };
    },
    differentiable: ['x', 'w'],
    bindings: symbols,
  }),
];

/** Six tokens over seven words, of a student of width four and a teacher of width three. */
const klInputs = {
  x: f([6, 4]),
  w: f([7, 4]),
  labels: i32([6], { list: [0, 6, 3, 3, 1, 5] }),
  weights: f([6], { list: [1, 0.5, 0, 2, 1, 1] }),
  teacherX: f([6, 3]),
  teacherW: f([7, 3], { distinct: [-2, 2] }),
};
const kl = (
  name: string,
  attributes: Partial<t.SoftmaxKlAttributes>,
  more: Partial<OperationCase> = {},
): OperationCase => ({
  ...testCase({
    kind: 'softmax_kl',
    name,
    inputs: klInputs,
    body: ({ x, w, labels, weights, teacherX, teacherW }, float) => ({
      ...t.softmaxKl({ x, w }, { x: teacherX, w: teacherW }, labels, t.cast(weights, wide(float)), {
        chunks: 1,
        temperature: 1,
        nextToken: 0,
        ...attributes,
      }),
    }),
  }),
  ...more,
});
/** The loss alone, whose gradients are the composite's own. */
const klSlopes = (name: string, attributes: Partial<t.SoftmaxKlAttributes>): OperationCase => {
  const { body, ...one } = kl(name, attributes, { differentiable: ['x', 'w'] });
  return {
    ...one,
    body: (given, float) => {
      const { loss } = body(given, float);
      return loss ? { loss } : {};
    },
  };
};

const klCases: OperationCase[] = [
  kl('softmax_kl', {}, { floats: allFloats }),
  kl('softmax_kl in three chunks, warm and mixed', { chunks: 3, temperature: 2, nextToken: 0.25 }),
  kl('softmax_kl of the three likeliest', { topK: 3, temperature: 1.5 }),
  kl('softmax_kl with all results differentiated', { temperature: 1.5 }, { differentiable: ['x', 'w'] }),
  klSlopes('softmax_kl, slopes', {}),
  klSlopes('softmax_kl, slopes in two chunks, warm and mixed', { chunks: 2, temperature: 2, nextToken: 0.25 }),
  klSlopes('softmax_kl, slopes of the three likeliest', { topK: 3 }),
  klSlopes('softmax_kl, slopes of the three likeliest, warm and mixed', { topK: 3, temperature: 2, nextToken: 0.5 }),
  klSlopes('softmax_kl, slopes of all as the likeliest', { topK: 7 }),
  klSlopes('softmax_kl, slopes of capped logits', { softCap: 1.5, teacherSoftCap: 2 }),
];

const key = (list: readonly number[]): InputSpec => u32([2], { list });
const randomCases: OperationCase[] = [
  testCase({
    kind: 'random_bits',
    name: 'random_bits',
    inputs: { key: key([0x13198a2e, 0x03707344]) },
    body: ({ key }) => ({
      flat: emit('random_bits', [key], { shape: [7] })[0] ?? key,
      shaped: emit('random_bits', [key], { shape: [2, 3] })[0] ?? key,
    }),
  }),
  testCase({
    kind: 'random_bits',
    name: 'random_bits of the largest key',
    inputs: { key: key([0xffffffff, 0xffffffff]) },
    body: ({ key }) => ({
      y: emit('random_bits', [key], { shape: [3, 1, 2] })[0] ?? key,
      scalar: emit('random_bits', [key], { shape: [] })[0] ?? key,
    }),
  }),
  testCase({
    kind: 'random_bits',
    name: 'random uniform',
    inputs: { key: key([1, 2]) },
    body: ({ key }) => ({ y: t.randomUniform(key, [4, 5]) }),
  }),
  testCase({
    kind: 'random_bits',
    name: 'dropout from a key',
    inputs: { key: key([7, 9]), x: f([4, 4]) },
    body: ({ key, x }) => ({ y: t.select(t.lt(t.randomUniform(key, [4, 4]), 0.5), x, 0) }),
    differentiable: ['x'],
  }),
];

export const compositeCases: readonly OperationCase[] = [
  ...normCases,
  ...siluCases,
  ...rotaryCases,
  ...convCases,
  ...entropyCases,
  ...klCases,
  ...randomCases,
];
