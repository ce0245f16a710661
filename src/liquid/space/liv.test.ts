// Every class of the design space: its forms agree, its gradients are slopes and lower the loss, it comes back from JSON.
import { describe, expect, it } from 'vitest';
import { modelFromConfig, toLiquid } from '../../models/index.ts';
import { printProgram } from '../../tensor/index.ts';
import type { Model, Operator } from '../index.ts';
import { block, defineModel, liv, livClasses, stack, stepProgram } from '../index.ts';
import { freshWeights, positions } from '../testing-model.ts';
import type { Host } from '../testing.ts';
import { describeOnEngines, difference, int32, numbers, randomTokens, stepper } from '../testing.ts';
import { requireSound } from './testing-space.ts';

const sizes = { vocabSize: 24, hiddenSize: 16, initializerRange: 0.3 };

function modelOf(operator: Operator): Model {
  return defineModel({ ...sizes, layers: [stack(block(operator))] });
}

const small = livClasses.map(({ id, name, parts }) => {
  const headed = parts.tokenMixing === 'low rank' || parts.tokenMixing === 'semi-separable';
  return { id, name, operator: liv({ ...parts, ...(headed && { headDim: 4 }) }) };
});

describe('the classes', () => {
  it('are STAR’s seventeen', () => {
    expect(livClasses.map(({ id }) => id)).toEqual(Array.from({ length: 17 }, (_, index) => index + 1));
    expect(livClasses.filter(({ parts }) => parts.differential).map(({ name }) => name)).toEqual(
      ['SA-1', 'SA-2', 'SA-3', 'SA-4', 'Rec-1', 'Rec-2', 'GConv-1', 'GConv-2'].map((name) => `${name}-Diff`),
    );
  });

  it.each(small)('$id $name comes back from its JSON', ({ name, operator }) => {
    expect(operator.label).toBe(name);
    const model = modelOf(operator);
    const config: unknown = JSON.parse(JSON.stringify(toLiquid(model, { pad: null, endOfText: 0 })));
    const again = modelFromConfig(config);
    const text = (one: Model) => printProgram(stepProgram(one, { batch: 1, length: 2, capacity: 4 }));
    expect(text(again)).toBe(text(model));
    expect(again.parameters).toEqual(model.parameters);
  });
});

describeOnEngines('the classes', (engine) => {
  // A difference adds one subtraction: that of one engine will do.
  const chosen = small.filter(({ id }) => engine?.name === 'reference' || id <= 9);

  it.each(chosen)('$id $name', async ({ operator }) => {
    await requireSound(engine, modelOf(operator));
  });
});

describeOnEngines('over thousands of tokens', (engine) => {
  const far = small.filter(({ name }) => name === 'Rec-1' || name === 'GConv-2');
  it.runIf(engine?.name === 'onnx').each(far)(
    '$name: the last of 4,096 after the rest, as all at once',
    async ({ operator }) => {
      const model = modelOf(operator);
      const weights = freshWeights(model, 5);
      const tokens = randomTokens(7, 1, 4096, 24);
      const whole = await stepper(engine, model, weights, 1, 4096).feed(tokens, [4096]);
      const split = stepper(engine, model, weights, 1, 4096);
      await split.feed(rowsOfOne(tokens, 0, 4095), [4095]);
      const last = await split.feed(rowsOfOne(tokens, 4095, 4096), [1]);
      expect(difference({ ...last, shape: [1, 24] }, positions(whole, 0, 4095, 4096))).toBeLessThan(1e-4);
    },
  );
});

function rowsOfOne(tokens: Host, from: number, to: number): Host {
  return int32([1, to - from], numbers(tokens).slice(from, to));
}
