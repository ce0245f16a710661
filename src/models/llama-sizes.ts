// The sizes of Llama that the announcement compares with.
import type { Catalogue, CatalogueEntry } from './entry.ts';
import { llama, llamaFromHuggingFace } from './llama.ts';

const shared = {
  model_type: 'llama',
  vocab_size: 128_256,
  num_key_value_heads: 8,
  rope_theta: 500_000,
  rms_norm_eps: 1e-5,
  max_position_embeddings: 131_072,
};

/** How positions stretch past 8,192 tokens. */
function scaled(factor: number) {
  const original = { original_max_position_embeddings: 8192, low_freq_factor: 1, high_freq_factor: 4 };
  return { rope_scaling: { rope_type: 'llama3', factor, ...original } };
}

function entry(title: string, size: Readonly<Record<string, unknown>>): CatalogueEntry {
  const json = { ...shared, ...size };
  return {
    family: 'llama',
    title,
    source: 'the published config.json',
    model: () => llama(llamaFromHuggingFace(json)),
  };
}

export const llamaModels: Catalogue = {
  'llama-3.2-1b': entry('Llama 3.2 1B', {
    hidden_size: 2048,
    intermediate_size: 8192,
    num_hidden_layers: 16,
    num_attention_heads: 32,
    head_dim: 64,
    tie_word_embeddings: true,
    ...scaled(32),
  }),
  'llama-3.2-3b': entry('Llama 3.2 3B', {
    hidden_size: 3072,
    intermediate_size: 8192,
    num_hidden_layers: 28,
    num_attention_heads: 24,
    head_dim: 128,
    tie_word_embeddings: true,
    ...scaled(32),
  }),
  'llama-3.1-8b': entry('Llama 3.1 8B', {
    hidden_size: 4096,
    intermediate_size: 14_336,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    head_dim: 128,
    ...scaled(8),
  }),
};
