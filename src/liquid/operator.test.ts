// Operators are typed from their declaration; the type checker runs over this file, so each expected error is a test.
import { describe, expect, expectTypeOf, it } from 'vitest';
import type { Tensor } from '../tensor/index.ts';
import { add, causalConv, linear, LfmError, mul, trace } from '../tensor/index.ts';
import {
  attention,
  bias,
  classHead,
  createContext,
  defineModel,
  fixed,
  layer,
  operator,
  shortConv,
  stepProgram,
  swiglu,
  weight,
} from './index.ts';
import { applyOperator } from './operator.ts';
import { initialise } from './initialise.ts';
import { difference, describeOnEngines, float32, numbers, randomTokens, run, stepper } from './testing.ts';

/** Two short convolutions: one makes the features, the other mixes them. Both remember a tail. */
const twice = operator('twice', ({ kernel = 3, shifted = false }: { kernel?: number; shifted?: boolean }) => ({
  scope: 'twice',
  parameters: ({ hiddenSize: d }) => ({
    'first.weight': weight([d, 1, kernel], ['channels', 'one', 'tap'], { std: 0.5 }),
    'second.weight': weight([d, 1, kernel], ['channels', 'one', 'tap'], { std: 0.5 }),
    ...(shifted && { shift: bias([d], ['channels']) }),
  }),
  state: ({ hiddenSize: d }) => ({ early: fixed([kernel - 1, d]), late: fixed([kernel - 1, d]) }),
  featurize: (p, x_BTD, state, { lengths, segments }) => {
    const { y, next } = causalConv(x_BTD, p['first.weight'], { tail: state.early, lengths, segments });
    return [
      { gate: y, x: x_BTD },
      { ...state, early: next },
    ];
  },
  mix: (p, { gate, x }, state, { lengths, segments }) => {
    const { y, next } = causalConv(mul(gate, x), p['second.weight'], { tail: state.late, lengths, segments });
    return [p.shift ? add(y, p.shift) : y, { ...state, late: next }];
  },
}));

describe('types of operators', () => {
  it('are inferred from the literal', () => {
    operator('inferred', () => ({
      scope: 'inferred',
      parameters: ({ hiddenSize: d }) => ({ w: weight([d, d], ['hidden', 'hidden']) }),
      state: ({ hiddenSize: d }) => ({ tail: fixed([2, d]) }),
      featurize: (p, x) => {
        expectTypeOf(p).toEqualTypeOf<{ readonly w: Tensor }>();
        return { q: linear(x, p.w) };
      },
      mix: (_p, features, state) => {
        expectTypeOf(features).toEqualTypeOf<{ q: Tensor }>();
        expectTypeOf(state).toEqualTypeOf<{ readonly tail: Tensor | undefined }>();
        return [features.q, state];
      },
    }));
  });

  it('refuse a misspelt parameter', () => {
    operator('misspelt', () => ({
      scope: 'misspelt',
      parameters: ({ hiddenSize: d }) => ({ 'in_proj.weight': weight([d, d], ['hidden', 'hidden']) }),
      // @ts-expect-error there is no in_prj.weight
      featurize: (p, x) => ({ q: linear(x, p['in_prj.weight']) }),
      mix: (_p, { q }, state) => [q, state],
    }));
  });

  it('refuse a misspelt feature', () => {
    operator('misspelt', () => ({
      scope: 'misspelt',
      parameters: () => ({}),
      featurize: (_p, x) => ({ gate: x }),
      // @ts-expect-error there is no gaet
      mix: (_p, { gaet }, state) => [gaet, state],
    }));
  });

  it('refuse a misspelt state, read or returned', () => {
    operator('misspelt', () => ({
      scope: 'misspelt',
      parameters: () => ({}),
      state: ({ hiddenSize: d }) => ({ tail: fixed([2, d]) }),
      featurize: (_p, x) => ({ x }),
      // @ts-expect-error there is no tial to read
      mix: (_p, { x }, { tial }) => [x, { tail: tial }],
    }));
    operator('misspelt', () => ({
      scope: 'misspelt',
      parameters: () => ({}),
      state: ({ hiddenSize: d }) => ({ tail: fixed([2, d]) }),
      featurize: (_p, x) => ({ x }),
      // @ts-expect-error there is no tial to return
      mix: (_p, { x }, { tail }) => [x, { tial: tail }],
    }));
  });

  it('refuse a misspelt or missing option', () => {
    expectTypeOf(shortConv).parameter(0).toEqualTypeOf<{ kernel?: number; bias?: boolean } | undefined>();
    // @ts-expect-error kernl is no option
    shortConv({ kernl: 3 });
    // @ts-expect-error heads has no default
    expect(() => attention().parameters({ hiddenSize: 8 })).toThrow(/heads/);
    // @ts-expect-error heads has no default
    attention({ keyValueHeads: 2 });
    // @ts-expect-error a head of its own comes with an encoder of its own
    defineModel({ vocabSize: 4, head: classHead({ classes: 4 }), hiddenSize: 8, layers: [] });
  });
});

describe('an operator', () => {
  it('knows its name and options', () => {
    expect(shortConv({ kernel: 4 })).toMatchObject({ name: 'short_conv', scope: 'conv', options: { kernel: 4 } });
    expect(shortConv().state({ hiddenSize: 8 })).toEqual({ tail: { kind: 'fixed', shape: [2, 8] } });
  });

  it('names the parameter that it was not given', () => {
    const build = () =>
      trace('lacking', { x: { dtype: 'float32', shape: [1, 2, 8] } }, ({ x }) => {
        const context = createContext({ batch: 1, length: 2, normEps: 1e-5 });
        const model = defineModel({
          vocabSize: 4,
          hiddenSize: 8,
          layers: [layer(shortConv(), swiglu({ intermediateSize: 8 }))],
        });
        return { y: model.forward({ 'model.embed_tokens.weight': x }, { tokens: x }, context).hidden_BTD };
      });
    expect(build).toThrow(LfmError);
  });

  it('has optional parameters only where its options ask for them', () => {
    expect(Object.keys(twice().parameters({ hiddenSize: 8 }))).toEqual(['first.weight', 'second.weight']);
    expect(Object.keys(twice({ shifted: true }).parameters({ hiddenSize: 8 }))).toEqual([
      'first.weight',
      'second.weight',
      'shift',
    ]);
  });

  it('applies both halves', () => {
    const program = trace(
      'both',
      { x: { dtype: 'float32', shape: [1, 3, 2] }, w: { dtype: 'float32', shape: [2, 1, 3] } },
      ({ x, w }) => {
        const context = createContext({ batch: 1, length: 3, normEps: 1e-5 });
        const { y } = applyOperator(twice(), { 'first.weight': w, 'second.weight': w }, x, {}, context);
        return { y };
      },
    );
    expect(program.operations.map(({ kind }) => kind)).toEqual(['causal_conv', 'multiply', 'causal_conv']);
  });

  it('short_conv refuses a kernel without a past', () => {
    expect(() => shortConv({ kernel: 1 }).state({ hiddenSize: 8 })).toThrow(/kernel of 1/);
  });

  it.each([
    [{ heads: 3 }, /hidden size of 16 over 3 heads/],
    [{ heads: 4, keyValueHeads: 3 }, /4 heads cannot share 3/],
    [{ heads: 16 }, /heads of 1/],
    [{ heads: 2, window: 1 }, /window of 1/],
    [{ heads: 2, sinks: 1 }, /found 1 without one/],
    [{ heads: 2, window: 4, sinks: -1 }, /0 or more/],
  ])('attention refuses sizes that do not fit: %j', (options, message) => {
    expect(() =>
      defineModel({
        vocabSize: 4,
        hiddenSize: 16,
        layers: [layer(attention(options), swiglu({ intermediateSize: 8 }))],
      }),
    ).toThrow(message);
  });
});

describeOnEngines('an operator whose featurizer remembers', (engine) => {
  it('decodes as it reads whole sequences', async () => {
    const model = defineModel({
      vocabSize: 20,
      hiddenSize: 8,
      layers: [layer(twice({ shifted: true }), swiglu({ intermediateSize: 8 }))],
    });
    expect(Object.keys(model.states)).toEqual(['layers.0.twice.early', 'layers.0.twice.late']);
    const weights = Object.fromEntries(
      Object.entries(initialise(model, 1)).map(([name, data]) => [
        name,
        float32(model.parameters[name]?.shape ?? [], data),
      ]),
    );
    const tokens = randomTokens(2, 1, 6, 20);
    const whole = await stepper(engine, model, weights, 1, 8).feed(tokens, [6]);
    const generation = stepper(engine, model, weights, 1, 8);
    const steps = [];
    for (let t = 0; t < 6; t++)
      steps.push(await generation.feed({ ...tokens, shape: [1, 1], data: tokens.data.slice(t, t + 1) }, [1]));
    expect(difference(float32([1, 6, 20], steps.flatMap(numbers)), whole)).toBeLessThan(1e-6);
    const { logits } = await run(engine, stepProgram(model, { batch: 1, length: 6, capacity: 8 }), {
      ...weights,
      ...stepper(engine, model, weights, 1, 8).state(),
      tokens,
      starts: { dtype: 'int32', shape: [1], data: Int32Array.of(0) },
      lengths: { dtype: 'int32', shape: [1], data: Int32Array.of(6) },
    });
    expect(logits?.shape).toEqual([1, 20]);
    expect(difference(logits, float32([1, 20], numbers(whole).slice(100)))).toBeLessThan(1e-5);
  });
});
