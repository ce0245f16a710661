// Phi-3 (arXiv 2404.14219): Llama's layers, with positions stretched by LongRoPE where inputs are long.
import * as z from 'zod';
import type { Model } from '../liquid/index.ts';
import type { Spelling } from './checkpoint.ts';
import { parseConfig } from './config.ts';
import { off, positive, rotaryKeys, size, sizeKeys, windowOf } from './decoder.ts';
import type { Catalogue } from './entry.ts';
import { blockNames, llama, llamaConfigOf, mlpNames } from './llama.ts';

const schema = z.looseObject({
  ...sizeKeys({
    vocabSize: 32_064,
    hiddenSize: 3072,
    intermediateSize: 8192,
    layers: 32,
    heads: 32,
    keyValueHeads: null,
    positions: 4096,
  }),
  ...rotaryKeys,
  // transformers' class has this default, and it decides over the dictionary.
  original_max_position_embeddings: size.default(4096),
  hidden_act: z.literal('silu').default('silu'),
  attention_bias: off,
  mlp_bias: off,
  lm_head_bias: off,
  rms_norm_eps: positive.default(1e-5),
  sliding_window: size.nullish(),
});

/** The model of a config.json of `model_type` phi3. Errors: `bad-config`, naming the key. */
export function phi3(json: unknown): Model {
  const config = parseConfig(schema, json);
  return llama(llamaConfigOf(config, windowOf(config)));
}

export const phi3Spelling: Spelling = {
  names: [[...blockNames, ...mlpNames]],
  fused: [
    ['qkv_proj', ['q_proj', 'k_proj', 'v_proj']],
    ['gate_up_proj', ['w1', 'w3']],
  ],
};

export const phi3Models: Catalogue = {
  'phi-3.5-mini': {
    family: 'phi3',
    title: 'Phi-3.5-mini',
    source: 'the published config.json; the factors of LongRoPE, which no cost depends on, are left out',
    model: () => phi3({ model_type: 'phi3', max_position_embeddings: 131_072 }),
  },
};
