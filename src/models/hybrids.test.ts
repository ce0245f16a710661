// Jamba and Zamba 2 from a config.json: what is refused with the key that is wrong, and that a liquid configuration holds them.
import { describe, expect, it } from 'vitest';
import { liquid, toLiquid } from './liquid.ts';
import { modelFromConfig } from './index.ts';

const sizes = {
  vocab_size: 32,
  hidden_size: 16,
  intermediate_size: 12,
  num_attention_heads: 2,
  num_key_value_heads: 1,
};
const jamba = { ...sizes, model_type: 'jamba', num_hidden_layers: 9, num_experts: 3, mamba_d_state: 3 };
const zamba = {
  ...sizes,
  model_type: 'zamba2',
  num_hidden_layers: 5,
  layers_block_type: ['mamba', 'hybrid', 'hybrid', 'linear_attention', 'hybrid'],
  num_mem_blocks: 2,
  adapter_rank: 2,
  n_mamba_heads: 4,
};

describe('jamba', () => {
  it('puts attention and experts where the periods say', () => {
    const mixers = modelFromConfig(jamba).layers.map(({ blocks }) => blocks.map(({ operators: [one] }) => one?.name));
    expect(mixers.map(([mixer]) => mixer === 'attention')).toEqual(Array.from({ length: 9 }, (_, i) => i === 4));
    expect(mixers.map(([, mlp]) => mlp === 'moe')).toEqual(Array.from({ length: 9 }, (_, i) => i % 2 === 1));
  });

  it.each([
    [{ num_key_value_heads: 3 }, 'num_key_value_heads'],
    [{ num_experts_per_tok: 4 }, 'num_experts_per_tok'],
    [{ attn_layer_offset: 8 }, 'attn_layer_offset'],
    [{ mamba_d_conv: 1 }, 'mamba_d_conv'],
    [{ hidden_act: 'gelu' }, 'hidden_act'],
    [{ mamba_expand: 1e9 }, 'mamba_expand'],
  ])('refuses %j', (wrong, key) => {
    expect(() => modelFromConfig({ ...jamba, ...wrong })).toThrow(
      expect.objectContaining({ code: 'bad-config', message: expect.stringContaining(key) }),
    );
  });
});

describe('zamba2', () => {
  it('has one set of weights for every second use, and adapters for each', () => {
    const { links, parameters } = modelFromConfig(zamba);
    expect(links.map(({ depth, leader }) => [depth, leader])).toEqual([[4, 1]]);
    const depths = (name: string) =>
      Object.keys(parameters).flatMap((key) => (key.endsWith(name) ? [Number(key.split('.')[2])] : []));
    expect(depths('self_attn.q_proj.weight')).toEqual([1, 2]);
    expect(depths('gate_up_proj_adapter.0.weight')).toEqual([1, 2, 4]);
  });

  it.each([
    [{ num_hidden_layers: 4 }, 'layers_block_type'],
    [{ n_mamba_heads: 5 }, 'n_mamba_heads'],
    [{ rms_norm_eps: 1e-6 }, 'rms_norm_eps'],
    [{ use_long_context: true }, 'use_long_context'],
  ])('refuses %j', (wrong, key) => {
    expect(() => modelFromConfig({ ...zamba, ...wrong })).toThrow(
      expect.objectContaining({ code: 'bad-config', message: expect.stringContaining(key) }),
    );
  });
});

it.each([jamba, zamba])('$model_type is the same model as a liquid configuration', (json) => {
  const model = modelFromConfig(json);
  const again = liquid(JSON.parse(JSON.stringify(toLiquid(model, { pad: 0, endOfText: 2 }))));
  expect(again.parameters).toEqual(model.parameters);
  expect(again.states).toEqual(model.states);
  expect(again.layers.map(({ blocks }) => blocks.map(({ aside }) => aside))).toEqual(
    model.layers.map(({ blocks }) => blocks.map(({ aside }) => aside)),
  );
});
