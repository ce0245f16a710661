// Programs as they are made for a GPU, on the processor, whose kernels mean the same: packed weights that are inputs, products
// without what only the processor fuses, and which nodes stay with it. (test/webgpu.test.ts runs them on a GPU.)
import { afterAll, describe, expect, it } from 'vitest';
import '../../../test/matcher.ts';
import { makeArray } from '../../../test/operations/case.ts';
import type { NDArray } from '../../tensor/array.ts';
import { toHost } from '../../tensor/array.ts';
import { evaluateProgram } from '../../tensor/evaluate.ts';
import type { ArrayType, Program, QuantizedForm } from '../../tensor/index.ts';
import { add, dotGeneral, linear, mul, QuantizedTensor, quantizedTypes, reshape, trace } from '../../tensor/index.ts';
import { engineOver } from './engine.ts';
import { lower } from './lower.ts';
import { Session, Value } from './runtime.node.ts';

const [columns, rows] = [256, 96];
const engine = engineOver<Value>({
  description: 'as for a GPU',
  weights: 'packed',
  zeros: (dtype, shape) => Value.zeros(dtype, shape),
  open: (model) => Session.open(model, { intraOpThreads: 1 }),
});
afterAll(async () => {
  expect(engine.live().buffers).toBe(0);
  await engine.close();
});

const input: ArrayType = { dtype: 'float32', shape: [1, 'T', columns] };

/** What the engine gives for so many rows of x, and what the program means. */
async function both(program: Program, weights: readonly NDArray[], count: number): Promise<[number[], number[]]> {
  const names = program.inputs.map(({ name }) => name).filter((name) => name !== 'x');
  const buffers = await Promise.all(weights.map((array) => engine.upload(array.dtype, array.shape, toHost(array))));
  const bind = Object.fromEntries(names.flatMap((name, index) => (buffers[index] ? [[name, buffers[index]]] : [])));
  const executable = await engine.compile(program, { bind });
  const x = makeArray('float32', [1, count, columns], { range: [-3, 3] }, 'x');
  const given = await engine.upload('float32', x.shape, toHost(x));
  const results = await executable.run({ x: given });
  const found = results['y'] ? Array.from(await engine.download(results['y']), Number) : [];
  executable.release();
  for (const buffer of [...buffers, given, ...Object.values(results)]) buffer.dispose();
  const [expected] = evaluateProgram(program, [x, ...weights]);
  return [found, Array.from(expected?.data ?? [], Number)];
}

const typesOf = (program: Program) => {
  const bound = new Set(program.inputs.map(({ name }) => name).filter((name) => name !== 'x'));
  return lower(program, bound, true, 'packed').readings;
};

const forms: (readonly [title: string, form: QuantizedForm])[] = [
  ['4 bits', { bits: 4, block: 32, affine: false }],
  ['4 bits with minimums', { bits: 4, block: 32, affine: true }],
  ['8 bits', { bits: 8, block: 32, affine: false }],
];

describe.each(forms)('a packed matrix of %s', (_title, form) => {
  const types = quantizedTypes([rows, columns], form);
  const weights = Object.entries(types).map(([name, { dtype, shape }]) => {
    const values = name === 'packed' ? { below: 256 } : ({ range: [0.01, 0.1] } as const);
    return makeArray(dtype, shape.map(Number), values, name);
  });
  const program = trace('product', { x: input, ...types }, ({ x, ...parts }) =>
    x ? { y: linear(x, new QuantizedTensor(Object.values(parts), form, 'float32')) } : {},
  );

  it.each([1, 7])('meets %d rows of floats', async (count) => {
    const [found, expected] = await both(program, weights, count);
    expect(found).toBeAllClose(expected, { relative: 1e-5, absolute: 2e-4 });
  });

  it('is read in a copy, so that the stored one may stay where it is looked up', () => {
    const read = [...typesOf(program).keys()];
    expect(read).toContain('in:packed for products');
    expect(read).not.toContain('in:packed');
  });
});

it('has no fused products, turned or scaled', async () => {
  const weight: ArrayType = { dtype: 'float32', shape: [rows, columns] };
  const program = trace('products', { x: input, w: weight }, ({ x, w }) => {
    if (!x || !w) return {};
    // Rows by groups, as one matrix of gates has them.
    const byGroups = reshape(w, [3, rows / 3, columns]);
    const groups = dotGeneral(x, byGroups, {
      lhsContracting: [2],
      rhsContracting: [2],
      lhsBatching: [],
      rhsBatching: [],
      preferredType: 'float32',
    });
    const scores = dotGeneral(linear(x, w), linear(x, w), {
      lhsContracting: [2],
      rhsContracting: [2],
      lhsBatching: [0],
      rhsBatching: [0],
      preferredType: 'float32',
    });
    const scaled = mul(scores, 0.125);
    return { y: add(linear(x, w), mul(reshape(groups, [1, 'T', rows]), 0.5)), scaled };
  });
  const w = makeArray('float32', [rows, columns], { range: [-1, 1] }, 'w');
  const [found, expected] = await both(program, [w], 5);
  expect(found).toBeAllClose(expected, { relative: 1e-5, absolute: 1e-3 });
  const read = typesOf(program);
  expect([...read.keys()].filter((name) => name.startsWith('in:w'))).toEqual(['in:w turned']);
});

it('leaves places and sizes to the processor, and floats to the GPU', () => {
  const place: ArrayType = { dtype: 'int32', shape: [1] };
  const program = trace('places', { x: input, place }, ({ x, place: at }) =>
    x && at ? { moved: add(at, add(at, 1)), y: mul(x, x) } : {},
  );
  const { hostNodes, nodes } = lower(program, new Set(), true, 'packed');
  expect(hostNodes.length).toBeGreaterThan(1);
  expect(hostNodes).toContain('out:moved');
  expect(hostNodes).not.toContain('out:y');
  expect(hostNodes.length).toBeLessThan(nodes);
  expect(lower(program).hostNodes).toEqual([]);
});
