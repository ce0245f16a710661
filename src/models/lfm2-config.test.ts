// Every spelling of an LFM2 configuration, against what transformers derives (test/fixtures/lfm2/configs.json).
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { parameterCounts } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import { fromHuggingFace, lfm2, modelFromConfig, toHuggingFace } from './index.ts';
import { lfm2Configs } from './lfm2-sizes.ts';

const fixtures = new URL('../../test/fixtures/lfm2/', import.meta.url);
const read = (name: string): unknown => JSON.parse(readFileSync(new URL(name, fixtures), 'utf8'));

const entries = z
  .array(
    z.object({
      name: z.string(),
      config: z.looseObject({ model_type: z.string() }),
      expected: z.object({
        intermediateSize: z.number(),
        layerTypes: z.array(z.string()),
        headSize: z.number(),
        keyValueHeads: z.number(),
        normEpsilon: z.number(),
        ropeTheta: z.number(),
        convLength: z.number(),
        tieEmbeddings: z.boolean(),
        eos: z.number(),
        parameters: z.number(),
        tensors: z.number().optional(),
      }),
    }),
  )
  .parse(read('configs.json'))
  .filter(({ config }) => config.model_type === 'lfm2');

const small = {
  model_type: 'lfm2',
  vocab_size: 128,
  hidden_size: 64,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  intermediate_size: 96,
};

function codeOf(action: () => unknown): { code: string; message: string } {
  try {
    action();
  } catch (error) {
    if (error instanceof LfmError) return { code: error.code, message: error.message };
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('fromHuggingFace', () => {
  it.each(entries)('reads what transformers reads: $name', ({ config: json, expected }) => {
    const config = fromHuggingFace(json);
    expect({
      intermediateSize: config.intermediateSize,
      layerTypes: config.layerTypes,
      headSize: config.hiddenSize / config.numAttentionHeads,
      keyValueHeads: config.numKeyValueHeads,
      normEpsilon: config.normEps,
      ropeTheta: config.ropeTheta,
      convLength: config.convLCache,
      tieEmbeddings: config.tieWordEmbeddings,
      eos: config.eosTokenId,
    }).toEqual({ ...expected, parameters: undefined, tensors: undefined });
    const { parameters } = modelFromConfig(json);
    const count = Object.values(parameters).reduce(
      (total, { shape }) => total + shape.reduce((product, dim) => product * dim, 1),
      0,
    );
    expect([count, Object.keys(parameters).length]).toEqual([expected.parameters, expected.tensors]);
  });

  it('takes the width from the checkpoint where that is at hand', () => {
    const shapes = { 'model.layers.0.feed_forward.w1.weight': [300, 64] };
    expect(fromHuggingFace(small).intermediateSize).toBe(256);
    expect(fromHuggingFace(small, shapes).intermediateSize).toBe(300);
    expect(modelFromConfig(small, shapes).parameters['model.layers.0.feed_forward.w2.weight']?.shape).toEqual([
      64, 300,
    ]);
  });

  it.each([
    [{ theta: 5e5, rope_theta: 1e4 }, 5e5],
    [{ theta: 5e5, rope_parameters: { rope_theta: 7e5, rope_type: 'default' } }, 7e5],
    [{ rope_parameters: { rope_type: 'default' }, rope_theta: 1e4 }, 1e4],
    [{ rope_parameters: null }, 1e6],
  ])('finds the rotary base in %j', (keys, theta) => {
    expect(fromHuggingFace({ ...small, ...keys }).ropeTheta).toBe(theta);
  });

  it.each([
    ['vocab_size', { vocab_size: -1 }],
    ['vocab_size', { vocab_size: 1e300 }],
    ['hidden_size', { hidden_size: '64' }],
    ['hidden_size', { hidden_size: 62 }],
    ['hidden_size', { hidden_size: null }],
    ['num_hidden_layers', { num_hidden_layers: 1e9 }],
    ['num_hidden_layers', { num_hidden_layers: 1.5 }],
    ['num_key_value_heads', { num_key_value_heads: 3 }],
    ['num_attention_heads', { num_attention_heads: 64 }],
    ['layer_types', { layer_types: ['conv', 'full_attention'] }],
    ['layer_types.2', { layer_types: ['conv', 'conv', 'mamba', 'conv'] }],
    ['full_attn_idxs', { full_attn_idxs: [4] }],
    ['full_attn_idxs', { full_attn_idxs: 'all' }],
    ['conv_L_cache', { conv_L_cache: 1 }],
    ['rope_parameters.rope_type', { rope_parameters: { rope_theta: 1e6, rope_type: 'yarn', factor: 4 } }],
    ['rope_scaling', { rope_scaling: { type: 'linear', factor: 2 } }],
    ['norm_eps', { norm_eps: Number.NaN }],
    ['tie_embedding', { tie_embedding: 'yes' }],
    ['eos_token_id', { eos_token_id: [7, -1] }],
  ])('names the key %s that is wrong', (key, wrong) => {
    const { code, message } = codeOf(() => modelFromConfig({ ...small, ...wrong }));
    expect(code).toBe('bad-config');
    expect(message).toContain(key);
  });

  it.each([null, [], 'lfm2', 7, {}, { model_type: 'lfm9' }, { model_type: 'constructor' }, { model_type: 3 }])(
    'refuses %j, listing what it knows',
    (json) => {
      const { code, message } = codeOf(() => modelFromConfig(json));
      expect(code).toBe('unknown-model-type');
      expect(message).toContain('lfm2');
    },
  );
});

describe('toHuggingFace', () => {
  it('writes what transformers writes for the same model', () => {
    const theirs = z.record(z.string(), z.unknown()).parse(read('tiny/config.json'));
    const ours = JSON.parse(JSON.stringify(toHuggingFace(fromHuggingFace(theirs))));
    // Keys of theirs that we leave to their defaults; all of ours are theirs, with their values.
    const left = [
      'block_ffn_dim_multiplier',
      'block_multiple_of',
      'dtype',
      'full_attn_idxs',
      'transformers_version',
      'use_cache',
    ];
    expect(ours).toEqual(Object.fromEntries(Object.entries(theirs).filter(([key]) => !left.includes(key))));
  });

  it.each(entries)('is read back as it was: $name', ({ config: json }) => {
    const config = fromHuggingFace(json);
    expect(fromHuggingFace(JSON.parse(JSON.stringify(toHuggingFace(config))))).toEqual(config);
    expect(modelFromConfig(json).config).toEqual(toHuggingFace(config));
  });
});

describe('published sizes', () => {
  it.each([
    ['lfm2-350m', 354_483_968],
    ['lfm2-700m', 742_489_344],
    ['lfm2-1.2b', 1_170_340_608],
    ['lfm2-2.6b', 2_569_272_320],
  ] as const)('%s has exactly its published parameters', (name, parameters) => {
    const config = lfm2Configs[name];
    expect(parameterCounts(lfm2(config))).toEqual({ total: parameters, active: parameters });
    const published = entries.find((entry) => entry.name.toLowerCase() === name);
    expect(fromHuggingFace(published?.config)).toEqual({ ...config, maxPositionEmbeddings: 128_000 });
  });
});
