// Depth groups and shared features: fewer parameters, fewer states, and the same results by every path.
import { describe, expect, it } from 'vitest';
import { countOf } from '../tensor/index.ts';
import {
  attention,
  block,
  defineModel,
  depthGroup,
  gradientProgram,
  layer,
  layerNormed,
  lossProgram,
  rms,
  shared,
  shortConv,
  stack,
  stateBytes,
  stepProgram,
  swiglu,
} from './index.ts';
import type { Layer, Model } from './index.ts';
import type { Host } from './testing.ts';
import {
  describeOnEngines,
  difference,
  float32,
  int32,
  padded,
  randomTokens,
  rowsOf,
  run,
  stepper,
  weightsOf,
} from './testing.ts';

const sizes = { vocabSize: 40, hiddenSize: 16, initializerRange: 0.2 };
const mlp = swiglu({ intermediateSize: 24 });
const plain = attention({ heads: 4, keyValueHeads: 2 });
const conv = shortConv({});

const group = { group: 'kv', names: ['k', 'v'] };
const leading = layer(shared(plain, { features: group }), mlp);
const following = layer(shared(plain, { features: group }), mlp);
const repeated = depthGroup('g', layer(conv, mlp));
const connected = defineModel({ ...sizes, layers: [repeated, leading, repeated, following] });

const count = ({ parameters }: Pick<Model, 'parameters'>) =>
  Object.values(parameters).reduce((sum, { shape }) => sum + countOf(shape), 0);

/** Inputs of a loss over every position of some rows. */
function lossInputs(tokens: Host): Record<string, Host> {
  const total = tokens.data.length;
  return {
    tokens,
    labels: int32(
      tokens.shape,
      Array.from(tokens.data, Number).map((id) => (id * 7 + 1) % 40),
    ),
    weights: float32(tokens.shape, new Array<number>(total).fill(1 / total)),
  };
}

describe('what sharing declares', () => {
  it('one set of parameters for a depth group, norms apart', () => {
    const names = Object.keys(connected.parameters);
    expect(names.filter((name) => name.includes('.2.'))).toEqual([
      'model.layers.2.operator_norm.weight',
      'model.layers.2.ffn_norm.weight',
    ]);
    expect(connected.links.filter(({ depth }) => depth === 2)).toMatchObject([
      { kind: 'weights', operator: 'short_conv', leader: 0 },
      { kind: 'weights', operator: 'swiglu', leader: 0 },
    ]);
  });

  it('of a layer that takes keys and values: queries alone, and no cache', () => {
    const own = Object.keys(connected.parameters).filter((name) => name.startsWith('model.layers.3.self_attn.'));
    expect(own.map((name) => name.replace('model.layers.3.self_attn.', ''))).toEqual([
      'q_proj.weight',
      'out_proj.weight',
      'q_layernorm.weight',
    ]);
    expect(Object.keys(connected.states)).toEqual([
      'layers.0.conv.tail',
      'layers.1.self_attn.keys',
      'layers.1.self_attn.values',
      'layers.2.conv.tail',
    ]);
    expect(connected.links.at(-1)).toEqual({
      kind: 'features',
      group: 'kv',
      operator: 'attention',
      depth: 3,
      leader: 1,
      names: ['k', 'v'],
      states: ['keys', 'values'],
    });
  });

  it('half the bytes of cache, and as many parameters less as it says', () => {
    const apart = defineModel({
      ...sizes,
      layers: [layer(conv, mlp), layer(plain, mlp), layer(conv, mlp), layer(plain, mlp)],
    });
    const grown = (model: Model) => stateBytes(model, 2048) - stateBytes(model, 1024);
    expect(grown(connected)).toBe(grown(apart) / 2);
    const keyAndValue = 2 * (2 * 4 * 16) + 4;
    const convAndMlp = 4 * 16 * 16 + 3 * 16 + 3 * 16 * 24;
    expect(count(apart) - count(connected)).toBe(keyAndValue + convAndMlp);
  });

  it('only parameters that make the features named', () => {
    const some = { weights: { group: 'kv', features: ['k', 'v'] } };
    const one = layer(shared(plain, some), mlp);
    const model = defineModel({ ...sizes, layers: [one, one] });
    const own = Object.keys(model.parameters).filter((name) => name.startsWith('model.layers.1.self_attn.'));
    expect(own.map((name) => name.split('.').at(-2))).toEqual(['q_proj', 'out_proj', 'q_layernorm']);
    expect(Object.keys(model.states)).toHaveLength(4);
  });

  it('or refuses what does not fit, naming both', () => {
    const other = layer(shared(attention({ heads: 4, keyValueHeads: 4 }), { features: group }), mlp);
    const define =
      (...layers: Layer[]) =>
      () =>
        defineModel({ ...sizes, layers });
    expect(define(leading, other)).toThrowError(
      'attention at depth 1 cannot share with attention at depth 0: the feature "k" is [1, 8, 4, 4] here and [1, 8, 2, 4] there.',
    );
    expect(define(leading, layer(shared(conv, { features: group }), mlp))).toThrowError(
      /depth 1 .* depth 0: only operators of one name/,
    );
    const wide = depthGroup('g', layer(conv, swiglu({ intermediateSize: 32 })));
    expect(define(repeated, wide)).toThrowError(
      /swiglu at depth 1 .* depth 0: the parameter "w1.weight" is \[32, 16\] here and \[24, 16\] there/,
    );
    const strange = layer(shared(plain, { features: { group: 'kv', names: ['z'] } }), mlp);
    expect(define(leading, strange)).toThrowError(/no feature "z"; they have q, k, v/);
  });
});

const parallel = defineModel({
  ...sizes,
  finalNorm: layerNormed('final_layernorm'),
  layers: [
    stack(block([plain, mlp], { norm: layerNormed('input_layernorm') })),
    stack(
      block(conv, { norm: rms('operator_norm'), postNorm: rms('post_operator_norm') }),
      block(mlp, { norm: rms('ffn_norm'), postNorm: rms('post_ffn_norm') }),
    ),
    stack(block(conv, {})),
  ],
});

describeOnEngines('structured models', (engine) => {
  const models = { connected, parallel };
  it.each(Object.entries(models))(
    '%s: a token at a time gives what all at once give, padding or not',
    async (_, model) => {
      const weights = weightsOf(model, 3);
      const tokens = randomTokens(1, 2, 9, 40);
      const whole = await stepper(engine, model, weights, 2, 16).feed(tokens, [9, 9]);
      const single = stepper(engine, model, weights, 2, 16);
      for (let t = 0; t < 9; t++) {
        const column = int32(
          [2, 1],
          [0, 1].map((row) => Number(tokens.data[row * 9 + t])),
        );
        const logits = await single.feed(column, [1, 1]);
        const want = float32(
          [2, 40],
          [0, 1].flatMap((row) => Array.from(whole.data, Number).slice((row * 9 + t) * 40, (row * 9 + t + 1) * 40)),
        );
        expect(difference(logits, want)).toBeLessThan(1e-5);
      }
      const rows = [0, 1].map((row) => Array.from(tokens.data, Number).slice(row * 9, row * 9 + 9));
      const ragged = stepper(engine, model, weights, 2, 16);
      await ragged.feed(padded([(rows[0] ?? []).slice(0, 7), (rows[1] ?? []).slice(0, 4)], 7, 39), [7, 4]);
      const rest = await ragged.feed(padded([(rows[0] ?? []).slice(7), (rows[1] ?? []).slice(4)], 5, 39), [2, 5]);
      const last = (logits: Host, row: number, at: number, length: number) =>
        rowsOf({ ...logits, shape: [2 * length, 40] }, row * length + at, row * length + at + 1);
      expect(difference(last(rest, 0, 1, 5), last(whole, 0, 8, 9))).toBeLessThan(1e-5);
      expect(difference(last(rest, 1, 4, 5), last(whole, 1, 8, 9))).toBeLessThan(1e-5);
    },
  );

  it.each(Object.entries(models))('%s: gradients are slopes of the loss, recomputed or not', async (_, model) => {
    const weights = weightsOf(model, 3);
    const given = { ...weights, ...lossInputs(randomTokens(2, 2, 6, 40)) };
    const options = { batch: 2, length: 6 };
    const found = await run(engine, gradientProgram(model, options), given);
    const again = await run(engine, gradientProgram(model, { ...options, checkpoint: true }), given);
    const loss = lossProgram(model, options);
    for (const name of Object.keys(model.parameters)) {
      const gradient = found[`gradient.${name}`];
      expect(difference(again[`gradient.${name}`], gradient), name).toBeLessThan(1e-5);
      // Along the gradient itself the slope is its squared norm.
      const values = Array.from(gradient?.data ?? [], Number);
      const norm = Math.hypot(...values);
      if (norm < 1e-4) continue;
      const at = async (step: number) => {
        const moved = float32(
          weights[name]?.shape ?? [],
          Array.from(weights[name]?.data ?? [], Number).map((value, i) => value + (step * (values[i] ?? 0)) / norm),
        );
        const { loss: reached } = await run(engine, loss, { ...given, [name]: moved });
        return Number(reached?.data[0]);
      };
      const slope = ((await at(0.002)) - (await at(-0.002))) / 0.004;
      expect(Math.abs(slope - norm) / norm, name).toBeLessThan(0.01);
    }
  });
});

describe('ends', () => {
  it('of a step program hold no layer that is shared twice', () => {
    const { inputs } = stepProgram(connected, { batch: 1, length: 1, capacity: 8 });
    expect(inputs.filter(({ name }) => name.startsWith('state.'))).toHaveLength(4);
  });
});
