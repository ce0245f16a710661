// Jamba (Lieber et al. 2024, arXiv 2403.19887; 1.5: 2408.12570): Mamba layers with an attention layer among each eight, which
// has no positions; every second layer's SwiGLU is a mixture of experts.
import * as z from 'zod';
import type { Layer, Model } from '../liquid/index.ts';
import { attention, defineModel, layer, mamba, moe, swiglu } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import type { Spelling } from './checkpoint.ts';
import { parseConfig, wholeNumber } from './config.ts';
import { expertCount, headsOf, positive, size, sizeKeys } from './decoder.ts';
import type { Catalogue } from './entry.ts';

const period = wholeNumber(1, 1024);
const offset = wholeNumber(0, 1023);

/** As transformers' JambaConfig reads it. Other keys are not read, but for those that would change what is computed. */
const schema = z.looseObject({
  ...sizeKeys({
    vocabSize: 65_536,
    hiddenSize: 4096,
    intermediateSize: 14_336,
    layers: 32,
    heads: 32,
    keyValueHeads: 8,
    positions: 262_144,
  }),
  hidden_act: z.literal('silu').default('silu'),
  num_experts: expertCount.default(16),
  num_experts_per_tok: expertCount.default(2),
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
});

/** The model of a config.json of `model_type` jamba. Errors: `bad-config`, naming the key. */
export function jamba(json: unknown): Model {
  const config = parseConfig(schema, json);
  const { hidden_size: hiddenSize, intermediate_size: intermediateSize, mamba_dt_rank: rank } = config;
  const wrong = [
    ['num_experts_per_tok', config.num_experts_per_tok <= config.num_experts],
    ['expert_layer_offset', config.expert_layer_offset < config.expert_layer_period],
    ['attn_layer_offset', config.attn_layer_offset < config.attn_layer_period],
  ].find(([, fits]) => !fits);
  if (wrong) throw new LfmError('bad-config', `config.json: ${wrong[0]} does not fit the other sizes.`);
  const attend = attention({ ...headsOf(config), qkNorm: false, rotaryFactor: 0 });
  const select = mamba({
    expand: config.mamba_expand,
    stateSize: config.mamba_d_state,
    convKernel: config.mamba_d_conv,
    ...(rank !== 'auto' && { timeStepRank: rank }),
    bias: config.mamba_proj_bias,
    convBias: config.mamba_conv_bias,
    norms: true,
  });
  const dense = swiglu({ intermediateSize });
  const routed = moe({
    experts: config.num_experts,
    activeExperts: config.num_experts_per_tok,
    intermediateSize,
    normTopK: false,
  });
  const layerAt = (index: number): Layer => {
    const attends = index % config.attn_layer_period === config.attn_layer_offset;
    const routes = config.num_experts > 1 && index % config.expert_layer_period === config.expert_layer_offset;
    return layer(attends ? attend : select, routes ? routed : dense);
  };
  return defineModel({
    vocabSize: config.vocab_size,
    hiddenSize,
    layers: Array.from({ length: config.num_hidden_layers }, (_, index) => layerAt(index)),
    tieEmbeddings: config.tie_word_embeddings,
    normEps: config.rms_norm_eps,
    initializerRange: config.initializer_range,
    contextLength: config.max_position_embeddings,
    config,
  });
}

export const jambaSpelling: Spelling = {
  names: [
    [
      ['model.embedding_norm.', 'model.final_layernorm.'],
      ['.operator_norm.', '.input_layernorm.'],
      ['.ffn_norm.', '.pre_ff_layernorm.'],
      ['.mixer.', '.mamba.'],
      ['.self_attn.out_proj.', '.self_attn.o_proj.'],
      ['.feed_forward.gate.', '.feed_forward.router.'],
      ['.w1.', '.gate_proj.'],
      ['.w2.', '.down_proj.'],
      ['.w3.', '.up_proj.'],
    ],
  ],
};

export const jambaModels: Catalogue = {
  'jamba-1.5-mini': {
    family: 'jamba',
    title: 'Jamba 1.5 Mini',
    source: 'the published config.json (arXiv 2408.12570)',
    // Its sizes are what transformers takes where a configuration says nothing.
    model: () => jamba({ model_type: 'jamba' }),
  },
};
