// Architectures against transformers' logits on tiny random weights: whole sequences, then a token at a time.
import { expect, it } from 'vitest';
import { countOf } from '../tensor/index.ts';
import type { Model } from '../liquid/index.ts';
import { describeOnEngines, difference, float32, int32, rowsOf, stepper, stored } from '../liquid/testing.ts';
import type { Host, Stored } from '../liquid/testing.ts';
import { readFixture } from '../liquid/testing-fixture.node.ts';
import { lfm3, lfm3Name } from './lfm3.ts';
import { jamba, jambaFromHuggingFace, jambaName } from './jamba.ts';
import { phi, phiName } from './phi.ts';
import { qwen2Moe } from './mixtures.ts';
import { zamba2, zamba2FromHuggingFace, zamba2Name } from './zamba2.ts';

interface Fixture {
  readonly config: unknown;
  readonly tensors: Readonly<Record<string, Stored>>;
  readonly ids: readonly (readonly number[])[];
  readonly logits: Stored;
}

const fixture = (name: string) => readFixture<Fixture>(`models/${name}`);

/** What Qwen2-MoE's checkpoint holds of a parameter. */
function ofQwen(tensors: Fixture['tensors'], name: string, shape: readonly number[]): readonly number[] {
  const theirs = name
    .replace('model.embedding_norm', 'model.norm')
    .replace('.operator_norm.', '.input_layernorm.')
    .replace('.ffn_norm.', '.post_attention_layernorm.')
    .replace('.out_proj.', '.o_proj.')
    .replace('.feed_forward.', '.mlp.')
    .replace(/shared_expert\.w1/, 'shared_expert.gate_proj')
    .replace(/shared_expert\.w3/, 'shared_expert.up_proj')
    .replace(/shared_expert\.w2/, 'shared_expert.down_proj');
  return ofExperts(tensors, theirs, shape);
}

/** What transformers holds of a parameter that may be experts': their gates and inputs lie in one tensor. */
function ofExperts(tensors: Fixture['tensors'], theirs: string, shape: readonly number[]): readonly number[] {
  const packed = /^(.*\.experts)\.w([123])\.weight$/.exec(theirs);
  if (!packed) return tensors[theirs]?.data ?? [];
  const [, prefix, which] = packed;
  if (which === '2') return tensors[`${prefix}.down_proj`]?.data ?? [];
  const { data = [] } = tensors[`${prefix}.gate_up_proj`] ?? {};
  const half = (shape[1] ?? 0) * (shape[2] ?? 0);
  return Array.from({ length: shape[0] ?? 0 }, (_, expert) => {
    const from = (2 * expert + (which === '1' ? 0 : 1)) * half;
    return data.slice(from, from + half);
  }).flat();
}

const zamba = zamba2FromHuggingFace(fixture('zamba2').config);

const cases: Readonly<
  Record<
    string,
    readonly [Model, (tensors: Fixture['tensors'], name: string, shape: readonly number[]) => readonly number[]]
  >
> = {
  jamba: [
    jamba(jambaFromHuggingFace(fixture('jamba').config)),
    (tensors, name, shape) => ofExperts(tensors, jambaName(name), shape),
  ],
  lfm3: [
    lfm3({
      vocabSize: 32,
      hiddenSize: 16,
      intermediateSize: 20,
      layerTypes: ['conv', 'conv', 'full_attention', 'conv', 'sliding_attention'],
      numAttentionHeads: 2,
      numKeyValueHeads: 1,
      headDim: 8,
      convLCache: 4,
      slidingWindow: 4,
      normEps: 1e-5,
      maxPositionEmbeddings: 64,
    }),
    (tensors, name) => tensors[lfm3Name(name)]?.data ?? [],
  ],
  phi: [
    phi({
      vocabSize: 32,
      hiddenSize: 16,
      intermediateSize: 20,
      numHiddenLayers: 2,
      numAttentionHeads: 2,
      maxPositionEmbeddings: 64,
    }),
    (tensors, name) => tensors[phiName(name)]?.data ?? [],
  ],
  qwen2_moe: [
    qwen2Moe({
      vocabSize: 32,
      hiddenSize: 16,
      depth: 2,
      heads: 2,
      keyValueHeads: 1,
      experts: 4,
      activeExperts: 2,
      expertSize: 6,
      sharedSize: 10,
      theta: 10_000,
    }),
    ofQwen,
  ],
  zamba2: [zamba2(zamba), (tensors, name) => tensors[zamba2Name(zamba, name)]?.data ?? []],
};

describeOnEngines('parity with transformers', (engine) => {
  it.each(Object.keys(cases))('%s', async (name) => {
    const found = cases[name];
    if (!found) throw new Error('no such case');
    const [model, read] = found;
    const { tensors, ids, logits } = fixture(name);
    const weights: Record<string, Host> = {};
    for (const [key, { shape }] of Object.entries(model.parameters)) {
      const values = read(tensors, key, shape);
      expect(values.length, key).toBe(countOf(shape));
      weights[key] = float32(shape, values);
    }
    const length = ids[0]?.length ?? 0;
    const want = stored(logits);
    const whole = await stepper(engine, model, weights, 2, 16).feed(int32([2, length], ids.flat()), [length, length]);
    expect(difference(whole, want)).toBeLessThan(1e-4);
    const single = stepper(engine, model, weights, 2, 16);
    for (let t = 0; t < length; t++) {
      const step = await single.feed(
        int32(
          [2, 1],
          ids.map((row) => row[t] ?? 0),
        ),
        [1, 1],
      );
      for (const row of [0, 1]) {
        const expected = rowsOf({ ...want, shape: [2 * length, 32] }, row * length + t, row * length + t + 1);
        expect(difference(rowsOf({ ...step, shape: [2, 32] }, row, row + 1), expected)).toBeLessThan(2e-4);
      }
    }
  });
});
