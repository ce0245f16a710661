// Llama (Touvron et al. 2023, arXiv 2302.13971; grouped queries since 2307.09288): attention and SwiGLU at every depth.
// SmolLM2, Llama 2 and 3, TinyLlama and others are this architecture.
import { z } from 'zod';
import type { Model } from '../liquid/index.ts';
import { attention, defineModel, layer, swiglu } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import { parseConfig, wholeNumber } from './config.ts';

/** transformers' names, in camelCase. */
export interface LlamaConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numHiddenLayers: number;
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  readonly ropeTheta: number;
  readonly rmsNormEps: number;
  readonly initializerRange: number;
  readonly maxPositionEmbeddings: number;
  readonly tieWordEmbeddings: boolean;
  /** The config.json that it was read from. */
  readonly json: Readonly<Record<string, unknown>>;
}

/** The model that a configuration describes. Errors: sizes that do not divide (`indivisible`). */
export function llama(config: LlamaConfig): Model {
  const block = layer(
    attention({
      heads: config.numAttentionHeads,
      keyValueHeads: config.numKeyValueHeads,
      headDim: config.headDim,
      theta: config.ropeTheta,
      qkNorm: false,
    }),
    swiglu({ intermediateSize: config.intermediateSize }),
  );
  return defineModel({
    vocabSize: config.vocabSize,
    hiddenSize: config.hiddenSize,
    layers: Array.from({ length: config.numHiddenLayers }, () => block),
    tieEmbeddings: config.tieWordEmbeddings,
    normEps: config.rmsNormEps,
    initializerRange: config.initializerRange,
    contextLength: config.maxPositionEmbeddings,
    config: config.json,
  });
}

const names: readonly (readonly [ours: RegExp, theirs: string])[] = [
  [/^model\.embedding_norm\./, 'model.norm.'],
  [/\.operator_norm\./, '.input_layernorm.'],
  [/\.ffn_norm\./, '.post_attention_layernorm.'],
  [/\.self_attn\.out_proj\./, '.self_attn.o_proj.'],
  [/\.feed_forward\.w1\./, '.mlp.gate_proj.'],
  [/\.feed_forward\.w2\./, '.mlp.down_proj.'],
  [/\.feed_forward\.w3\./, '.mlp.up_proj.'],
];

/** What a Llama checkpoint calls a parameter. */
export function llamaName(parameter: string): string {
  return names.reduce((name, [ours, theirs]) => name.replace(ours, theirs), parameter);
}

// Bounds are far above any model that exists: a hostile file must not decide how much memory is asked for.
const size = wholeNumber(1, 2 ** 18);
const positive = z.number().positive().max(1e12);
const off = z.literal(false).nullish();

/** As transformers' LlamaConfig reads it. Other keys are not read, but for those that would change what is computed. */
const schema = z.looseObject({
  vocab_size: wholeNumber(1, 2 ** 24).default(32_000),
  hidden_size: size.default(4096),
  intermediate_size: size.default(11_008),
  num_hidden_layers: wholeNumber(1, 1024).default(32),
  num_attention_heads: size.default(32),
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  hidden_act: z.literal('silu').default('silu'),
  attention_bias: off,
  mlp_bias: off,
  rope_theta: positive.nullish(),
  rope_parameters: z.object({ rope_theta: positive.optional(), rope_type: z.literal('default').optional() }).nullish(),
  rope_scaling: z.null().optional(),
  rms_norm_eps: positive.default(1e-6),
  initializer_range: positive.default(0.02),
  max_position_embeddings: wholeNumber(1, 2 ** 30).default(2048),
  tie_word_embeddings: z.boolean().default(false),
});

/** Reads a config.json. Errors: `bad-config`, naming the key: scaled rotary positions and biases are not known here. */
export function llamaFromHuggingFace(json: unknown): LlamaConfig {
  const config = parseConfig(schema, json);
  const { hidden_size: hiddenSize, num_attention_heads: numAttentionHeads } = config;
  const numKeyValueHeads = config.num_key_value_heads ?? numAttentionHeads;
  const headDim = config.head_dim ?? hiddenSize / numAttentionHeads;
  const wrong = !Number.isInteger(headDim) || headDim % 2 !== 0 ? 'head_dim' : undefined;
  const key = numAttentionHeads % numKeyValueHeads === 0 ? wrong : 'num_key_value_heads';
  if (key)
    throw new LfmError(
      'bad-config',
      `config.json: ${key} does not fit a hidden_size of ${hiddenSize}, ${numAttentionHeads} heads and ${numKeyValueHeads} key/value heads.`,
    );
  return {
    vocabSize: config.vocab_size,
    hiddenSize,
    intermediateSize: config.intermediate_size,
    numHiddenLayers: config.num_hidden_layers,
    numAttentionHeads,
    numKeyValueHeads,
    headDim,
    ropeTheta: config.rope_parameters?.rope_theta ?? config.rope_theta ?? 10_000,
    rmsNormEps: config.rms_norm_eps,
    initializerRange: config.initializer_range,
    maxPositionEmbeddings: config.max_position_embeddings,
    tieWordEmbeddings: config.tie_word_embeddings,
    json: config,
  };
}
