// Every gradient rule against differences: the loss is evaluated in float64 at four points around each input element.
import { afterAll, describe, expect, it } from 'vitest';
import type { NDArray } from '../../src/tensor/array.ts';
import { operationDefinition } from '../../src/tensor/definition.ts';
import { evaluateProgram } from '../../src/tensor/evaluate.ts';
import type { Program } from '../../src/tensor/index.ts';
import { operationKinds, Random, streamOf } from '../../src/tensor/index.ts';
import '../matcher.ts';
import { kindsOf, traceCase } from './case.ts';
import { cases } from './cases.ts';
import { makeLossInputs, traceGradients, traceLoss } from './loss.ts';

/** Kinds without a gradient, and why that is right. */
const withoutGradient: Readonly<Record<string, string>> = {
  constant: 'it has no operands; what meets a constant is checked',
  iota: 'it has no operands',
  sign: 'flat between its steps; refused, so that a loss cannot silently lose its gradient in it',
  floor: 'flat between its steps; refused as sign is',
  round_nearest_even: 'flat between its steps; refused as sign is',
  remainder: 'it jumps where the quotient is whole',
  compare: 'its result is bool',
  not: 'its operands are bool',
  and: 'its operands are integers or bool',
  or: 'its operands are integers or bool',
  xor: 'its operands are integers or bool',
  shift_left: 'its operands are integers',
  shift_right_logical: 'its operands are integers',
  matmul_rows: 'it rounds what it multiplies; refused as rounding is',
  while: 'how often it runs is known only when it runs; scan is the loop that differentiates',
  random_bits: 'its operand and result are integers; what meets them is checked',
};

// A power of two: elements that were written as short binary fractions stay exact when moved by it.
const step = 2 ** -11;
const mostElements = 24;
const tolerance = { relative: 1e-6, absolute: 1e-9 };

function lossAt(program: Program, inputs: readonly NDArray[]): number {
  return evaluateProgram(program, inputs)[0]?.data[0] ?? NaN;
}

/** Fourth-order central difference of the loss in one element. */
function difference(program: Program, inputs: readonly NDArray[], { data }: NDArray, at: number): number {
  const value = data[at] ?? NaN;
  const moved = (steps: number) => {
    data[at] = value + steps * step;
    return lossAt(program, inputs);
  };
  const slope = (8 * (moved(1) - moved(-1)) - (moved(2) - moved(-2))) / (12 * step);
  data[at] = value;
  return slope;
}

/** All elements of a small array, else as many as are affordable, drawn by the name. */
function sampled(name: string, count: number): number[] {
  if (count <= mostElements) return Array.from({ length: count }, (_, at) => at);
  const random = new Random(streamOf(name), 2);
  return Array.from({ length: mostElements }, () => Math.floor(random.uniform() * count));
}

const differentiable = cases.filter((one) => one.differentiable?.length);
const { primitives, composites } = operationKinds();
const kinds = [...primitives, ...composites];
const checked = new Set<string>();

describe('gradients agree with differences', () => {
  it.each(differentiable.map((one) => [one.name, one] as const))('%s', (_name, one) => {
    const loss = traceLoss(one, 'float64');
    const gradients = traceGradients(one, 'float64');
    const inputs = makeLossInputs(one, 'float64', one.bindings?.[0] ?? {});
    const [, ...found] = evaluateProgram(gradients, inputs);
    for (const [index, name] of (one.differentiable ?? []).entries()) {
      const input = inputs[loss.inputs.findIndex((port) => port.name === name)];
      const gradient = found[index];
      if (!input || !gradient) throw new Error(`${one.name} has no input ${name}.`);
      expect(gradient.shape, name).toEqual(input.shape);
      const places = sampled(`${one.name}.${name}`, input.data.length);
      const expected = places.map((at) => difference(loss, inputs, input, at));
      const actual = places.map((at) => gradient.data[at] ?? NaN);
      expect(actual, `d loss / d ${name}`).toBeAllClose(expected, tolerance);
    }
    if (kindsOf(traceCase(one, 'float64')).has(one.kind) && !(one.kind in withoutGradient)) checked.add(one.kind);
  });
});

describe('the kinds', () => {
  it('each have a checked gradient, or a reason why not', () => {
    const neither = kinds.filter((kind) => !checked.has(kind) && !(kind in withoutGradient));
    expect(neither).toEqual([]);
  });

  it('are listed without a gradient only where they exist and have none', () => {
    for (const kind of Object.keys(withoutGradient)) {
      expect(kinds).toContain(kind);
      if (primitives.includes(kind)) expect(operationDefinition(kind).gradient, kind).toBe('not differentiable');
    }
  });

  it('that the table calls not differentiable are all listed', () => {
    const refused = primitives.filter((kind) => operationDefinition(kind).gradient === 'not differentiable');
    expect(refused.filter((kind) => !(kind in withoutGradient))).toEqual([]);
  });
});

afterAll(() => {
  const listed = Object.keys(withoutGradient).join(', ');
  console.log(
    `gradients checked: ${checked.size} of ${kinds.length} kinds in ${differentiable.length} cases, listed without: ${listed}`,
  );
});
