// LFM3 (October 2026): gated short convolutions of seven taps, sliding-window and global attention with a gate a head, norms
// before and after every operator.
import * as z from 'zod';
import type { AttentionOptions, Layer, Model } from '../liquid/index.ts';
import { attention, block, defineModel, rms, shortConv, stack, swiglu } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import type { Names, Spelling } from './checkpoint.ts';
import { parseConfig, wholeNumber } from './config.ts';
import type { RotaryEntry } from './decoder.ts';
import { headsOf, off, positive, rotarySchema, size, sizeKeys } from './decoder.ts';
import type { Catalogue } from './entry.ts';

const layerTypes = ['conv', 'sliding_attention', 'full_attention'] as const;
type LayerType = (typeof layerTypes)[number];

const schema = z.looseObject({
  ...sizeKeys({
    vocabSize: 128_000,
    hiddenSize: 2048,
    intermediateSize: 7680,
    layers: 24,
    heads: 16,
    keyValueHeads: 4,
    positions: 128_000,
    tied: true,
  }),
  head_dim: size.default(128),
  norm_eps: positive.nullish(),
  /** transformers' other name for it. */
  rms_norm_eps: positive.nullish(),
  conv_bias: z.boolean().default(false),
  conv_L_cache: wholeNumber(2, 4096).default(7),
  layer_types: z.array(z.enum(layerTypes)).max(1024).nullish(),
  sliding_window: size.nullable().default(256),
  use_sandwich_norm: z.boolean().default(true),
  use_attention_gate: z.boolean().default(true),
  attention_bias: off,
  rope_parameters: z.strictObject({ full_attention: rotarySchema, sliding_attention: rotarySchema }).nullish(),
});

/** Every fourth layer sees everything, the one between sees a window, the rest convolve. */
function layerTypeAt(index: number): LayerType {
  if (index % 4 === 2) return 'full_attention';
  return index % 4 === 0 && index > 0 ? 'sliding_attention' : 'conv';
}

/** How one kind of attention turns its heads: all of them, or `proportional`, a share of the pairs at the width's wavelengths. */
function turningOf(kind: string, entry: RotaryEntry): Partial<AttentionOptions> {
  const { rope_type: type = entry.type, rope_theta: theta, partial_rotary_factor: share, factor } = entry;
  const unknown = (key: string, expected: string, found: unknown) =>
    new LfmError('bad-config', `config.json: rope_parameters.${kind}.${key}: expected ${expected}; found ${found}.`);
  if (typeof theta !== 'number') throw unknown('rope_theta', 'a number', theta);
  if (type === 'default' && (share ?? 1) !== 1)
    throw unknown('partial_rotary_factor', '1 with rope_type default', share);
  if (type === 'default') return { theta };
  if (type !== 'proportional') throw unknown('rope_type', 'default or proportional', JSON.stringify(type));
  if ((factor ?? 1) !== 1) throw unknown('factor', '1 with rope_type proportional', factor);
  return { theta, rotaryFactor: share ?? 1, rotaryKind: 'proportional' };
}

const published: { full_attention: RotaryEntry; sliding_attention: RotaryEntry } = {
  full_attention: { rope_type: 'proportional', rope_theta: 1_000_000, partial_rotary_factor: 0.5 },
  sliding_attention: { rope_type: 'default', rope_theta: 10_000 },
};

/** The model of a config.json of `model_type` lfm3. Errors: `bad-config`, naming the key. */
export function lfm3(json: unknown): Model {
  const config = parseConfig(schema, json);
  const { num_hidden_layers: depth, sliding_window: window } = config;
  const types = config.layer_types ?? Array.from({ length: depth }, (_, index) => layerTypeAt(index));
  if (types.length !== depth)
    throw new LfmError(
      'bad-config',
      `config.json: layer_types names ${types.length} layers, num_hidden_layers says ${depth}: they must agree.`,
    );
  if (window === null && types.includes('sliding_attention'))
    throw new LfmError(
      'bad-config',
      'config.json: sliding_window: expected a number, since layer_types has sliding_attention.',
    );
  const rotary = config.rope_parameters ?? published;
  const heads = { ...headsOf(config), outputGate: config.use_attention_gate };
  const mixers = {
    conv: shortConv({ kernel: config.conv_L_cache, bias: config.conv_bias }),
    full_attention: attention({ ...heads, ...turningOf('full_attention', rotary.full_attention) }),
    sliding_attention: attention({
      ...heads,
      ...turningOf('sliding_attention', rotary.sliding_attention),
      ...(window !== null && { window }),
    }),
  };
  const norms = (name: string) => ({
    norm: rms(`${name}_norm`),
    ...(config.use_sandwich_norm && { postNorm: rms(`post_${name}_norm`) }),
  });
  const mlp = block(swiglu({ intermediateSize: config.intermediate_size }), norms('ffn'));
  return defineModel({
    vocabSize: config.vocab_size,
    hiddenSize: config.hidden_size,
    layers: types.map((type): Layer => stack(block(mixers[type], norms('operator')), mlp)),
    tieEmbeddings: config.tie_word_embeddings,
    normEps: config.norm_eps ?? config.rms_norm_eps ?? 1e-5,
    initializerRange: config.initializer_range,
    contextLength: config.max_position_embeddings,
    config,
  });
}

const names: Names = [
  ['.self_attn.out_proj.', '.self_attn.o_proj.'],
  ['.self_attn.q_layernorm.', '.self_attn.q_norm.'],
  ['.self_attn.k_layernorm.', '.self_attn.k_norm.'],
];

export const lfm3Spelling: Spelling = {
  // The gate of published checkpoints goes by either name.
  names: [names, [...names, ['.self_attn.g_proj.', '.self_attn.gate_proj.']]],
};

export const lfm3Models: Catalogue = {
  'lfm3-1.7b': {
    family: 'lfm3',
    title: 'LFM3-1.7B',
    source: 'config.json of the published model',
    model: () => lfm3({ model_type: 'lfm3', max_position_embeddings: 262_144 }),
  },
};
