import { describe, expect, it } from 'vitest';
import { Random } from '../tensor/index.ts';
import { attention, defineModel, layer, mamba, swiglu } from './index.ts';
import { initialise } from './initialise.ts';

const mlp = swiglu({ intermediateSize: 16 });
const one = layer(attention({ heads: 2 }), mlp);

describe('initialise', () => {
  const model = defineModel({ vocabSize: 500, hiddenSize: 64, layers: [one] });
  const weights = initialise(model, 1);

  it('gives each parameter what it declares', () => {
    const table = weights['model.embed_tokens.weight'] ?? new Float32Array();
    const mean = table.reduce((total, value) => total + value, 0) / table.length;
    const deviation = Math.sqrt(table.reduce((total, value) => total + value * value, 0) / table.length);
    expect(table.length).toBe(32_000);
    expect(Math.abs(mean)).toBeLessThan(5e-4);
    expect(deviation).toBeGreaterThan(0.0197);
    expect(deviation).toBeLessThan(0.0203);
    expect(new Set(weights['model.layers.0.operator_norm.weight'])).toEqual(new Set([1]));
  });

  it('repeats what a row of a larger shape starts with', () => {
    const rates = defineModel({ vocabSize: 4, hiddenSize: 4, layers: [layer(mamba({ stateSize: 3 }), mlp)] });
    const row = [1, 2, 3].map((rate) => Math.fround(Math.log(rate)));
    const expected = Array.from({ length: 8 }, () => row).flat();
    expect([...(initialise(rates, 1)['model.layers.0.mixer.A_log'] ?? [])]).toEqual(expected);
  });

  it('depends on the seed and the name alone', () => {
    expect(initialise(model, 1)).toEqual(weights);
    expect(initialise(model, 2)['model.embed_tokens.weight']).not.toEqual(weights['model.embed_tokens.weight']);
    const deeper = initialise(defineModel({ vocabSize: 500, hiddenSize: 64, layers: [one, one] }), 1);
    for (const [name, array] of Object.entries(weights)) expect(deeper[name], name).toEqual(array);
    expect(deeper['model.layers.1.self_attn.q_proj.weight']).not.toEqual(
      weights['model.layers.0.self_attn.q_proj.weight'],
    );
  });
});

describe('fillNormal', () => {
  it.each([0, 1, 2])('gives what single calls give, after %i draws of bits', (draws) => {
    const [bulk, single] = [new Random(7, 8), new Random(7, 8)];
    for (let i = 0; i < draws; i++) expect(bulk.bits()).toBe(single.bits());
    for (const count of [5, 1, 4]) {
      const out = new Float32Array(count);
      bulk.fillNormal(out, 0.5);
      expect(out).toEqual(Float32Array.from({ length: count }, () => 0.5 * single.normal()));
    }
    expect(bulk.bits()).toBe(single.bits());
  });
});
