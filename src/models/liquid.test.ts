// A configuration of our own, from outside: what is read, and what is refused with the key that is wrong.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { OperatorConstructor } from '../liquid/index.ts';
import { defineModel, layer, operator, shortConv, stepProgram, swiglu, weight } from '../liquid/index.ts';
import type { Tensor } from '../tensor/index.ts';
import { LfmError } from '../tensor/error.ts';
import { modelFromConfig } from './index.ts';

const small = {
  model_type: 'liquid',
  liquid_version: 1,
  vocab_size: 12,
  hidden_size: 8,
  layers: {
    conv: {
      mixer: { operator: 'short_conv', options: { kernel: 4 } },
      mlp: { operator: 'swiglu', options: { intermediateSize: 16 } },
    },
    both: {
      blocks: [
        {
          operators: [
            { operator: 'attention', options: { heads: 2 }, sharing: { weights: { group: 'g' } } },
            { operator: 'short_conv' },
          ],
          norm: { kind: 'layer', name: 'input_norm' },
          post_norm: { kind: 'rms', name: 'output_norm' },
        },
      ],
    },
  },
  layer_types: ['conv', 'both', 'conv', 'both'],
};

function refusal(json: unknown, operators: readonly OperatorConstructor[] = []): { code: string; message: string } {
  try {
    modelFromConfig(json, {}, operators);
  } catch (error) {
    if (error instanceof LfmError) return { code: error.code, message: error.message };
    throw error;
  }
  throw new Error('nothing was thrown');
}

const plain = {
  scope: 'mine',
  featurize: (_: unknown, x: Tensor) => ({ x }),
  mix: (_: unknown, { x }: { x: Tensor }) => [x, {}] as const,
};

const withMixer = (mixer: unknown) => ({
  ...small,
  layers: { ...small.layers, conv: { ...small.layers.conv, mixer } },
});

const withMlp = (mlp: unknown) => ({ ...small, layers: { ...small.layers, conv: { ...small.layers.conv, mlp } } });

describe('liquid', () => {
  it('reads what defineModel would be told', () => {
    const pair = { ...small, layer_types: ['conv', 'conv'] };
    const conv = layer(shortConv({ kernel: 4 }), swiglu({ intermediateSize: 16 }));
    const same = defineModel({ vocabSize: 12, hiddenSize: 8, layers: [conv, conv] });
    const model = modelFromConfig(pair);
    expect(model.parameters).toEqual(same.parameters);
    expect(model.states).toEqual(same.states);
  });

  it('reads blocks, norms and depth groups', () => {
    const { parameters, links } = modelFromConfig({ ...small, tie_word_embeddings: false });
    const names = Object.keys(parameters);
    expect(names.filter((name) => name.startsWith('model.layers.3.'))).toEqual([
      'model.layers.3.input_norm.weight',
      'model.layers.3.input_norm.bias',
      'model.layers.3.conv.in_proj.weight',
      'model.layers.3.conv.conv.weight',
      'model.layers.3.conv.out_proj.weight',
      'model.layers.3.output_norm.weight',
    ]);
    expect(names).toContain('lm_head.weight');
    expect(links).toMatchObject([{ kind: 'weights', operator: 'attention', depth: 3, leader: 1 }]);
  });

  it('has no program for a kernel that would take all memory', () => {
    const model = modelFromConfig(withMixer({ operator: 'short_conv', options: { kernel: 1e6 } }));
    expect(() => stepProgram(model, { batch: 1, length: 1, capacity: 1 })).toThrow(
      expect.objectContaining({ code: 'bad-kernel' }),
    );
  });

  it('reads the example of docs/operators.md', () => {
    const page = readFileSync(new URL('../../docs/operators.md', import.meta.url), 'utf8');
    const [, json = ''] = /```json\n([^`]*)```/.exec(page) ?? [];
    const blend = operator('blend', ({ kernel = 2 }: { kernel?: number }) => ({
      ...plain,
      parameters: ({ hiddenSize: d }) => ({ taps: weight([d, kernel], ['channels', 'tap']) }),
    }));
    const { parameters } = modelFromConfig(JSON.parse(json), {}, [blend]);
    expect(parameters['model.layers.1.mine.taps']?.shape).toEqual([64, 2]);
  });

  it('reads operators that it is given, and says what to do about others', () => {
    const mine = operator('mine', () => ({ ...plain, parameters: () => ({}) }));
    const json = withMixer({ operator: 'mine' });
    expect(modelFromConfig(json, {}, [mine]).layers[0]?.blocks[0]?.operators[0]?.name).toBe('mine');
    const { code, message } = refusal(json);
    expect(code).toBe('unknown-operator');
    expect(message).toMatch(/"mine".*attention, .*swiglu.*operators: \[mine\].*lfm --import/);
    const another = operator('attention', () => ({ ...plain, parameters: () => ({}) }));
    expect(refusal(json, [another]).code).toBe('operator-name-taken');
    // @ts-expect-error what is made of options, where what makes it is expected
    expect(refusal(json, [mine()]).code).toBe('not-an-operator');
  });

  const loop: unknown[] = [];
  loop.push(loop);
  it.each([
    ['liquid_version: expected 1', { ...small, liquid_version: 2 }],
    ['liquid_version', { ...small, liquid_version: undefined }],
    ['vocab_size', { ...small, vocab_size: 1e300 }],
    ['hidden_size', { ...small, hidden_size: '8' }],
    ['"hiddenSize"', { ...small, hiddenSize: 8 }],
    ['layer_types.1: there is no "toString" in layers', { ...small, layer_types: ['conv', 'toString'] }],
    ['layer_types', { ...small, layer_types: Array.from({ length: 1025 }, () => 'conv') }],
    ['layer_types', { ...small, layer_types: [] }],
    ['layers.conv: expected mixer and mlp, or blocks alone', { ...small, layers: { conv: {} } }],
    ['layers.conv', { ...small, layers: { conv: { ...small.layers.conv, blocks: small.layers.both.blocks } } }],
    ['layers.conv.mixer.options', withMixer({ operator: 'short_conv', options: [4] })],
    ['the key "__proto__"', JSON.parse(JSON.stringify(small).replace('"conv":', '"__proto__":'))],
    ['the key "__proto__"', withMixer({ operator: 'short_conv', options: JSON.parse('{"__proto__":{"kernel":3}}') })],
    ['the key "constructor"', withMixer({ operator: 'short_conv', options: { constructor: 3 } })],
    ['nested deeper', { ...small, layers: loop }],
    ['more than 100000 values', { ...small, eos_token_id: Array.from({ length: 100_001 }, () => 1) }],
    [
      'config.json: layers.conv.mixer: attention: expected the option heads',
      withMixer({ operator: 'attention', options: { heads: 0 } }),
    ],
    [
      'layers.conv.mixer: its options make conv.weight [8, 1, 2.5]',
      withMixer({ operator: 'short_conv', options: { kernel: 2.5 } }),
    ],
    [
      'config.json: layers.conv.mixer: short_conv: a kernel of big',
      withMixer({ operator: 'short_conv', options: { kernel: 'big' } }),
    ],
    ['conv.weight [8, 1, 1000000000000]; expected', withMixer({ operator: 'short_conv', options: { kernel: 1e12 } })],
    [
      'q_proj.weight [4000000000, 8]; expected',
      withMixer({ operator: 'attention', options: { heads: 2, headDim: 2e9 } }),
    ],
    ['keys [2, 3.5, 4]', withMixer({ operator: 'attention', options: { heads: 2, window: 2.5 } })],
    ['keys 1002.5 rows of [2, 4]', withMixer({ operator: 'attention', options: { heads: 2, window: 1001.5 } })],
    ['option theta', withMixer({ operator: 'attention', options: { heads: 2, theta: 'big' } })],
    [
      'w1.weight [-1, 8]; expected whole sizes from 1',
      withMlp({ operator: 'swiglu', options: { intermediateSize: -1 } }),
    ],
    ['w1.weight [undefined, 8]', withMlp({ operator: 'swiglu' })],
    [
      'at most 16384',
      {
        ...small,
        layers: { conv: { blocks: [{ operators: Array.from({ length: 256 }, () => ({ operator: 'short_conv' })) }] } },
        layer_types: Array.from({ length: 1024 }, () => 'conv'),
      },
    ],
    ['cannot share', withMixer({ operator: 'short_conv', sharing: { weights: { group: 'g' } } })],
  ])('refuses with "%s"', (expected, json) => {
    const { code, message } = refusal(json);
    expect(code).toBe('bad-config');
    expect(message).toContain(expected);
  });
});
