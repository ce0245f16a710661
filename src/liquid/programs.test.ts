// What the programs of a model take and give, for text and for anything else.
import { describe, expect, it } from 'vitest';
import { cast, LfmError, linear } from '../tensor/index.ts';
import type { Encoder } from './index.ts';
import {
  classHead,
  defineModel,
  gradientProgram,
  layer,
  lossProgram,
  shortConv,
  stateTypes,
  stepProgram,
  swiglu,
  weight,
} from './index.ts';
import { take } from './parameter.ts';
import type { Host } from './testing.ts';
import { describeOnEngines, float32, int32, numbers, run } from './testing.ts';
import { freshWeights, model, vocabSize } from './testing-model.ts';

describe('programs', () => {
  it('give states the buffers that they need', () => {
    const shapes = Object.entries(stateTypes(model, { batch: 'B', capacity: 9, dtype: 'bfloat16' })).map(
      ([name, { dtype, shape }]) => [name, dtype, ...shape],
    );
    expect(shapes).toEqual([
      ['layers.0.conv.tail', 'bfloat16', 'B', 3, 16],
      ['layers.1.self_attn.keys', 'bfloat16', 'B', 2, 9, 4],
      ['layers.1.self_attn.values', 'bfloat16', 'B', 2, 9, 4],
      ['layers.2.self_attn.keys', 'bfloat16', 'B', 2, 5, 8],
      ['layers.2.self_attn.values', 'bfloat16', 'B', 2, 5, 8],
    ]);
    // A small window is held whole, however few tokens come.
    expect(stateTypes(model, { batch: 1, capacity: 2 })['layers.2.self_attn.keys']?.shape).toEqual([1, 2, 5, 8]);
  });

  it('take the names they promise, and hand each state’s memory on', () => {
    const step = stepProgram(model, { batch: 'B', length: 'T', capacity: 9 });
    const states = Object.keys(model.states).map((name) => `state.${name}`);
    expect(step.inputs.map(({ name }) => name)).toEqual([
      ...Object.keys(model.parameters),
      'tokens',
      'starts',
      'lengths',
      ...states,
    ]);
    expect(step.outputs.map(({ name }) => name)).toEqual(['logits', ...states]);
    expect(step.donations).toEqual(Object.fromEntries(states.map((name) => [name, name])));
    const logits = step.outputs.find(({ name }) => name === 'logits');
    expect(logits?.value).toMatchObject({ dtype: 'float32', shape: ['B', vocabSize] });
    const gradients = gradientProgram(model, { batch: 2, length: 4, accumulate: true });
    const names = Object.keys(model.parameters);
    expect(gradients.outputs.map(({ name }) => name)).toEqual(['loss', ...names.map((name) => `gradient.${name}`)]);
    expect(gradients.donations).toEqual(Object.fromEntries(names.map((name) => [`total.${name}`, `gradient.${name}`])));
  });

  it('refuse a capacity of nothing and runs that do not divide', () => {
    expect(() => stepProgram(model, { batch: 1, length: 1, capacity: 0 })).toThrow(LfmError);
    expect(() => lossProgram(model, { batch: 2, length: 5, chunks: 3 })).toThrow(/10 tokens into 3/);
  });

  it.each([
    [4096, 4, 256, 4],
    [4096, 1, 257, 1],
    [65_536, 2, 1024, 8],
    [128, 2, 17, 1],
    [128, 'B', 17, 1],
  ] as const)('cut the logits of %i classes, %s x %i tokens, into %i runs', (classes, batch, length, chunks) => {
    const { operations } = lossProgram(defineModel({ vocabSize: classes, hiddenSize: 8, layers: [] }), {
      batch,
      length,
    });
    const loss = operations.find(({ kind }) => kind === 'softmax_cross_entropy');
    expect(loss?.attributes).toEqual({ chunks });
  });

  it('compute in bfloat16 over float32 parameters', () => {
    const { operations, inputs } = gradientProgram(model, { batch: 1, length: 4, dtype: 'bfloat16' });
    const products = operations.filter(({ kind }) => kind === 'dot_general');
    expect(products.length).toBeGreaterThan(20);
    expect(new Set(products.flatMap(({ operands }) => operands.map(({ dtype }) => dtype)))).toEqual(
      new Set(['bfloat16']),
    );
    expect(new Set(inputs.map(({ value }) => value.dtype))).toEqual(new Set(['float32', 'int32']));
  });
});

describeOnEngines('a model of anything but text', (engine) => {
  it('trains and decodes frames of numbers with an encoder and a head of its own', async () => {
    const frames: Encoder = {
      parameters: ({ hiddenSize }) => ({
        'frames.weight': weight([hiddenSize, 3], ['hidden', 'samples'], { std: 0.5 }),
      }),
      inputs: (batch, length) => ({ frames: { dtype: 'float32', shape: [batch, length, 3] } }),
      encode: (p, inputs) =>
        linear(cast(take(inputs, 'frames'), take(p, 'frames.weight').dtype), take(p, 'frames.weight')),
    };
    const listener = defineModel({
      encoder: frames,
      head: classHead({ classes: 5, name: 'classes' }),
      hiddenSize: 8,
      layers: [layer(shortConv(), swiglu({ intermediateSize: 8 }))],
    });
    expect(Object.keys(listener.parameters)).toEqual(expect.arrayContaining(['frames.weight', 'classes.weight']));
    expect(Object.keys(listener.parameters).join()).not.toContain('embed_tokens');
    const own = freshWeights(listener, 4);
    const signal = float32(
      [1, 4, 3],
      Array.from({ length: 12 }, (_value, i) => Math.sin(i)),
    );
    const whole = await run(engine, lossProgram(listener, { batch: 1, length: 4 }), {
      ...own,
      frames: signal,
      labels: int32([1, 4], [0, 0, 0, 3]),
      weights: float32([1, 4], [0, 0, 0, 1]),
    });
    let state: Record<string, Host> = { 'state.layers.0.conv.tail': float32([1, 2, 8], new Float32Array(16)) };
    const step = stepProgram(listener, { batch: 1, length: 1, capacity: 4 });
    let scores: number[] = [];
    for (let t = 0; t < 4; t++) {
      const frame = float32([1, 1, 3], numbers(signal).slice(3 * t, 3 * t + 3));
      const { logits, ...next } = await run(engine, step, {
        ...own,
        ...state,
        frames: frame,
        starts: int32([1], [t]),
        lengths: int32([1], [1]),
      });
      scores = numbers(logits);
      state = next;
    }
    expect(scores).toHaveLength(5);
    const expected = Math.log(scores.reduce((sum, score) => sum + Math.exp(score), 0)) - (scores[3] ?? 0);
    expect(whole.loss?.data[0]).toBeCloseTo(expected, 5);
  });
});
