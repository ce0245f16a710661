// Gemma 2 (arXiv 2408.00118): windowed and full attention by turns, scores and logits capped by tanh, norms before and after every
// operator, embeddings times the root of their width.
import * as z from 'zod';
import type { Model } from '../liquid/index.ts';
import { attention, block, defineModel, mlp, rmsFromOne, stack } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import type { Spelling } from './checkpoint.ts';
import { parseConfig } from './config.ts';
import { activationNames, headsOf, off, positive, rotaryKeys, rotaryOf, size, sizeKeys, windowOf } from './decoder.ts';
import type { Catalogue } from './entry.ts';

const layerType = z.enum(['sliding_attention', 'full_attention']);

const schema = z.looseObject({
  ...sizeKeys({
    vocabSize: 256_000,
    hiddenSize: 2304,
    intermediateSize: 9216,
    layers: 26,
    heads: 8,
    keyValueHeads: 4,
    positions: 8192,
  }),
  ...rotaryKeys,
  head_dim: size.default(256),
  tie_word_embeddings: z.literal(true).default(true),
  hidden_activation: activationNames.prefault('gelu_pytorch_tanh'),
  attention_bias: off,
  use_bidirectional_attention: off,
  rms_norm_eps: positive.default(1e-6),
  query_pre_attn_scalar: positive.default(256),
  attn_logit_softcapping: positive.nullable().default(50),
  final_logit_softcapping: positive.nullable().default(30),
  sliding_window: size.nullable().default(4096),
  layer_types: z.array(layerType).max(1024).nullish(),
});

/** The model of a config.json of `model_type` gemma2. Errors: `bad-config`, naming the key. */
export function gemma2(json: unknown): Model {
  const config = parseConfig(schema, json);
  const { vocab_size: vocabSize, hidden_size: hiddenSize, num_hidden_layers: depth } = config;
  const { attn_logit_softcapping: scoreCap, final_logit_softcapping: logitCap } = config;
  const types =
    config.layer_types ??
    Array.from({ length: depth }, (_, index) => (index % 2 === 0 ? 'sliding_attention' : 'full_attention'));
  if (types.length !== depth)
    throw new LfmError(
      'bad-config',
      `config.json: layer_types names ${types.length} layers, num_hidden_layers says ${depth}: they must agree.`,
    );
  const options = {
    ...headsOf(config),
    ...rotaryOf(config),
    scale: config.query_pre_attn_scalar ** -0.5,
    ...(scoreCap !== null && { softCap: scoreCap }),
    qkNorm: false,
  };
  const mixers = {
    full_attention: attention(options),
    sliding_attention: attention({ ...options, ...windowOf(config) }),
  };
  const gated = mlp({ intermediateSize: config.intermediate_size, activation: config.hidden_activation, gated: true });
  const channels = block(gated, { norm: rmsFromOne('ffn_norm'), postNorm: rmsFromOne('post_ffn_norm') });
  const norms = { norm: rmsFromOne('operator_norm'), postNorm: rmsFromOne('post_operator_norm') };
  return defineModel({
    vocabSize,
    embeddingScale: Math.sqrt(hiddenSize),
    ...(logitCap !== null && { logitSoftCap: logitCap }),
    hiddenSize,
    finalNorm: rmsFromOne('embedding_norm'),
    layers: types.map((type) => stack(block(mixers[type], norms), channels)),
    normEps: config.rms_norm_eps,
    initializerRange: config.initializer_range,
    contextLength: config.max_position_embeddings,
    config,
  });
}

export const gemma2Spelling: Spelling = {
  names: [
    [
      ['model.embedding_norm.', 'model.norm.'],
      ['.post_operator_norm.', '.post_attention_layernorm.'],
      ['.operator_norm.', '.input_layernorm.'],
      ['.post_ffn_norm.', '.post_feedforward_layernorm.'],
      ['.ffn_norm.', '.pre_feedforward_layernorm.'],
      ['.self_attn.out_proj.', '.self_attn.o_proj.'],
      ['.mlp.gate.', '.mlp.gate_proj.'],
      ['.mlp.fc1.', '.mlp.up_proj.'],
      ['.mlp.fc2.', '.mlp.down_proj.'],
    ],
  ],
};

export const gemma2Models: Catalogue = {
  'gemma-2-2b': {
    family: 'gemma2',
    title: 'Gemma 2 2B',
    source: 'config.json of the published model',
    model: () => gemma2({ model_type: 'gemma2' }),
  },
};
