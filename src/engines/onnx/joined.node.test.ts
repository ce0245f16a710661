// What the lowering makes one kernel call of, against the operations one by one.
import { afterAll, expect, it } from 'vitest';
import '../../../test/matcher.ts';
import { makeArray } from '../../../test/operations/case.ts';
import { toHost } from '../../tensor/array.ts';
import { evaluateProgram } from '../../tensor/evaluate.ts';
import type { ArrayType, Program } from '../../tensor/index.ts';
import {
  add,
  linear,
  mul,
  QuantizedTensor,
  quantizedTypes,
  reshape,
  rmsNorm,
  silu,
  trace,
} from '../../tensor/index.ts';
import { onnxEngine } from './index.ts';
import { lower } from './lower.ts';

const engine = await onnxEngine({ threads: 1 });
afterAll(() => engine.close());

/** The program on the engine, inputs named in `bound` bound, against the reference. */
async function check(program: Program, bound: ReadonlySet<string>, tolerance: number): Promise<void> {
  const arrays = program.inputs.map(({ name, value: { dtype, shape } }) => {
    const sizes = shape.map((dim) => (typeof dim === 'number' ? dim : 3));
    const values = dtype === 'uint8' ? { below: 256 } : ({ range: [0.01, 0.1] } as const);
    return [name, makeArray(dtype, sizes, name === 'x' ? { range: [-3, 3] } : values, name)] as const;
  });
  const buffers = await Promise.all(
    arrays.map(async ([name, array]) => [name, await engine.upload(array.dtype, array.shape, toHost(array))] as const),
  );
  const pick = (isBound: boolean) => Object.fromEntries(buffers.filter(([name]) => bound.has(name) === isBound));
  const executable = await engine.compile(program, { bind: pick(true) });
  const found = await executable.run(pick(false));
  const expected = evaluateProgram(
    program,
    arrays.map(([, array]) => array),
  );
  for (const [index, { name }] of program.outputs.entries()) {
    const [buffer, right] = [found[name], expected[index]];
    if (!buffer || !right) throw new Error(`no ${name}`);
    const [values, wanted] = [await engine.download(buffer), toHost(right)].map((all) => Array.from(all, Number));
    expect(values?.length).toBe(wanted?.length);
    const far = values?.map((value, i) => Math.abs(value - (wanted?.[i] ?? NaN))) ?? [NaN];
    expect(Math.max(...far)).toBeLessThan(tolerance);
    buffer.dispose();
  }
  executable.release();
  for (const [, buffer] of buffers) buffer.dispose();
}

it.each([false, true])('products of one input, affine: %s', async (affine) => {
  const form = { bits: 4, block: 32, affine } as const;
  const sizes = { a: 96, b: 32, c: 64 };
  const parts = Object.entries(sizes).flatMap(([name, rows]) =>
    Object.entries(quantizedTypes([rows, 128], form)).map(([part, type]) => [`${name}.${part}`, type] as const),
  );
  const types: Record<string, ArrayType> = {
    x: { dtype: 'float32', shape: [1, 'T', 128] },
    ...Object.fromEntries(parts),
  };
  const program = trace('products', types, (inputs) =>
    Object.fromEntries(
      Object.keys(sizes)
        .map((name) => {
          const own = parts.flatMap(([key]) => (key.startsWith(`${name}.`) && inputs[key] ? [inputs[key]] : []));
          return [name, inputs.x ? linear(inputs.x, new QuantizedTensor(own, form, 'float32')) : own[0]] as const;
        })
        .flatMap(([name, y]) => (y ? [[name, y]] : [])),
    ),
  );
  const bound = new Set(parts.map(([name]) => name));
  expect(lower(program, bound).nodes).toBe(affine ? 5 : 2);
  await check(program, bound, 1e-3);
});

it('a sum that is normalised, a gate, and shapes that nobody sees', async () => {
  const wide: ArrayType = { dtype: 'float32', shape: [1, 'T', 64] };
  const types = { x: wide, residual: wide, weight: { dtype: 'float32', shape: [64] } } as const;
  const program = trace('fused', types, ({ x, residual, weight }) => {
    const sum = add(x, residual);
    const gated = silu(rmsNorm(sum, weight, 1e-5));
    const seen = reshape(reshape(gated, [1, 'T', 4, 16]), [1, 'T', 64]);
    return { sum, y: mul(seen, sum) };
  });
  expect(lower(program).nodes).toBe(3);
  await check(program, new Set(), 1e-5);
});
