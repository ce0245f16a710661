// Phi 1.5 (Li et al. 2023, arXiv 2309.05463): attention and MLP side by side on one layer norm, biases everywhere, half of each
// head turned by position.
import * as z from 'zod';
import type { Model } from '../liquid/index.ts';
import { attention, block, defineModel, layerNormed, mlp, stack } from '../liquid/index.ts';
import type { Spelling } from './checkpoint.ts';
import { parseConfig } from './config.ts';
import { activationNames, headsOf, off, positive, rotaryKeys, rotaryOf, sizeKeys } from './decoder.ts';
import type { Catalogue } from './entry.ts';

const schema = z.looseObject({
  ...sizeKeys({
    vocabSize: 51_200,
    hiddenSize: 2048,
    intermediateSize: 8192,
    layers: 24,
    heads: 32,
    keyValueHeads: null,
    positions: 2048,
  }),
  ...rotaryKeys,
  tie_word_embeddings: off,
  hidden_act: activationNames.prefault('gelu_new'),
  layer_norm_eps: positive.default(1e-5),
  qk_layernorm: off,
});

/** The model of a config.json of `model_type` phi. Errors: `bad-config`, naming the key. */
export function phi(json: unknown): Model {
  const config = parseConfig(schema, json);
  const attend = attention({
    ...headsOf(config),
    ...rotaryOf(config, { factor: 0.5 }),
    qkNorm: false,
    bias: true,
    outBias: true,
  });
  const beside = mlp({ intermediateSize: config.intermediate_size, activation: config.hidden_act, bias: true });
  const one = stack(block([attend, beside], { norm: layerNormed('input_layernorm') }));
  return defineModel({
    vocabSize: config.vocab_size,
    tieEmbeddings: false,
    headBias: true,
    hiddenSize: config.hidden_size,
    layers: Array.from({ length: config.num_hidden_layers }, () => one),
    finalNorm: layerNormed('final_layernorm'),
    normEps: config.layer_norm_eps,
    initializerRange: config.initializer_range,
    contextLength: config.max_position_embeddings,
    config,
  });
}

export const phiSpelling: Spelling = { names: [[['.self_attn.out_proj.', '.self_attn.dense.']]] };

export const phiModels: Catalogue = {
  'phi-1.5': {
    family: 'phi',
    title: 'Phi-1.5',
    source: 'config.json of the published model',
    model: () => phi({ model_type: 'phi' }),
  },
};
