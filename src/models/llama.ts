// Llama (Touvron et al. 2023, arXiv 2302.13971; grouped queries since 2307.09288): attention and SwiGLU at every depth.
// SmolLM2, Llama 2 and 3, TinyLlama and others are this architecture; Mistral adds a window, Qwen 2 biases.
import * as z from 'zod';
import type { AttentionOptions, Model } from '../liquid/index.ts';
import { attention, defineModel, layer, swiglu } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import type { Names, Spelling } from './checkpoint.ts';
import { parseConfig } from './config.ts';
import { headsOf, off, positive, rotaryKeys, rotaryOf, size, sizeKeys, windowOf } from './decoder.ts';

/** transformers' names, in camelCase. */
export interface LlamaConfig {
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  readonly ropeTheta: number;
  /** What attention takes besides. */
  readonly attention: Pick<AttentionOptions, 'bias' | 'outBias' | 'window' | 'rotaryFactor' | 'rotaryScaling'>;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numHiddenLayers: number;
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
      ...config.attention,
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

/** What checkpoints of Llama's relatives call norms and attention. */
export const blockNames: Names = [
  ['model.embedding_norm.', 'model.norm.'],
  ['.operator_norm.', '.input_layernorm.'],
  ['.ffn_norm.', '.post_attention_layernorm.'],
  ['.self_attn.out_proj.', '.self_attn.o_proj.'],
];

/** And a SwiGLU's matrices. */
export const mlpNames: Names = [
  ['.feed_forward.', '.mlp.'],
  ['.w1.', '.gate_proj.'],
  ['.w2.', '.down_proj.'],
  ['.w3.', '.up_proj.'],
];

export const llamaSpelling: Spelling = { names: [[...blockNames, ...mlpNames]] };

const defaults = {
  llama: {
    vocabSize: 32_000,
    hiddenSize: 4096,
    intermediateSize: 11_008,
    layers: 32,
    heads: 32,
    keyValueHeads: null,
    positions: 2048,
  },
  mistral: {
    vocabSize: 32_000,
    hiddenSize: 4096,
    intermediateSize: 14_336,
    layers: 32,
    heads: 32,
    keyValueHeads: 8,
    positions: 131_072,
  },
  qwen2: {
    vocabSize: 151_936,
    hiddenSize: 4096,
    intermediateSize: 22_016,
    layers: 32,
    heads: 32,
    keyValueHeads: 32,
    positions: 32_768,
  },
};
type Kind = keyof typeof defaults;

/** As transformers' classes read them. Other keys are not read, but for those that would change what is computed. */
const schemaOf = (kind: Kind) =>
  z.looseObject({
    ...sizeKeys(defaults[kind]),
    ...rotaryKeys,
    hidden_act: z.literal('silu').default('silu'),
    attention_bias: z.boolean().nullish(),
    mlp_bias: off,
    rms_norm_eps: positive.default(1e-6),
    sliding_window: kind === 'mistral' ? size.nullable().default(4096) : size.nullish(),
    use_sliding_window: off,
    layer_types: z.array(z.literal('full_attention')).max(1024).nullish(),
  });

const biases: Readonly<Record<Kind, (asked: boolean) => Pick<AttentionOptions, 'bias' | 'outBias'>>> = {
  llama: (asked) => (asked ? { bias: true, outBias: true } : {}),
  mistral: (asked) => {
    if (asked) throw new LfmError('bad-config', 'config.json: attention_bias: expected none of Mistral; found true.');
    return {};
  },
  qwen2: () => ({ bias: true }),
};

/**
 * Reads a config.json of llama, mistral or qwen2. Errors: `bad-config`, naming the key: positions that are scaled by kinds not
 * known here, biases of the MLP, windows at some depths.
 */
export function llamaFromHuggingFace(json: unknown, kind: Kind = 'llama'): LlamaConfig {
  const config = parseConfig(schemaOf(kind), json);
  return llamaConfigOf(config, {
    ...biases[kind](config.attention_bias === true),
    ...(kind === 'mistral' && windowOf(config)),
  });
}

type Described = Pick<
  z.output<ReturnType<typeof schemaOf>>,
  | 'vocab_size'
  | 'hidden_size'
  | 'intermediate_size'
  | 'num_hidden_layers'
  | 'rms_norm_eps'
  | 'initializer_range'
  | 'max_position_embeddings'
  | 'tie_word_embeddings'
>;

/** What Llama's relatives say in the same words; of attention, what is not heads and positions is each one's own. */
export function llamaConfigOf(
  config: Described & Parameters<typeof headsOf>[0] & Parameters<typeof rotaryOf>[0] & LlamaConfig['json'],
  attention: NonNullable<LlamaConfig['attention']>,
): LlamaConfig {
  const { heads, keyValueHeads, headDim } = headsOf(config);
  const { theta, ...rotary } = rotaryOf(config);
  return {
    numAttentionHeads: heads,
    numKeyValueHeads: keyValueHeads,
    headDim,
    ropeTheta: theta,
    attention: { ...rotary, ...attention },
    vocabSize: config.vocab_size,
    hiddenSize: config.hidden_size,
    intermediateSize: config.intermediate_size,
    numHiddenLayers: config.num_hidden_layers,
    rmsNormEps: config.rms_norm_eps,
    initializerRange: config.initializer_range,
    maxPositionEmbeddings: config.max_position_embeddings,
    tieWordEmbeddings: config.tie_word_embeddings,
    json: config,
  };
}
