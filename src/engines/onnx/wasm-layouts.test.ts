// Products over bound weights on the WebAssembly engine: the layouts that it makes of them, against the decomposition.
import { afterAll, describe, expect, it } from 'vitest';
import '../../../test/matcher.ts';
import { makeArray } from '../../../test/operations/case.ts';
import type { NDArray } from '../../tensor/array.ts';
import { toHost } from '../../tensor/array.ts';
import { evaluateProgram } from '../../tensor/evaluate.ts';
import type { Activations, ArrayType, Program, QuantizedForm } from '../../tensor/index.ts';
import { linear, QuantizedTensor, quantizedTypes, trace } from '../../tensor/index.ts';
import { onnxWebEngine } from './engine.web.ts';

const [columns, rows] = [256, 100];
const files = new URL('.', import.meta.resolve('onnxruntime-web/wasm')).href;
const engine = await onnxWebEngine({ files, threads: 1 });
afterAll(async () => {
  expect(engine.live().buffers).toBe(0);
  await engine.close();
});

const x = (count: number) => makeArray('float32', [1, count, columns], { range: [-3, 3] }, 'x');
const input: ArrayType = { dtype: 'float32', shape: [1, 'T', columns] };

/** The results for 1 and 7 rows, of the engine and of the program's meaning; weights are bound. */
async function both(program: Program, weights: readonly NDArray[]): Promise<[found: number[], expected: number[]][]> {
  const names = program.inputs.map(({ name }) => name).filter((name) => name !== 'x');
  const buffers = await Promise.all(weights.map((array) => engine.upload(array.dtype, array.shape, toHost(array))));
  const bind = Object.fromEntries(names.flatMap((name, index) => (buffers[index] ? [[name, buffers[index]]] : [])));
  const executable = await engine.compile(program, { bind });
  // A second program over the same weights shares their layouts, and lives on when the first is released.
  const second = await engine.compile(program, { bind });
  executable.release();
  const results: [number[], number[]][] = [];
  for (const count of [1, 7]) {
    const given = await engine.upload('float32', [1, count, columns], toHost(x(count)));
    const { y } = await second.run({ x: given });
    const [expected] = evaluateProgram(program, [x(count), ...weights]);
    results.push([y ? Array.from(await engine.download(y), Number) : [], Array.from(expected?.data ?? [], Number)]);
    y?.dispose();
    given.dispose();
  }
  second.release();
  for (const buffer of buffers) buffer.dispose();
  return results;
}

const rms = (values: readonly number[]) => Math.hypot(...values) / Math.sqrt(values.length);

it('turns float32 weights, of which others still see the rows', async () => {
  const weight: ArrayType = { dtype: 'float32', shape: [rows, columns] };
  const program = trace('product', { x: input, w: weight }, ({ x, w }) => (x && w ? { y: linear(x, w) } : {}));
  for (const [found, expected] of await both(program, [makeArray('float32', [rows, columns], { range: [-1, 1] }, 'w')]))
    expect(found).toBeAllClose(expected, { relative: 1e-5, absolute: 1e-4 });
});

const cases: (readonly [title: string, form: QuantizedForm])[] = [
  ['4 bits', { bits: 4, block: 32, affine: false }],
  ['4 bits with minimums', { bits: 4, block: 32, affine: true }],
  ['8 bits', { bits: 8, block: 32, affine: false }],
  ['8 bits with minimums in blocks of 128', { bits: 8, block: 128, affine: true }],
];

describe.each(cases)('%s', (_title, form) => {
  const types = quantizedTypes([rows, columns], form);
  const weights = Object.entries(types).map(([name, { dtype, shape }]) => {
    const values = name === 'packed' ? { below: 256 } : ({ range: [0.01, 0.1] } as const);
    return makeArray(dtype, shape.map(Number), values, name);
  });
  const programOf = (activations: Activations) =>
    trace('product', { x: input, ...types }, ({ x, ...parts }) =>
      x ? { y: linear(x, new QuantizedTensor(Object.values(parts), form, activations)) } : {},
    );

  it('as floats give the same', async () => {
    for (const [found, expected] of await both(programOf('float32'), weights))
      expect(found).toBeAllClose(expected, { relative: 1e-5, absolute: 2e-4 });
  });

  it('by rows of bytes are as near as two roundings to 8 bits', async () => {
    // The decomposition of int8 activations rounds x by blocks: what is wanted is the product itself.
    const exact = await both(programOf('float32'), weights);
    const rounded = await both(programOf('int8'), weights);
    for (const [index, [found]] of rounded.entries()) {
      const expected = exact[index]?.[1] ?? [];
      const parted = found.map((value, i) => value - (expected[i] ?? 0));
      expect(rms(parted) / rms(expected)).toBeLessThan(0.02);
      expect(rms(parted)).toBeGreaterThan(0);
    }
  });
});

it('whole, where nothing divides its columns, is the same product', async () => {
  const form: QuantizedForm = { bits: 4, block: 32, affine: false };
  const tall = 101;
  const types = quantizedTypes([tall, columns], form);
  const weights = Object.entries(types).map(([name, { dtype, shape }]) =>
    makeArray(dtype, shape.map(Number), name === 'packed' ? { below: 256 } : { range: [0.01, 0.1] }, name),
  );
  const programOf = (activations: Activations) =>
    trace('product', { x: input, ...types }, ({ x, ...parts }) =>
      x ? { y: linear(x, new QuantizedTensor(Object.values(parts), form, activations)) } : {},
    );
  const exact = await both(programOf('float32'), weights);
  for (const [index, [found]] of (await both(programOf('int8'), weights)).entries()) {
    const expected = exact[index]?.[1] ?? [];
    expect(found).toHaveLength(expected.length);
    expect(rms(found.map((value, i) => value - (expected[i] ?? 0))) / rms(expected)).toBeLessThan(0.02);
  }
});
