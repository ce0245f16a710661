// What the configurations of Llama and its relatives have in common: sizes, each with the defaults of its model_type in
// transformers, heads that must divide, rotary positions in the spellings of all years.
import * as z from 'zod';
import type { AttentionOptions, RotaryScaling } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import { wholeNumber } from './config.ts';

// Bounds are far above any model that exists: a hostile file must not decide how much memory is asked for.
export const size = wholeNumber(1, 2 ** 18);
export const positive = z.number().positive().max(1e12);
export const layerCount = wholeNumber(1, 1024);
export const vocabulary = wholeNumber(1, 2 ** 24);
export const positions = wholeNumber(1, 2 ** 30);
export const expertCount = wholeNumber(1, 4096);
/** An option that changes what is computed, and that only its neutral value is known of here. */
export const off = z.literal(false).nullish();

interface Defaults {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  /** null: as many as heads. */
  readonly keyValueHeads: number | null;
  readonly positions: number;
  readonly tied?: boolean;
}

/** Keys of a decoder's sizes. A null where transformers has its default reads as absent. */
export function sizeKeys(defaults: Defaults) {
  return {
    vocab_size: vocabulary.default(defaults.vocabSize),
    hidden_size: size.default(defaults.hiddenSize),
    intermediate_size: size.default(defaults.intermediateSize),
    num_hidden_layers: layerCount.default(defaults.layers),
    num_attention_heads: size.default(defaults.heads),
    num_key_value_heads: size.nullable().default(defaults.keyValueHeads),
    head_dim: size.nullish(),
    initializer_range: positive.default(0.02),
    max_position_embeddings: positions.default(defaults.positions),
    tie_word_embeddings: z.boolean().default(defaults.tied ?? false),
  };
}

export interface Heads {
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headDim: number;
}

/** Errors: `bad-config`, naming the key whose number does not divide. */
export function headsOf(config: {
  readonly hidden_size: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads?: number | null | undefined;
  readonly head_dim?: number | null | undefined;
}): Heads {
  const { hidden_size: hiddenSize, num_attention_heads: heads } = config;
  const keyValueHeads = config.num_key_value_heads ?? heads;
  const headDim = config.head_dim ?? hiddenSize / heads;
  const wrong = !Number.isInteger(headDim) || headDim % 2 !== 0 ? 'head_dim' : undefined;
  const key = heads % keyValueHeads === 0 ? wrong : 'num_key_value_heads';
  if (key)
    throw new LfmError(
      'bad-config',
      `config.json: ${key} does not fit a hidden_size of ${hiddenSize}, ${heads} heads and ${keyValueHeads} key/value heads.`,
    );
  return { heads, keyValueHeads, headDim };
}

/** A window that holds the whole context is none. */
export function windowOf(config: {
  readonly sliding_window?: number | null | undefined;
  readonly max_position_embeddings: number;
}): Pick<AttentionOptions, 'window'> {
  const { sliding_window: window, max_position_embeddings: most } = config;
  return window !== null && window !== undefined && window < most ? { window } : {};
}

/** transformers' names of activations, as ours. */
export const activationNames = z
  .enum(['gelu', 'gelu_new', 'gelu_pytorch_tanh', 'relu', 'silu', 'swish'])
  .transform((name) => activations[name]);
const activations = {
  gelu: 'gelu',
  gelu_new: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
  relu: 'relu',
  silu: 'silu',
  swish: 'silu',
} as const;

// --- rotary positions ---

const factors = z.array(positive).max(2 ** 17);

/** All that transformers knows of; another key would change what is computed. */
export const rotarySchema = z.strictObject({
  rope_theta: positive.nullish(),
  rope_type: z.string().max(64).nullish(),
  /** Before transformers 4.45. */
  type: z.string().max(64).nullish(),
  partial_rotary_factor: z.number().min(0).max(1).nullish(),
  factor: positive.nullish(),
  original_max_position_embeddings: positions.nullish(),
  attention_factor: positive.nullish(),
  short_factor: factors.nullish(),
  long_factor: factors.nullish(),
  low_freq_factor: positive.nullish(),
  high_freq_factor: positive.nullish(),
  beta_fast: z.number().nullish(),
  beta_slow: z.number().nullish(),
  mscale: z.number().nullish(),
  mscale_all_dim: z.number().nullish(),
  truncate: z.boolean().nullish(),
});
export type RotaryEntry = z.infer<typeof rotarySchema>;

/** transformers 5 keeps all in `rope_parameters`; before, `rope_theta` stood apart and `rope_scaling` held the rest. */
export const rotaryKeys = {
  rope_theta: positive.nullish(),
  rope_scaling: rotarySchema.nullish(),
  rope_parameters: rotarySchema.nullish(),
  partial_rotary_factor: z.number().min(0).max(1).nullish(),
  original_max_position_embeddings: positions.nullish(),
};

interface RotaryConfig {
  readonly rope_theta?: number | null | undefined;
  readonly rope_scaling?: RotaryEntry | null | undefined;
  readonly rope_parameters?: RotaryEntry | null | undefined;
  readonly partial_rotary_factor?: number | null | undefined;
  readonly original_max_position_embeddings?: number | null | undefined;
  readonly max_position_embeddings: number;
}

export interface Rotary extends Pick<AttentionOptions, 'rotaryFactor' | 'rotaryScaling'> {
  readonly theta: number;
}

/** Options of attention. Errors: `bad-config`: a kind of scaling that is not known here, or one that lacks a number. */
export function rotaryOf(config: RotaryConfig, defaults: { theta?: number; factor?: number } = {}): Rotary {
  const [key, entry] = config.rope_scaling
    ? (['rope_scaling', config.rope_scaling] as const)
    : (['rope_parameters', config.rope_parameters ?? {}] as const);
  const rotaryFactor = entry.partial_rotary_factor ?? config.partial_rotary_factor ?? defaults.factor ?? 1;
  const scaling = scalingOf(key, entry, config);
  return {
    theta: entry.rope_theta ?? config.rope_theta ?? defaults.theta ?? 10_000,
    ...(rotaryFactor !== 1 && { rotaryFactor }),
    ...(scaling && { rotaryScaling: scaling }),
  };
}

function scalingOf(key: string, entry: RotaryEntry, config: RotaryConfig): RotaryScaling | undefined {
  const given = entry.rope_type ?? entry.type ?? 'default';
  const need = <K extends keyof RotaryEntry>(name: K): NonNullable<RotaryEntry[K]> => {
    const value = entry[name];
    if (value !== null && value !== undefined) return value;
    throw new LfmError('bad-config', `config.json: ${key}.${name}: expected with rope_type "${given}"; found none.`);
  };
  const { max_position_embeddings: most } = config;
  // Phi-3 says it beside the dictionary, which then counts.
  const original = config.original_max_position_embeddings ?? entry.original_max_position_embeddings ?? most;
  // What Phi-3's first configurations called it; they have lists of factors, which YaRN has not.
  const type = ['su', 'yarn'].includes(given) && entry.short_factor ? 'longrope' : given;
  switch (type) {
    case 'default':
      return undefined;
    case 'linear':
      return { type, factor: need('factor') };
    case 'llama3':
      return {
        type,
        factor: need('factor'),
        lowFreqFactor: need('low_freq_factor'),
        highFreqFactor: need('high_freq_factor'),
        originalMaxPositionEmbeddings: original,
      };
    case 'longrope': {
      const factor = entry.factor ?? most / original;
      const stretched = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original));
      return {
        type,
        shortFactor: need('short_factor'),
        longFactor: need('long_factor'),
        attentionFactor: entry.attention_factor ?? stretched,
        originalMaxPositionEmbeddings: original,
      };
    }
    default:
      throw new LfmError(
        'bad-config',
        `config.json: ${key}.rope_type: expected one of default, linear, llama3, longrope; found ${JSON.stringify(given)}, whose positions are not known here.`,
      );
  }
}
