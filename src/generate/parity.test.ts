// Every architecture from a folder as transformers writes it, against transformers' logits: whole sequences, a token at a time with
// state, and two texts of unequal length side by side. `npm run bench -- parity` prints the same figures.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../engines/engine.ts';
import { measureParity, parityNames } from './testing-parity.node.ts';
import { engines } from './testing.node.ts';

const names = await parityNames();

// Each of these keys, were it not read, would leave the logits as they are.
const rope = { rope_theta: 10_000, rope_type: 'default' };
const mattering: readonly (readonly [name: string, changed: Readonly<Record<string, unknown>>])[] = [
  ['gemma2', { attn_logit_softcapping: null }],
  ['gemma2', { final_logit_softcapping: null }],
  ['gemma2', { query_pre_attn_scalar: 8 }],
  ['gemma2', { sliding_window: 5 }],
  ['gemma2', { layer_types: ['full_attention', 'full_attention', 'full_attention'] }],
  ['gemma2', { hidden_activation: 'gelu' }],
  ['jamba', { num_experts_per_tok: 1 }],
  ['lfm2_moe', { norm_topk_prob: false }],
  ['lfm2_moe', { routed_scaling_factor: 1 }],
  ['lfm2_moe', { num_experts_per_tok: 1 }],
  ['lfm3', { sliding_window: 5 }],
  ['lfm3', { rope_parameters: { full_attention: rope, sliding_attention: rope } }],
  ['llama', { rope_parameters: { rope_theta: 100, rope_type: 'default' } }],
  ['llama', { rms_norm_eps: 1e-2 }],
  ['llama-linear', { rope_parameters: rope }],
  ['mistral', { sliding_window: 5 }],
  ['mixtral', { num_experts_per_tok: 1 }],
  ['openelm', { rope_freq_constant: 1000 }],
  ['phi', { rope_parameters: { ...rope, partial_rotary_factor: 1 } }],
  ['phi', { hidden_act: 'gelu' }],
  ['phi', { layer_norm_eps: 1e-2 }],
  ['phi3', { rope_parameters: rope }],
  ['phi3', { original_max_position_embeddings: 32 }],
  ['qwen2_moe', { norm_topk_prob: true }],
  ['zamba2', { time_step_min: 2 }],
  ['zamba2', { use_mem_rope: false }],
];

describe('what the configuration says is computed [reference]', () => {
  it.each(mattering)('%s with %j is another model', async (name, changed) => {
    const [, open] = engines.find(([engine]) => engine === 'reference') ?? [];
    if (!open) throw new Error('There is no reference.');
    const { sequence, tokenByToken } = await measureParity(await open(), name, changed);
    expect(Math.min(sequence, tokenByToken)).toBeGreaterThan(1e-4);
  });
});

describe.each(engines)('parity with transformers [%s]', (_, open) => {
  let engine: Engine;
  beforeAll(async () => void (engine = await open()));
  afterAll(() => engine.close());

  it.each(names)('%s', async (name) => {
    const { sequence, tokenByToken, unequalBatch, tokens } = await measureParity(engine, name);
    expect(Math.max(sequence, tokenByToken, unequalBatch)).toBeLessThan(1e-4);
    expect(tokens).toBe(81);
    expect(engine.live().buffers).toBe(0);
  });
});
