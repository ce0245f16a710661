// The operator of examples/own-operator keeps what docs/operators.md promises: one text, whichever way its tokens come.
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { defineModel, isOperatorConstructor, layer, lossProgram, swiglu } from '../src/liquid/index.ts';
import type { Operator } from '../src/liquid/index.ts';
import { freshWeights, lossInputs } from '../src/liquid/testing-model.ts';
import { describeOnEngines, difference, float32, int32, numbers, run, stepper } from '../src/liquid/testing.ts';
import { ROOT } from './root.ts';

const module: Readonly<Record<string, unknown>> = await import(join(ROOT, 'examples/own-operator/ema.js'));
const { ema } = module;
if (!isOperatorConstructor(ema)) throw new Error('ema.js exports no operator');
const mixer = (ema as unknown as () => Operator)();
const model = defineModel({
  vocabSize: 24,
  hiddenSize: 8,
  initializerRange: 0.5,
  layers: [layer(mixer, swiglu({ intermediateSize: 8 }))],
});
const weights = freshWeights(model, 2);
const text = [3, 9, 1, 22, 7, 7, 14, 2, 0, 11];

describeOnEngines('ema', (engine) => {
  it('gives the same scores for all tokens at once, one by one, and in ragged batches', async () => {
    const whole = await stepper(engine, model, weights, 1, 16).feed(int32([1, 10], text), [10]);
    const single = stepper(engine, model, weights, 1, 16);
    const steps = [];
    for (const token of text) steps.push(await single.feed(int32([1, 1], [token]), [1]));
    expect(difference(float32([1, 10, 24], steps.flatMap(numbers)), whole)).toBeLessThan(1e-5);
    // Two rows: one pauses while the other goes on.
    const ragged = stepper(engine, model, weights, 2, 16);
    const first = numbers(await ragged.feed(int32([2, 4], [...text.slice(0, 4), 5, 6, 9, 9]), [4, 2]));
    const second = numbers(await ragged.feed(int32([2, 6], [...text.slice(4), 1, 1, 1, 1, 1, 1]), [6, 0]));
    const joined = [...first.slice(0, 4 * 24), ...second.slice(0, 6 * 24)];
    expect(difference(float32([1, 10, 24], joined), whole)).toBeLessThan(1e-5);
    const third = numbers(await ragged.feed(int32([2, 1], [0, 4]), [0, 1]));
    const other = numbers(await stepper(engine, model, weights, 1, 16).feed(int32([1, 3], [5, 6, 4]), [3]));
    expect(difference(float32([24], third.slice(24)), float32([24], other.slice(48)))).toBeLessThan(1e-5);
  });

  it('keeps documents packed into one row apart', async () => {
    const parts = [text.slice(0, 4), text.slice(4)];
    const lossOf = async (rows: readonly (readonly number[])[], segments?: readonly number[]) => {
      const [batch, length] = [rows.length, rows[0]?.length ?? 0];
      const program = lossProgram(model, { batch, length, segments: segments !== undefined });
      const inputs = {
        ...weights,
        ...lossInputs(rows, 1),
        ...(segments && { segments: int32([batch, length], segments) }),
      };
      return Number((await run(engine, program, inputs)).loss?.data[0]);
    };
    const apart = await Promise.all(parts.map((part) => lossOf([part])));
    // The target that crosses the cut counts in the packed row alone: it is the same for any first document.
    const packed = await lossOf([text], [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
    const crossing = (await lossOf([text.slice(0, 5)])) - (apart[0] ?? 0);
    expect(packed).toBeCloseTo((apart[0] ?? 0) + (apart[1] ?? 0) + crossing, 4);
    expect(Math.abs((await lossOf([text])) - packed)).toBeGreaterThan(0.01);
  });
});
