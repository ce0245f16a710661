// Every class of the design space: its forms agree, its gradients are slopes and lower the loss, it comes back from JSON.
import { describe, expect, it } from 'vitest';
import { modelFromConfig, toLiquid } from '../../models/index.ts';
import { printProgram } from '../../tensor/index.ts';
import type { Model, Operator } from '../index.ts';
import { block, defineModel, liv, livClasses, stack, stepProgram } from '../index.ts';
import { describeOnEngines } from '../testing.ts';
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
