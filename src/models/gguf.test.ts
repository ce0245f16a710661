// What a GGUF header is read as, and what of it is refused. Logits from these files are compared in generate/gguf.node.test.ts.
import { describe, expect, it } from 'vitest';
import { openGguf } from '../files/gguf.node.ts';
import type { GgufHeader, GgufValue } from '../files/gguf.ts';
import { openedGguf } from './index.ts';

const fixtures = new URL('../../test/fixtures/gguf/', import.meta.url);

async function headerOf(name: string): Promise<GgufHeader> {
  const file = await openGguf(new URL(`${name}.gguf`, fixtures).pathname);
  await file.close();
  return file;
}

/** The header with keys of the metadata set, or where the value is undefined taken away. */
function changed(header: GgufHeader, keys: Readonly<Record<string, GgufValue | undefined>>): GgufHeader {
  const metadata = new Map(header.metadata);
  for (const [key, value] of Object.entries(keys)) {
    if (value === undefined) metadata.delete(key);
    else metadata.set(key, value);
  }
  return { ...header, metadata };
}

describe('a header', () => {
  it.each([
    ['lfm2moe', 'lfm2_moe', { num_experts: 4, num_experts_per_tok: 2, num_dense_layers: 1, use_expert_bias: true }],
    ['gemma2', 'gemma2', { attn_logit_softcapping: 2, final_logit_softcapping: 5, query_pre_attn_scalar: 8 }],
    ['phi3', 'phi3', { original_max_position_embeddings: 8, sliding_window: null, tie_word_embeddings: false }],
    ['qwen2moe', 'qwen2_moe', { moe_intermediate_size: 8, shared_expert_intermediate_size: 12, norm_topk_prob: false }],
    ['llama3', 'llama', { rope_theta: 500, tie_word_embeddings: true }],
    ['mixtral', 'mixtral', { num_local_experts: 4, rope_scaling: { rope_type: 'linear', factor: 2 } }],
  ])('%s is a configuration of %s', async (name, type, keys) => {
    expect(openedGguf(await headerOf(name)).config).toMatchObject({ model_type: type, ...keys });
  });

  it('names the tensors that hold factors of rotary wavelengths', async () => {
    expect(openedGguf(await headerOf('llama3')).rotaryFactors).toEqual([
      ['short_factor', 'rope_freqs.weight'],
      ['long_factor', 'rope_freqs.weight'],
    ]);
    expect(
      openedGguf(await headerOf('phi3'))
        .rotaryFactors.map(([key]) => key)
        .toSorted(),
    ).toEqual(['long_factor', 'short_factor']);
  });

  it('knows where rows stand in pairs and where norms hold one more', async () => {
    const mixtral = openedGguf(await headerOf('mixtral')).tensors;
    expect(mixtral.get('model.layers.0.self_attn.k_proj.weight')?.pairedHeads).toBe(2);
    expect(mixtral.get('model.layers.1.block_sparse_moe.experts.w1.weight')?.shape).toEqual([4, 16, 32]);
    const gemma = openedGguf(await headerOf('gemma2')).tensors;
    const norms = [...gemma].filter(([, { plusOne }]) => plusOne === true);
    expect(norms).toHaveLength(9);
    expect(norms.every(([name]) => name.includes('norm'))).toBe(true);
  });

  it.each<[string, string, string, Readonly<Record<string, GgufValue | undefined>>]>([
    ['llama', 'gguf-architecture-unsupported', 'lfm2moe', { 'general.architecture': 'falcon' }],
    ['llama', 'gguf-metadata-unsupported', 'llama.rope.scaling.type', { 'llama.rope.scaling.type': 'yarn' }],
    ['llama', 'gguf-metadata-invalid', 'llama.block_count', { 'llama.block_count': undefined }],
    ['mixtral', 'gguf-metadata-invalid', 'llama.expert_used_count', { 'llama.expert_used_count': 1.5 }],
    ['lfm2moe', 'gguf-metadata-unsupported', 'lfm2moe.expert_gating_func', { 'lfm2moe.expert_gating_func': 1 }],
    ['gemma2', 'gguf-metadata-invalid', 'gemma2.attn_logit_softcapping', { 'gemma2.attn_logit_softcapping': NaN }],
    ['phi3', 'gguf-metadata-invalid', 'phi3.rope.dimension_count', { 'phi3.rope.dimension_count': undefined }],
    ['qwen2moe', 'gguf-metadata-invalid', 'qwen2moe.expert_count', { 'qwen2moe.expert_count': 'many' }],
  ])('of %s is refused with %s, naming %s', async (name, code, named, keys) => {
    const header = changed(await headerOf(name), keys);
    expect(() => openedGguf(header)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(named) }),
    );
  });

  it('has no place for a tensor that the architecture does not know', async () => {
    const header = await headerOf('gemma2');
    const [first] = header.tensors.values();
    if (!first) throw new Error('The file is empty.');
    for (const name of ['blk.0.attn_sinks.weight', 'rope_freqs.weight', 'blk.0.constructor.weight']) {
      const tensors = new Map(header.tensors).set(name, { ...first, name });
      expect(() => openedGguf({ ...header, tensors })).toThrow(
        expect.objectContaining({ code: 'gguf-tensor-unknown', message: expect.stringContaining(name) }),
      );
    }
  });
});
