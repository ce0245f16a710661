// Qwen2-MoE (arXiv 2407.10671): biases on queries, keys and values; experts, and one that all tokens share, behind a gate.
import * as z from 'zod';
import type { Layer, Model } from '../liquid/index.ts';
import { attention, defineModel, layer, moe, swiglu } from '../liquid/index.ts';
import type { Spelling } from './checkpoint.ts';
import { parseConfig, wholeNumber } from './config.ts';
import { expertCount, headsOf, off, positive, rotaryKeys, rotaryOf, size, sizeKeys } from './decoder.ts';
import type { Catalogue } from './entry.ts';
import { blockNames, mlpNames } from './llama.ts';

const schema = z.looseObject({
  ...sizeKeys({
    vocabSize: 151_936,
    hiddenSize: 2048,
    intermediateSize: 5632,
    layers: 24,
    heads: 16,
    keyValueHeads: 16,
    positions: 32_768,
  }),
  ...rotaryKeys,
  hidden_act: z.literal('silu').default('silu'),
  qkv_bias: z.boolean().default(true),
  rms_norm_eps: positive.default(1e-6),
  use_sliding_window: off,
  layer_types: z.array(z.literal('full_attention')).max(1024).nullish(),
  decoder_sparse_step: wholeNumber(1, 1024).default(1),
  mlp_only_layers: z.array(wholeNumber(0, 1023)).max(1024).nullish(),
  moe_intermediate_size: size.default(1408),
  shared_expert_intermediate_size: size.default(5632),
  num_experts: expertCount.default(60),
  num_experts_per_tok: expertCount.default(4),
  norm_topk_prob: z.boolean().default(false),
});

/** The model of a config.json of `model_type` qwen2_moe. Errors: `bad-config`, naming the key; `bad-experts`. */
export function qwen2Moe(json: unknown): Model {
  const config = parseConfig(schema, json);
  const routed = moe({
    experts: config.num_experts,
    activeExperts: config.num_experts_per_tok,
    intermediateSize: config.moe_intermediate_size,
    normTopK: config.norm_topk_prob,
    sharedIntermediateSize: config.shared_expert_intermediate_size,
    sharedGate: true,
  });
  const dense = swiglu({ intermediateSize: config.intermediate_size });
  const attend = attention({ ...headsOf(config), ...rotaryOf(config), qkNorm: false, bias: config.qkv_bias });
  const isDense = (index: number) =>
    config.mlp_only_layers?.includes(index) === true || (index + 1) % config.decoder_sparse_step !== 0;
  return defineModel({
    vocabSize: config.vocab_size,
    hiddenSize: config.hidden_size,
    layers: Array.from({ length: config.num_hidden_layers }, (_, index): Layer =>
      layer(attend, isDense(index) ? dense : routed),
    ),
    tieEmbeddings: config.tie_word_embeddings,
    normEps: config.rms_norm_eps,
    initializerRange: config.initializer_range,
    contextLength: config.max_position_embeddings,
    config,
  });
}

export const qwen2MoeSpelling: Spelling = { names: [[...blockNames, ...mlpNames]] };

export const qwen2MoeModels: Catalogue = {
  'qwen-2-57b-a14b': {
    family: 'qwen2_moe',
    title: 'Qwen2-57B-A14B',
    source: 'config.json of the published model (arXiv 2407.10671)',
    model: () =>
      qwen2Moe({
        model_type: 'qwen2_moe',
        hidden_size: 3584,
        num_hidden_layers: 28,
        num_attention_heads: 28,
        num_key_value_heads: 4,
        num_experts: 64,
        num_experts_per_tok: 8,
        moe_intermediate_size: 2560,
        shared_expert_intermediate_size: 20_480,
        rope_theta: 1_000_000,
      }),
  },
};
