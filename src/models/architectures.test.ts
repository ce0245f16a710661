// Configurations of every architecture: published ones, spellings of all years, options that are refused; and checkpoints that
// lie otherwise, or do not fit. What they compute is compared in generate/parity.test.ts.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { openSafetensors } from '../files/safetensors.node.ts';
import type { AttentionOptions, Model } from '../liquid/index.ts';
import { operatorsOf, parameterCounts } from '../liquid/index.ts';
import { countOf } from '../tensor/index.ts';
import type { Tensors } from './checkpoint.ts';
import { checkpointNames, modelFromConfig, parametersOf } from './index.ts';

type Json = Record<string, unknown>;
const fixtures = new URL('../../test/fixtures/models/', import.meta.url);
const configOf = (name: string): Json => JSON.parse(readFileSync(new URL(`${name}/config.json`, fixtures), 'utf8'));

/** What attention at a depth was made with. */
function attentionAt(model: Model, depth = 0): AttentionOptions {
  const found = model.layers[depth] && operatorsOf(model.layers[depth]).find(({ name }) => name === 'attention');
  return (found?.options ?? {}) as AttentionOptions;
}

const published: Record<string, { config: Json; parameters: number }> = JSON.parse(
  readFileSync(new URL('../published-configs.json', fixtures), 'utf8'),
);

describe('published configurations', () => {
  it.each(Object.entries(published))('%s has the parameters that transformers makes', (_, { config, parameters }) => {
    expect(parameterCounts(modelFromConfig(config)).total).toBe(parameters);
  });

  it('LFM2-8B-A1B has its 8,339,929,856 parameters and 704 routing biases', () => {
    const model = modelFromConfig({
      architectures: ['Lfm2MoeForCausalLM'],
      model_type: 'lfm2_moe',
      conv_L_cache: 3,
      conv_bias: false,
      dtype: 'bfloat16',
      eos_token_id: 7,
      hidden_size: 2048,
      intermediate_size: 7168,
      layer_types: Array.from({ length: 24 }, (_, i) =>
        [2, 6, 10, 14, 18, 21].includes(i) ? 'full_attention' : 'conv',
      ),
      max_position_embeddings: 128_000,
      moe_intermediate_size: 1792,
      norm_eps: 1e-5,
      norm_topk_prob: true,
      num_attention_heads: 32,
      num_dense_layers: 2,
      num_experts: 32,
      num_experts_per_tok: 4,
      num_hidden_layers: 24,
      num_key_value_heads: 8,
      rope_theta: 1_000_000,
      routed_scaling_factor: 1,
      tie_embedding: true,
      use_expert_bias: true,
      vocab_size: 65_536,
    });
    expect(parameterCounts(model).total).toBe(8_339_929_856 + 704);
  });

  it('LFM3-1.7B has its 1,728,801,536 parameters in 286 tensors', () => {
    const rope = {
      full_attention: { rope_theta: 1_000_000, partial_rotary_factor: 0.5, rope_type: 'proportional' },
      sliding_attention: { rope_theta: 10_000, rope_type: 'default' },
    };
    const model = modelFromConfig({ model_type: 'lfm3', rope_parameters: rope, max_position_embeddings: 262_144 });
    expect(parameterCounts(model).total).toBe(1_728_801_536);
    expect(Object.keys(model.parameters)).toHaveLength(286);
  });

  it('OpenELM finds its layers with and without what its class writes beside them', () => {
    const bare = {
      model_type: 'openelm',
      num_transformer_layers: 28,
      head_dim: 64,
      num_gqa_groups: 4,
      qkv_multipliers: [0.5, 1.0],
      ffn_multipliers: [0.5, 4.0],
      normalize_qk_projections: true,
      share_input_output_layers: true,
    };
    const model = modelFromConfig(bare);
    expect(parameterCounts(model).total).toBe(1_079_891_456);
    const written = {
      ...bare,
      ffn_multipliers: Array.from({ length: 28 }, (_, i) => Math.round((0.5 + (3.5 * i) / 27) * 100) / 100),
      num_query_heads: model.layers.map((_, i) => attentionAt(model, i).heads),
      num_kv_heads: model.layers.map((_, i) => attentionAt(model, i).keyValueHeads),
    };
    expect(modelFromConfig(written).parameters).toEqual(model.parameters);
  });

  it('Phi-3.5-mini reaches 131,072 tokens; a window that holds them all is none', () => {
    const factors = Array.from({ length: 48 }, (_, i) => 1 + i / 48);
    const rope_scaling = { long_factor: factors, short_factor: factors, type: 'longrope' };
    const json = {
      model_type: 'phi3',
      max_position_embeddings: 131_072,
      original_max_position_embeddings: 4096,
      rope_scaling,
      sliding_window: 262_144,
    };
    const options = attentionAt(modelFromConfig(json));
    expect(options).not.toHaveProperty('window');
    expect(options.rotaryScaling).toEqual({
      type: 'longrope',
      longFactor: factors,
      shortFactor: factors,
      attentionFactor: Math.sqrt(1 + Math.log(32) / Math.log(4096)),
      originalMaxPositionEmbeddings: 4096,
    });
    expect(attentionAt(modelFromConfig({ ...json, rope_scaling: { ...rope_scaling, type: 'su' } }))).toEqual(options);
  });
});

describe('spellings', () => {
  const llama3 = { factor: 8, high_freq_factor: 4, low_freq_factor: 1, original_max_position_embeddings: 8192 };
  it.each<[string, Json, Json]>([
    ['llama', { rope_theta: 5e5 }, { rope_parameters: { rope_theta: 5e5, rope_type: 'default' } }],
    ['llama', { rope_theta: 5e5, rope_scaling: null }, { rope_parameters: { rope_theta: 5e5 } }],
    ['llama', { rope_theta: 5e5, rope_parameters: {} }, { rope_parameters: { rope_theta: 5e5 } }],
    [
      'llama',
      { rope_theta: 5e5, rope_scaling: { rope_type: 'llama3', ...llama3 } },
      { rope_parameters: { rope_theta: 5e5, rope_type: 'llama3', ...llama3 } },
    ],
    [
      'llama',
      { rope_scaling: { type: 'linear', factor: 2 } },
      { rope_parameters: { rope_theta: 1e4, rope_type: 'linear', factor: 2 } },
    ],
    ['llama', { num_key_value_heads: null }, { num_key_value_heads: 4 }],
    ['llama', { head_dim: null }, { head_dim: 4 }],
    ['mixtral', { num_local_experts: undefined, num_experts: 4 }, { num_local_experts: 4 }],
    ['phi', { rope_parameters: undefined }, { partial_rotary_factor: 0.5 }],
    [
      'phi',
      { rope_parameters: undefined, partial_rotary_factor: 0.25, rope_theta: 1e4 },
      { rope_parameters: { rope_theta: 1e4, partial_rotary_factor: 0.25 } },
    ],
    ['gemma2', { layer_types: undefined }, {}],
    ['lfm3', { norm_eps: undefined, rms_norm_eps: 1e-5 }, { norm_eps: 1e-5 }],
    ['lfm3', { rope_parameters: null, layer_types: null }, {}],
    ['lfm2_moe', { tie_word_embeddings: undefined, tie_embedding: true }, {}],
    ['lfm2_moe', { rope_parameters: undefined, rope_theta: 1e6 }, {}],
    ['lfm2_moe', { layer_types: undefined, full_attn_idxs: [1] }, {}],
    ['qwen2_moe', { rope_parameters: undefined }, { rope_parameters: { rope_theta: 1e4 } }],
  ])('%s: %j is %j', (name, one, other) => {
    const base = configOf(name);
    const [a, b] = [one, other].map((keys) => {
      const { config: _, ...model } = modelFromConfig({
        ...base,
        ...(keys.rope_theta !== undefined && { rope_parameters: null }),
        ...keys,
      });
      return JSON.stringify(model);
    });
    expect(a).toBe(b);
  });

  it.each([
    ['llama', false],
    ['mixtral', false],
    ['phi3', false],
    ['qwen2_moe', false],
    ['gemma2', true],
    ['lfm3', true],
    ['lfm2_moe', true],
  ])('%s without tie_word_embeddings is tied: %s', (name, tied) => {
    const { parameters } = modelFromConfig({ ...configOf(name), tie_word_embeddings: undefined });
    expect(parameters['lm_head.weight'] === undefined).toBe(tied);
  });
});

describe('what is not known here', () => {
  it.each<[string, string, Json]>([
    ['llama', 'rope_scaling.rope_type', { rope_scaling: { type: 'dynamic', factor: 2 } }],
    ['llama', 'rope_parameters.rope_type', { rope_parameters: { rope_type: 'yarn', rope_theta: 1e4, factor: 4 } }],
    ['llama', 'mrope_section', { rope_parameters: { rope_type: 'default', mrope_section: [1, 1] } }],
    ['llama', 'rope_scaling.low_freq_factor', { rope_scaling: { rope_type: 'llama3', factor: 4 } }],
    ['llama', 'hidden_act', { hidden_act: 'gelu' }],
    ['llama', 'mlp_bias', { mlp_bias: true }],
    ['llama', 'head_dim', { head_dim: 3 }],
    ['llama', 'num_key_value_heads', { num_key_value_heads: 3 }],
    ['mistral', 'attention_bias', { attention_bias: true }],
    ['qwen2', 'use_sliding_window', { use_sliding_window: true }],
    ['qwen2', 'layer_types.1', { layer_types: ['full_attention', 'sliding_attention'] }],
    ['qwen2_moe', 'use_sliding_window', { use_sliding_window: true }],
    ['qwen2_moe', 'num_experts', { num_experts: 1e9 }],
    ['mixtral', 'hidden_act', { hidden_act: 'relu' }],
    ['phi', 'qk_layernorm', { qk_layernorm: true }],
    ['phi', 'hidden_act', { hidden_act: 'quick_gelu' }],
    ['phi', 'tie_word_embeddings', { tie_word_embeddings: true }],
    ['phi3', 'rope_parameters.long_factor', { rope_parameters: { rope_type: 'longrope', short_factor: [1, 1, 1, 1] } }],
    ['gemma2', 'use_bidirectional_attention', { use_bidirectional_attention: true }],
    ['gemma2', 'hidden_activation', { hidden_activation: 'tanh' }],
    ['gemma2', 'layer_types', { layer_types: ['full_attention'] }],
    ['lfm2_moe', 'num_experts_per_tok', { num_experts_per_tok: 5 }],
    ['lfm2_moe', 'layer_types.0', { layer_types: ['mamba', 'conv', 'conv'] }],
    ['lfm2_vl', 'text_config', { text_config: { model_type: 'llama' } }],
    ['lfm3', 'attention_bias', { attention_bias: true }],
    ['lfm3', 'sliding_window', { sliding_window: null }],
    ['lfm3', 'rope_parameters', { rope_parameters: { rope_theta: 1e4 } }],
    ['openelm', 'ffn_with_glu', { ffn_with_glu: false }],
    ['openelm', 'num_query_heads', { num_query_heads: [2] }],
    ['openelm', 'ffn_multipliers', { ffn_multipliers: [1, 1, 1, 1] }],
  ])('%s: %s is named', (name, key, wrong) => {
    expect(() => modelFromConfig({ ...configOf(name), ...wrong })).toThrow(
      expect.objectContaining({ code: 'bad-config', message: expect.stringContaining(key) }),
    );
  });
});

/** A checkpoint in memory. */
function inMemory(arrays: Readonly<Record<string, { shape: readonly number[]; data: Float32Array }>>): Tensors {
  return {
    tensors: new Map(
      Object.entries(arrays).map(([key, { shape, data }]) => [key, { shape, byteLength: data.byteLength }]),
    ),
    readFloat32: (key) => Promise.resolve(arrays[key]?.data ?? new Float32Array()),
  };
}

async function arraysOf(name: string): Promise<Record<string, { shape: readonly number[]; data: Float32Array }>> {
  await using file = await openSafetensors(new URL(`${name}/model.safetensors`, fixtures).pathname);
  const found: Record<string, { shape: readonly number[]; data: Float32Array }> = {};
  for (const [key, { shape }] of file.tensors) found[key] = { shape, data: await file.readFloat32(key) };
  return found;
}

const architectures = [
  'gemma2',
  'lfm2',
  'lfm2_moe',
  'lfm2_vl',
  'lfm3',
  'lfm3_vl',
  'llama',
  'mixtral',
  'mixtral-packed',
  'openelm',
].concat(['mistral', 'phi', 'phi3', 'qwen2', 'qwen2_moe']);

describe.each(architectures)('a checkpoint of %s', (name) => {
  const config = configOf(name);
  const model = modelFromConfig(config);

  it('gives every parameter in its shape, and what it has read', async () => {
    const reader = parametersOf(model, config, inMemory(await arraysOf(name)), name);
    for (const [key, { shape }] of Object.entries(model.parameters)) {
      expect(reader.tensors.get(key)).toEqual({ shape, byteLength: 4 * countOf(shape) });
      expect((await reader.readFloat32(key)).length, key).toBe(countOf(shape));
    }
  });

  it('may hold every parameter as a tensor of its own, as those do that are trained here', async () => {
    const nameOf = checkpointNames(config);
    const entries = Object.entries(model.parameters);
    const own = Object.fromEntries(
      entries.map(([key, { shape }], i) => [nameOf(key), { shape, data: new Float32Array(countOf(shape)).fill(i) }]),
    );
    const reader = parametersOf(model, config, inMemory(own), name);
    for (const [i, [key]] of entries.entries()) expect((await reader.readFloat32(key))[0], key).toBe(i);
  });

  it('is refused for any tensor that is missing, of another shape, or without a place', async () => {
    const arrays = await arraysOf(name);
    const open = (changed: typeof arrays) => () => parametersOf(model, config, inMemory(changed), 'it');
    const used = Object.keys(arrays).filter((key) => !/vision_tower|projector/.test(key));
    for (const key of used) {
      const { [key]: own, ...others } = arrays;
      const shape = own?.shape ?? [];
      const named = {
        code: 'weights-mismatch',
        message: expect.stringContaining('it: config.json asks for the tensor '),
      };
      expect(open(others), key).toThrow(expect.objectContaining(named));
      const wider = shape.with(0, (shape[0] ?? 0) + 1);
      const data = new Float32Array(countOf(wider));
      const message = `it: config.json asks for the tensor ${key} of [${shape.join(', ')}]; found [${wider.join(', ')}] in the checkpoint.`;
      expect(open({ ...arrays, [key]: { shape: wider, data } }), key).toThrow(
        expect.objectContaining({ code: 'weights-mismatch', message }),
      );
    }
    const more = { 'model.layers.0.self_attn.q_proj.extra': { shape: [2, 3], data: new Float32Array(6) } };
    const message = `it: config.json has no place for the tensor ${Object.keys(more)[0]} of [2, 3] that the checkpoint holds.`;
    expect(open({ ...arrays, ...more })).toThrow(expect.objectContaining({ code: 'weights-mismatch', message }));
  });
});

describe('other layouts', () => {
  it('expert by expert and packed are the same weights', async () => {
    const read = async (name: string) => {
      const config = configOf(name);
      const model = modelFromConfig(config);
      const reader = parametersOf(model, config, inMemory(await arraysOf(name)), name);
      return Promise.all(Object.keys(model.parameters).map((key) => reader.readFloat32(key)));
    };
    expect(await read('mixtral')).toEqual(await read('mixtral-packed'));
  });

  it('LFM3 names its gate in two ways', async () => {
    const config = configOf('lfm3');
    const arrays = await arraysOf('lfm3');
    const renamed = Object.fromEntries(
      Object.entries(arrays).map(([key, value]) => [key.replace('.gate_proj.', '.g_proj.'), value]),
    );
    expect(Object.keys(renamed)).not.toEqual(Object.keys(arrays));
    const gate = 'model.layers.2.self_attn.g_proj.weight';
    const model = modelFromConfig(config);
    const [one, other] = [arrays, renamed].map((some) =>
      parametersOf(model, config, inMemory(some), 'it').readFloat32(gate),
    );
    expect(await one).toEqual(await other);
  });

  it('a head that is the embedding, and what old checkpoints work out themselves, may be stored again', async () => {
    const config = configOf('qwen2');
    const arrays = await arraysOf('qwen2');
    const again = {
      ...arrays,
      'lm_head.weight': arrays['model.embed_tokens.weight'] ?? { shape: [], data: new Float32Array() },
      'model.layers.0.self_attn.rotary_emb.inv_freq': { shape: [2], data: new Float32Array(2) },
    };
    expect(parametersOf(modelFromConfig(config), config, inMemory(again), 'it').notice).toBeUndefined();
  });

  it('a vision tower is left out, which is said', async () => {
    const config = configOf('lfm2_vl');
    const { notice } = parametersOf(modelFromConfig(config), config, inMemory(await arraysOf('lfm2_vl')), 'it');
    expect(notice).toBe(
      'it: 27 tensors of its vision tower and projector are left out: this is its language model alone.',
    );
  });

  it('a parameter that is one tensor is named as it is stored', async () => {
    const config = configOf('phi3');
    const reader = parametersOf(modelFromConfig(config), config, inMemory(await arraysOf('phi3')), 'it');
    expect(reader.whole('model.embedding_norm.weight')).toBe('model.norm.weight');
    expect(reader.whole('model.layers.0.self_attn.q_proj.weight')).toBeUndefined();
  });
});
