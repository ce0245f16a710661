// Mixtral (arXiv 2401.04088): Llama's attention, and in every layer a softmax over experts of which two are run.
import * as z from 'zod';
import type { Model } from '../liquid/index.ts';
import { attention, defineModel, layer, moe } from '../liquid/index.ts';
import type { Spelling } from './checkpoint.ts';
import { parseConfig } from './config.ts';
import { expertCount, headsOf, off, positive, rotaryKeys, rotaryOf, size, sizeKeys, windowOf } from './decoder.ts';
import type { Catalogue } from './entry.ts';
import { blockNames } from './llama.ts';

const schema = z.looseObject({
  ...sizeKeys({
    vocabSize: 32_000,
    hiddenSize: 4096,
    intermediateSize: 14_336,
    layers: 32,
    heads: 32,
    keyValueHeads: 8,
    positions: 131_072,
  }),
  ...rotaryKeys,
  hidden_act: z.literal('silu').default('silu'),
  attention_bias: off,
  rms_norm_eps: positive.default(1e-5),
  sliding_window: size.nullish(),
  num_local_experts: expertCount.nullish(),
  /** The name that other mixtures have for it. */
  num_experts: expertCount.nullish(),
  num_experts_per_tok: expertCount.default(2),
});

/** The model of a config.json of `model_type` mixtral. Errors: `bad-config`, naming the key; `bad-experts`. */
export function mixtral(json: unknown): Model {
  const config = parseConfig(schema, json);
  const routed = moe({
    experts: config.num_local_experts ?? config.num_experts ?? 8,
    activeExperts: config.num_experts_per_tok,
    intermediateSize: config.intermediate_size,
  });
  const options = { ...headsOf(config), ...rotaryOf(config, { theta: 1_000_000 }), ...windowOf(config) };
  const one = layer(attention({ ...options, qkNorm: false }), routed);
  return defineModel({
    vocabSize: config.vocab_size,
    hiddenSize: config.hidden_size,
    layers: Array.from({ length: config.num_hidden_layers }, () => one),
    tieEmbeddings: config.tie_word_embeddings,
    normEps: config.rms_norm_eps,
    initializerRange: config.initializer_range,
    contextLength: config.max_position_embeddings,
    config,
  });
}

export const mixtralSpelling: Spelling = {
  names: [
    [...blockNames, ['.feed_forward.', '.block_sparse_moe.']],
    // As transformers 5 holds it in memory.
    [...blockNames, ['.feed_forward.', '.mlp.']],
  ],
};

export const mixtralModels: Catalogue = {
  'mixtral-8x7b': {
    family: 'mixtral',
    title: 'Mixtral-8x7B-v0.1',
    source: 'config.json of the published model (arXiv 2401.04088)',
    model: () => mixtral({ model_type: 'mixtral', max_position_embeddings: 32_768 }),
  },
};
