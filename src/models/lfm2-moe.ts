// LFM2-MoE (arXiv 2511.23404): LFM2's layers with sigmoid routing to a few experts, chosen with a bias that balances them; the
// first layers are dense.
import * as z from 'zod';
import type { Layer, Model } from '../liquid/index.ts';
import { attention, defineModel, layer, moe, shortConv, swiglu } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import { parseConfig, wholeNumber } from './config.ts';
import { expertCount, positive, size } from './decoder.ts';
import type { Catalogue, CatalogueEntry } from './entry.ts';
import { fromHuggingFace } from './lfm2.ts';

/** What LFM2's configuration does not have. */
const schema = z.looseObject({
  intermediate_size: size.default(7168),
  moe_intermediate_size: size.default(1792),
  num_dense_layers: wholeNumber(0, 1024).default(2),
  num_experts: expertCount.default(32),
  num_experts_per_tok: expertCount.default(4),
  use_expert_bias: z.boolean().default(true),
  norm_topk_prob: z.boolean().default(true),
  routed_scaling_factor: positive.default(1),
});

/** The model of a config.json of `model_type` lfm2_moe. Errors: `bad-config`, naming the key. */
export function lfm2Moe(json: unknown): Model {
  const own = parseConfig(schema, json);
  const { intermediate_size: intermediateSize, num_experts_per_tok: activeExperts } = own;
  const config = fromHuggingFace({ hidden_size: 2048, ...own, model_type: 'lfm2', block_auto_adjust_ff_dim: false });
  if (activeExperts > own.num_experts)
    throw new LfmError(
      'bad-config',
      `config.json: num_experts_per_tok: expected at most num_experts, ${own.num_experts}; found ${activeExperts}.`,
    );
  const routed = moe({
    experts: own.num_experts,
    activeExperts,
    intermediateSize: own.moe_intermediate_size,
    routing: 'sigmoid',
    expertBias: own.use_expert_bias,
    normTopK: own.norm_topk_prob,
    routedScale: own.routed_scaling_factor,
  });
  const dense = swiglu({ intermediateSize });
  const { numAttentionHeads: heads, numKeyValueHeads: keyValueHeads, ropeTheta: theta } = config;
  const mixers = {
    conv: shortConv({ kernel: config.convLCache, bias: config.convBias }),
    full_attention: attention({ heads, keyValueHeads, theta }),
  };
  return defineModel({
    vocabSize: config.vocabSize,
    hiddenSize: config.hiddenSize,
    layers: config.layerTypes.map((type, index): Layer =>
      layer(mixers[type], index < own.num_dense_layers ? dense : routed),
    ),
    tieEmbeddings: config.tieWordEmbeddings,
    normEps: config.normEps,
    initializerRange: config.initializerRange,
    contextLength: config.maxPositionEmbeddings,
    config: own,
  });
}

function entry(title: string, json: Readonly<Record<string, unknown>>): CatalogueEntry {
  const source = 'config.json of the published model; layers and sizes as in arXiv 2511.23404';
  const config = { model_type: 'lfm2_moe', max_position_embeddings: 32_768, ...json };
  return { family: 'lfm2_moe', title, source, model: () => lfm2Moe(config) };
}

const small = { num_hidden_layers: 24, full_attn_idxs: [2, 6, 10, 14, 18, 21] };
const large = {
  intermediate_size: 11_776,
  num_experts: 64,
  moe_intermediate_size: 1536,
  num_hidden_layers: 40,
  full_attn_idxs: Array.from({ length: 10 }, (_, index) => 4 * index + 2),
};
const later = { vocab_size: 128_000, max_position_embeddings: 128_000 };

export const lfm2MoeModels: Catalogue = {
  'lfm2-8b-a1b': entry('LFM2-8B-A1B', small),
  'lfm2-24b-a2b': entry('LFM2-24B-A2B', large),
  'lfm2.5-8b-a1b': entry('LFM2.5-8B-A1B', { ...small, ...later }),
  'lfm2.5-24b-a2b': entry('LFM2.5-24B-A2B', { ...large, ...later }),
};
