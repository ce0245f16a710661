// Operators with a matrix state: against transformers and formulas, all at once against token by token, padding, documents.
import { describe, expect, it } from 'vitest';
import { countOf } from '../tensor/index.ts';
import type { Operator } from './index.ts';
import {
  decodeFlops,
  defineModel,
  gatedDelta,
  layer,
  linearAttention,
  mamba,
  mamba2,
  stateBytes,
  stepProgram,
  swiglu,
} from './index.ts';
import type { Stored } from './testing.ts';
import { itKeepsThePromises, modelOf } from './testing-conformance.ts';
import { readFixture } from './testing-fixture.node.ts';
import {
  allEngines,
  describeOnEngines,
  difference,
  int32,
  operatorProgram,
  randomTokens,
  run,
  stepper,
  stored,
  weightsOf,
} from './testing.ts';

interface Fixture {
  readonly options: never;
  readonly parameters: Readonly<Record<string, Stored>>;
  readonly x: Stored;
  readonly y: Stored;
}

const fixture = (name: string) => readFixture<Fixture>(`recurrences/${name}`);

const makers: Readonly<Record<string, (options: never) => Operator>> = {
  gated_delta: gatedDelta,
  linear_attention: linearAttention,
  mamba,
  mamba2,
  mamba_normed: mamba,
};
const small: Readonly<Record<string, Operator>> = {
  gated_delta: gatedDelta({ keyHeads: 2, valueHeads: 4, keyHeadDim: 4, valueHeadDim: 4, chunkSize: 4 }),
  linear_attention: linearAttention({ heads: 2, chunk: 4 }),
  mamba: mamba({ stateSize: 4, timeStepRank: 3, chunkSize: 4, bias: true, norms: true }),
  mamba2: mamba2({ headDim: 8, stateSize: 4, nGroups: 2, chunkSize: 4 }),
};

const all = await allEngines();
describeOnEngines(
  'recurrent operators against oracles',
  (engine) => {
    it.each(Object.entries(makers))('%s gives its oracle’s output', async (name, make) => {
      const { options, parameters, x, y } = fixture(name);
      const operator = make(options);
      const program = operatorProgram(operator, parameters, [2, 11, 16]);
      const inputs = Object.fromEntries(Object.entries(parameters).map(([key, value]) => [key, stored(value)]));
      const found = await run(engine, program, { ...inputs, x: stored(x) });
      expect(difference(found['y'], stored(y))).toBeLessThan(1e-4);
    });
  },
  all,
);

describeOnEngines('recurrent operators', (engine) => {
  itKeepsThePromises(engine, small);
});

describeOnEngines('over thousands of tokens', (engine) => {
  const far = engine?.name === 'onnx';
  it.runIf(far).each(Object.entries(makers))(
    '%s: 4,096 tokens by chunks as one after the other',
    async (name, make) => {
      const { options } = fixture(name);
      const model = modelOf(make({ ...(options as object), chunk: 64, chunkSize: 64 } as never));
      const weights = weightsOf(model, 5);
      const tokens = randomTokens(7, 1, 4096, 30);
      const whole = await stepper(engine, model, weights, 1, 4096).feed(tokens, [4096]);
      // A length that is told later is walked token by token.
      const program = stepProgram(model, { batch: 1, capacity: 4096, length: 'T', allLogits: true });
      const given = { ...weights, ...stepper(engine, model, weights, 1, 4096).state(), tokens };
      const found = await run(engine, program, { ...given, starts: int32([1], [0]), lengths: int32([1], [4096]) });
      expect(difference(found.logits, whole)).toBeLessThan(1e-4);
    },
  );
});

describe('recurrent operators', () => {
  it.each(Object.entries(small))('%s: a state and a cost that do not grow', (_, operator) => {
    const model = modelOf(operator);
    expect(stateBytes(model, 4096)).toBe(stateBytes(model, 1));
    expect(decodeFlops(model, 4096)).toBe(decodeFlops(model, 16));
    expect(
      Object.values(model.parameters).every(({ shape, axes }) => countOf(shape) > 0 && axes.length === shape.length),
    ).toBe(true);
  });

  it('name the sizes that do not fit', () => {
    const define = (operator: Operator) => () =>
      defineModel({ vocabSize: 8, hiddenSize: 18, layers: [layer(operator, swiglu({ intermediateSize: 8 }))] });
    expect(define(linearAttention({ heads: 4 }))).toThrowError(/18 cannot be cut into 4 heads/);
    expect(define(mamba2({ headDim: 8 }))).toThrowError(/36 over heads of 8 gives 4.5 heads/);
    expect(() => gatedDelta({ keyHeads: 2, valueHeads: 3, keyHeadDim: 4, valueHeadDim: 4 })).toThrowError(
      /2 key heads do not divide 3/,
    );
  });
});
