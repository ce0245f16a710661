// OpenELM (arXiv 2404.14619): attention whose heads, and SwiGLU whose width, grow from layer to layer.
import * as z from 'zod';
import type { Model } from '../liquid/index.ts';
import { attention, defineModel, layer, swiglu } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import type { Spelling } from './checkpoint.ts';
import { parseConfig } from './config.ts';
import { layerCount, positions, positive, size, vocabulary } from './decoder.ts';
import type { Catalogue } from './entry.ts';

const multiplier = z.number().positive().max(64);
/** One for all layers, the first's and the last's, or as published files have it one a layer. */
const multiplierList = z.union([multiplier.transform((one) => [one, one]), z.array(multiplier).min(2).max(1024)]);

/** As the class that ships with its checkpoints reads it: it is not among transformers' own. */
const schema = z.looseObject({
  vocab_size: vocabulary.default(32_000),
  model_dim: size.default(2048),
  num_transformer_layers: layerCount.default(12),
  head_dim: size.default(128),
  /** Query heads that share a head of keys and values. */
  num_gqa_groups: size.default(1),
  /** Query width, and feed-forward width, over the model's. */
  qkv_multipliers: multiplierList.prefault(1),
  ffn_multipliers: multiplierList.prefault(4),
  ffn_dim_divisor: size.default(256),
  /** What the class works out of the multipliers, and writes beside them. */
  num_query_heads: z.array(size).max(1024).nullish(),
  num_kv_heads: z.array(size).max(1024).nullish(),
  ffn_with_glu: z.literal(true).default(true),
  activation_fn_name: z.enum(['swish', 'silu']).default('swish'),
  normalization_layer_name: z.literal('rms_norm').default('rms_norm'),
  normalize_qk_projections: z.boolean().default(false),
  share_input_output_layers: z.boolean().default(false),
  rope_freq_constant: positive.default(10_000),
  initializer_range: positive.default(0.02),
  max_context_length: positions.default(2048),
});
type Config = z.infer<typeof schema>;

/** One a layer, or evenly from the first to the last, each with two decimals. */
function multipliers(given: readonly number[], count: number): readonly number[] {
  if (given.length === count) return given;
  const [first = 1, last = first] = given;
  return Array.from({ length: count }, (_, index) => {
    const value = first + ((last - first) * index) / Math.max(1, count - 1);
    return Math.round(value * 100) / 100;
  });
}

/** The nearest multiple, but not under nine tenths of the value. */
function roundTo(value: number, divisor: number): number {
  const nearest = Math.max(divisor, Math.floor((value + divisor / 2) / divisor) * divisor);
  return nearest < 0.9 * value ? nearest + divisor : nearest;
}

/** Heads of queries, of keys and values, and the feed-forward width of each layer. Errors: `bad-config`. */
function layersOf(config: Config): { heads: number; keyValueHeads: number; intermediateSize: number }[] {
  const { model_dim: width, head_dim: headDim, num_gqa_groups: shared, num_transformer_layers: count } = config;
  for (const key of ['qkv_multipliers', 'ffn_multipliers', 'num_query_heads', 'num_kv_heads'] as const) {
    const given = config[key]?.length ?? count;
    if (given === count || (given === 2 && key.endsWith('multipliers'))) continue;
    throw new LfmError('bad-config', `config.json: ${key}: expected one a layer, ${count}; found ${given}.`);
  }
  const widths = multipliers(config.ffn_multipliers, count);
  return multipliers(config.qkv_multipliers, count).map((share, index) => {
    const heads = config.num_query_heads?.[index] ?? roundTo(share * width, headDim * shared) / headDim;
    return {
      heads,
      keyValueHeads: config.num_kv_heads?.[index] ?? heads / shared,
      intermediateSize: roundTo((widths[index] ?? 1) * width, config.ffn_dim_divisor),
    };
  });
}

/** The model of a config.json of `model_type` openelm. Errors: `bad-config`, naming the key; `indivisible`. */
export function openElm(json: unknown): Model {
  const config = parseConfig(schema, json);
  const common = {
    headDim: config.head_dim,
    theta: config.rope_freq_constant,
    qkNorm: config.normalize_qk_projections,
  };
  return defineModel({
    vocabSize: config.vocab_size,
    hiddenSize: config.model_dim,
    layers: layersOf(config).map(({ heads, keyValueHeads, intermediateSize }) =>
      layer(attention({ heads, keyValueHeads, ...common }), swiglu({ intermediateSize })),
    ),
    tieEmbeddings: config.share_input_output_layers,
    normEps: 1e-6,
    initializerRange: config.initializer_range,
    contextLength: config.max_context_length,
    config,
  });
}

export const openElmSpelling: Spelling = {
  names: [
    [
      ['model.embed_tokens.', 'transformer.token_embeddings.'],
      ['model.embedding_norm.', 'transformer.norm.'],
      ['model.layers.', 'transformer.layers.'],
      ['.operator_norm.', '.attn_norm.'],
      ['.self_attn.', '.attn.'],
      ['.q_layernorm.', '.q_norm.'],
      ['.k_layernorm.', '.k_norm.'],
      ['.feed_forward.w2.', '.ffn.proj_2.'],
      ['.feed_forward.', '.ffn.'],
    ],
  ],
  fused: [
    ['qkv_proj', ['q_proj', 'k_proj', 'v_proj']],
    ['proj_1', ['w1', 'w3']],
  ],
};

export const openElmModels: Catalogue = {
  'openelm-1.1b': {
    family: 'openelm',
    title: 'OpenELM 1.1B',
    source: 'arXiv 2404.14619 and the published config.json',
    model: () =>
      openElm({
        model_type: 'openelm',
        num_transformer_layers: 28,
        head_dim: 64,
        num_gqa_groups: 4,
        qkv_multipliers: [0.5, 1],
        ffn_multipliers: [0.5, 4],
        normalize_qk_projections: true,
        share_input_output_layers: true,
      }),
  },
};
