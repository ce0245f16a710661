// LFM2 (arXiv 2511.23404): gated short convolutions with a few layers of grouped-query attention, SwiGLU after each.
import * as z from 'zod';
import type { Layer, Model } from '../liquid/index.ts';
import { attention, defineModel, layer, shortConv, swiglu } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import { parseConfig, wholeNumber } from './config.ts';

// --- configuration: transformers' names, in camelCase, after every alias and default is settled ---

export type LayerType = 'conv' | 'full_attention';

export interface Lfm2Config {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  /** Width of the SwiGLU as built: nothing adjusts it any more. */
  readonly intermediateSize: number;
  readonly layerTypes: readonly LayerType[];
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly ropeTheta: number;
  /** Taps of the convolution. */
  readonly convLCache: number;
  readonly convBias: boolean;
  readonly normEps: number;
  readonly initializerRange: number;
  readonly maxPositionEmbeddings: number;
  readonly tieWordEmbeddings: boolean;
  readonly padTokenId: number | null;
  readonly bosTokenId: number | null;
  readonly eosTokenId: number | readonly number[] | null;
}

// --- blocks and model ---

/** The model that a configuration describes. Errors: sizes that do not divide (`indivisible`). */
export function lfm2(config: Lfm2Config): Model {
  const { hiddenSize, vocabSize, normEps, initializerRange, ropeTheta: theta } = config;
  const mlp = swiglu({ intermediateSize: config.intermediateSize });
  const layers: Record<LayerType, Layer> = {
    conv: layer(shortConv({ kernel: config.convLCache, bias: config.convBias }), mlp),
    full_attention: layer(
      attention({ heads: config.numAttentionHeads, keyValueHeads: config.numKeyValueHeads, theta }),
      mlp,
    ),
  };
  return defineModel({
    vocabSize,
    hiddenSize,
    layers: config.layerTypes.map((type) => layers[type]),
    tieEmbeddings: config.tieWordEmbeddings,
    normEps,
    initializerRange,
    contextLength: config.maxPositionEmbeddings,
    config: toHuggingFace(config),
  });
}

// --- config.json ---

// Bounds are far above any model that exists: a hostile file must not decide how much memory is asked for.
const size = wholeNumber(1, 2 ** 18);
const tokenId = wholeNumber(0, 2 ** 24).nullable();
const positive = z.number().positive().max(1e12);
const layerType = z.enum(['conv', 'full_attention']);
const layerCount = wholeNumber(1, 1024);

/** As transformers' Lfm2Config reads it, with the names that LFM2's own training code wrote. Other keys are not read. */
const schema = z.object({
  model_type: z.literal('lfm2').optional(),
  vocab_size: wholeNumber(1, 2 ** 24).default(65_536),
  hidden_size: size.default(2560),
  intermediate_size: size.default(12_288),
  block_ff_dim: size.nullish(),
  block_auto_adjust_ff_dim: z.boolean().default(true),
  block_ffn_dim_multiplier: positive.nullable().default(1),
  block_multiple_of: size.default(256),
  num_hidden_layers: layerCount.default(32),
  layer_types: z.array(layerType).max(1024).nullish(),
  full_attn_idxs: z.array(wholeNumber(0, 1023)).max(1024).nullish(),
  num_attention_heads: size.default(32),
  num_key_value_heads: size.nullable().default(8),
  theta: positive.nullish(),
  rope_theta: positive.nullish(),
  rope_parameters: z.object({ rope_theta: positive.optional(), rope_type: z.literal('default').optional() }).nullish(),
  rope_scaling: z.null().optional(),
  conv_L_cache: wholeNumber(2, 4096).default(3),
  conv_bias: z.boolean().default(false),
  norm_eps: positive.default(1e-5),
  initializer_range: positive.default(0.02),
  max_position_embeddings: wholeNumber(1, 2 ** 30).default(128_000),
  tie_word_embeddings: z.boolean().default(true),
  tie_embedding: z.boolean().nullish(),
  pad_token_id: tokenId.default(0),
  bos_token_id: tokenId.default(1),
  eos_token_id: z.union([tokenId, z.array(wholeNumber(0, 2 ** 24)).max(1024)]).default(2),
});

type HuggingFaceConfig = z.infer<typeof schema>;

function layerTypesOf({
  num_hidden_layers: count,
  layer_types: types,
  full_attn_idxs: attending,
}: HuggingFaceConfig): readonly LayerType[] {
  if (types && types.length !== count) {
    throw new LfmError(
      'bad-config',
      `config.json: layer_types names ${types.length} layers, num_hidden_layers says ${count}: they must agree.`,
    );
  }
  const outside = attending?.find((index) => index >= count);
  if (outside !== undefined) {
    throw new LfmError(
      'bad-config',
      `config.json: full_attn_idxs names layer ${outside}, but num_hidden_layers says ${count}: expected 0 to ${count - 1}.`,
    );
  }
  if (types) return types;
  // With neither key every layer attends, as transformers has it.
  return Array.from({ length: count }, (_, index) =>
    !attending || attending.includes(index) ? 'full_attention' : 'conv',
  );
}

/** Published configurations give a width that the model scales by 2/3 and rounds up; others, the width itself. */
function intermediateSizeOf(config: HuggingFaceConfig): number {
  const given = config.block_ff_dim ?? config.intermediate_size;
  if (!config.block_auto_adjust_ff_dim) return given;
  const scaled = Math.floor((config.block_ffn_dim_multiplier ?? 1) * Math.floor((2 * given) / 3));
  return config.block_multiple_of * Math.ceil(scaled / config.block_multiple_of);
}

/** Shapes of a checkpoint's tensors by name, where they are at hand. */
export type Shapes = Readonly<Record<string, readonly number[]>>;

/**
 * Reads a config.json in any of its spellings. Where the checkpoint's `shapes` are known they decide the SwiGLU's width:
 * some published files hold the adjusted width and still ask to adjust it.
 * Errors: `bad-config`, naming the key.
 */
export function fromHuggingFace(json: unknown, shapes: Shapes = {}): Lfm2Config {
  const config = parseConfig(schema, json);
  const { hidden_size: hiddenSize, num_attention_heads: numAttentionHeads } = config;
  const numKeyValueHeads = config.num_key_value_heads ?? numAttentionHeads;
  if (hiddenSize % numAttentionHeads !== 0 || (hiddenSize / numAttentionHeads) % 2 !== 0) {
    throw new LfmError(
      'bad-config',
      `config.json: hidden_size ${hiddenSize} over num_attention_heads ${numAttentionHeads} gives no even width of a head.`,
    );
  }
  if (numAttentionHeads % numKeyValueHeads !== 0) {
    throw new LfmError(
      'bad-config',
      `config.json: num_key_value_heads ${numKeyValueHeads} does not divide num_attention_heads ${numAttentionHeads}.`,
    );
  }
  return {
    vocabSize: config.vocab_size,
    hiddenSize,
    intermediateSize: shapes['model.layers.0.feed_forward.w1.weight']?.[0] ?? intermediateSizeOf(config),
    layerTypes: layerTypesOf(config),
    numAttentionHeads,
    numKeyValueHeads,
    ropeTheta: config.rope_parameters?.rope_theta ?? config.theta ?? config.rope_theta ?? 1_000_000,
    convLCache: config.conv_L_cache,
    convBias: config.conv_bias,
    normEps: config.norm_eps,
    initializerRange: config.initializer_range,
    maxPositionEmbeddings: config.max_position_embeddings,
    tieWordEmbeddings: config.tie_embedding ?? config.tie_word_embeddings,
    padTokenId: config.pad_token_id,
    bosTokenId: config.bos_token_id,
    eosTokenId: config.eos_token_id,
  };
}

/** The config.json that transformers 5 reads as this configuration. */
export function toHuggingFace(config: Lfm2Config): Readonly<Record<string, unknown>> {
  return {
    architectures: ['Lfm2ForCausalLM'],
    model_type: 'lfm2',
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    block_auto_adjust_ff_dim: false,
    num_hidden_layers: config.layerTypes.length,
    layer_types: config.layerTypes,
    num_attention_heads: config.numAttentionHeads,
    num_key_value_heads: config.numKeyValueHeads,
    rope_parameters: { rope_theta: config.ropeTheta, rope_type: 'default' },
    conv_L_cache: config.convLCache,
    conv_bias: config.convBias,
    norm_eps: config.normEps,
    initializer_range: config.initializerRange,
    max_position_embeddings: config.maxPositionEmbeddings,
    tie_word_embeddings: config.tieWordEmbeddings,
    pad_token_id: config.padTokenId,
    bos_token_id: config.bosTokenId,
    eos_token_id: config.eosTokenId,
  };
}
