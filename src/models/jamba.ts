// Jamba (Lieber et al. 2024, arXiv 2403.19887; 1.5: 2408.12570): Mamba layers with an attention layer among each eight, which
// has no positions; every second layer's SwiGLU is a mixture of experts.
import { z } from 'zod';
import type { Layer, Model } from '../liquid/index.ts';
import { attention, defineModel, layer, mamba, moe, swiglu } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import { parseConfig, wholeNumber } from './config.ts';
import type { Catalogue } from './entry.ts';

/** transformers' names, in camelCase. */
export interface JambaConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numHiddenLayers: number;
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly numExperts: number;
  readonly numExpertsPerTok: number;
  readonly expertLayerPeriod: number;
  readonly expertLayerOffset: number;
  readonly attnLayerPeriod: number;
  readonly attnLayerOffset: number;
  readonly mambaDState: number;
  readonly mambaDConv: number;
  readonly mambaExpand: number;
  readonly mambaDtRank: number;
  readonly mambaConvBias: boolean;
  readonly mambaProjBias: boolean;
  readonly rmsNormEps: number;
  readonly initializerRange: number;
  readonly maxPositionEmbeddings: number;
  readonly tieWordEmbeddings: boolean;
  /** The config.json that it was read from. */
  readonly json?: Readonly<Record<string, unknown>>;
}

export function jamba(config: JambaConfig): Model {
  const attend = attention({
    heads: config.numAttentionHeads,
    keyValueHeads: config.numKeyValueHeads,
    qkNorm: false,
    rotaryFactor: 0,
  });
  const select = mamba({
    expand: config.mambaExpand,
    stateSize: config.mambaDState,
    convKernel: config.mambaDConv,
    timeStepRank: config.mambaDtRank,
    bias: config.mambaProjBias,
    convBias: config.mambaConvBias,
    norms: true,
  });
  const dense = swiglu({ intermediateSize: config.intermediateSize });
  const routed = moe({
    experts: config.numExperts,
    activeExperts: config.numExpertsPerTok,
    intermediateSize: config.intermediateSize,
    normTopK: false,
  });
  const layerAt = (index: number): Layer => {
    const attends = index % config.attnLayerPeriod === config.attnLayerOffset;
    const routes = config.numExperts > 1 && index % config.expertLayerPeriod === config.expertLayerOffset;
    return layer(attends ? attend : select, routes ? routed : dense);
  };
  return defineModel({
    vocabSize: config.vocabSize,
    hiddenSize: config.hiddenSize,
    layers: Array.from({ length: config.numHiddenLayers }, (_, index) => layerAt(index)),
    tieEmbeddings: config.tieWordEmbeddings,
    normEps: config.rmsNormEps,
    initializerRange: config.initializerRange,
    contextLength: config.maxPositionEmbeddings,
    ...(config.json && { config: config.json }),
  });
}

const names: readonly (readonly [ours: RegExp, theirs: string])[] = [
  [/^model\.embedding_norm\./, 'model.final_layernorm.'],
  [/\.operator_norm\./, '.input_layernorm.'],
  [/\.ffn_norm\./, '.pre_ff_layernorm.'],
  [/\.mixer\./, '.mamba.'],
  [/\.self_attn\.out_proj\./, '.self_attn.o_proj.'],
  [/\.feed_forward\.gate\./, '.feed_forward.router.'],
  [/\.feed_forward\.w1\./, '.feed_forward.gate_proj.'],
  [/\.feed_forward\.w2\./, '.feed_forward.down_proj.'],
  [/\.feed_forward\.w3\./, '.feed_forward.up_proj.'],
];

/** What a Jamba checkpoint calls a parameter; its experts' are stored in other pieces than ours. */
export function jambaName(parameter: string): string {
  return names.reduce((name, [ours, theirs]) => name.replace(ours, theirs), parameter);
}

// Bounds are far above any model that exists: a hostile file must not decide how much memory is asked for.
const size = wholeNumber(1, 2 ** 18);
const period = wholeNumber(1, 1024);
const offset = wholeNumber(0, 1023);
const positive = z.number().positive().max(1e12);

/** As transformers' JambaConfig reads it. Other keys are not read, but for those that would change what is computed. */
const schema = z.looseObject({
  vocab_size: wholeNumber(1, 2 ** 24).default(65_536),
  hidden_size: size.default(4096),
  intermediate_size: size.default(14_336),
  num_hidden_layers: wholeNumber(1, 1024).default(32),
  num_attention_heads: size.default(32),
  num_key_value_heads: size.nullable().default(8),
  hidden_act: z.literal('silu').default('silu'),
  num_experts: wholeNumber(1, 4096).default(16),
  num_experts_per_tok: wholeNumber(1, 4096).default(2),
  expert_layer_period: period.default(2),
  expert_layer_offset: offset.default(1),
  attn_layer_period: period.default(8),
  attn_layer_offset: offset.default(4),
  mamba_d_state: size.default(16),
  mamba_d_conv: wholeNumber(2, 4096).default(4),
  mamba_expand: wholeNumber(1, 64).default(2),
  mamba_dt_rank: z.union([z.literal('auto'), size]).default('auto'),
  mamba_conv_bias: z.boolean().default(true),
  mamba_proj_bias: z.boolean().default(false),
  sliding_window: z.null().optional(),
  rms_norm_eps: positive.default(1e-6),
  initializer_range: positive.default(0.02),
  max_position_embeddings: wholeNumber(1, 2 ** 30).default(262_144),
  tie_word_embeddings: z.boolean().default(false),
});

/** Reads a config.json. Errors: `bad-config`, naming the key. */
export function jambaFromHuggingFace(json: unknown): JambaConfig {
  const config = parseConfig(schema, json);
  const { hidden_size: hiddenSize, num_attention_heads: heads, mamba_dt_rank: rank } = config;
  const keyValueHeads = config.num_key_value_heads ?? heads;
  const wrong = [
    ['num_attention_heads', hiddenSize % heads === 0 && (hiddenSize / heads) % 2 === 0],
    ['num_key_value_heads', heads % keyValueHeads === 0],
    ['num_experts_per_tok', config.num_experts_per_tok <= config.num_experts],
    ['expert_layer_offset', config.expert_layer_offset < config.expert_layer_period],
    ['attn_layer_offset', config.attn_layer_offset < config.attn_layer_period],
  ].find(([, fits]) => !fits);
  if (wrong) throw new LfmError('bad-config', `config.json: ${wrong[0]} does not fit the other sizes.`);
  return {
    vocabSize: config.vocab_size,
    hiddenSize,
    intermediateSize: config.intermediate_size,
    numHiddenLayers: config.num_hidden_layers,
    numAttentionHeads: heads,
    numKeyValueHeads: keyValueHeads,
    numExperts: config.num_experts,
    numExpertsPerTok: config.num_experts_per_tok,
    expertLayerPeriod: config.expert_layer_period,
    expertLayerOffset: config.expert_layer_offset,
    attnLayerPeriod: config.attn_layer_period,
    attnLayerOffset: config.attn_layer_offset,
    mambaDState: config.mamba_d_state,
    mambaDConv: config.mamba_d_conv,
    mambaExpand: config.mamba_expand,
    mambaDtRank: rank === 'auto' ? Math.ceil(hiddenSize / 16) : rank,
    mambaConvBias: config.mamba_conv_bias,
    mambaProjBias: config.mamba_proj_bias,
    rmsNormEps: config.rms_norm_eps,
    initializerRange: config.initializer_range,
    maxPositionEmbeddings: config.max_position_embeddings,
    tieWordEmbeddings: config.tie_word_embeddings,
    json: config,
  };
}

export const jambaModels: Catalogue = {
  'jamba-1.5-mini': {
    family: 'jamba',
    title: 'Jamba 1.5 Mini',
    source: 'the published config.json (arXiv 2408.12570)',
    // Its sizes are what transformers takes where a configuration says nothing.
    model: () => jamba(jambaFromHuggingFace({ model_type: 'jamba' })),
  },
};
