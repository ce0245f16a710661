// MatMulNBits against what it stands for: the decomposition, on weights that are bound. (The operation table binds nothing.)
import { afterAll, describe, expect, it } from 'vitest';
import '../../../test/matcher.ts';
import { makeArray } from '../../../test/operations/case.ts';
import { toHost } from '../../tensor/array.ts';
import { evaluateProgram } from '../../tensor/evaluate.ts';
import type { Activations, ArrayType, QuantizedForm } from '../../tensor/index.ts';
import { linear, QuantizedTensor, quantizedTypes, trace } from '../../tensor/index.ts';
import { onnxEngine } from './index.ts';
import { lower } from './lower.ts';

const rows = 96;
/** As many as one kernel call takes whole, and more, which are no whole number of wide blocks; half of one, and one and a half. */
const [FEW, MANY, SHORT, ODD] = [256, 1088, 64, 96];
const engine = await onnxEngine({ threads: 1 });
afterAll(() => engine.close());

const cases: (readonly [title: string, form: QuantizedForm, activations: Activations, columns: number])[] = [
  ['4 bits, long rows', { bits: 4, block: 32, affine: false }, 'float32', MANY],
  ['4 bits with minimums, long rows', { bits: 4, block: 32, affine: true }, 'float32', MANY],
  ['8 bits, long rows', { bits: 8, block: 32, affine: false }, 'float32', MANY],
  ['4 bits', { bits: 4, block: 32, affine: false }, 'float32', FEW],
  ['4 bits with minimums', { bits: 4, block: 32, affine: true }, 'float32', FEW],
  ['8 bits', { bits: 8, block: 32, affine: false }, 'float32', FEW],
  ['4 bits, int8 activations', { bits: 4, block: 32, affine: false }, 'int8', FEW],
  ['4 bits with minimums, int8 activations', { bits: 4, block: 32, affine: true }, 'int8', FEW],
  ['4 bits in blocks of 128, int8 activations', { bits: 4, block: 128, affine: false }, 'int8', FEW],
  ['8 bits, int8 activations', { bits: 8, block: 32, affine: false }, 'int8', FEW],
  ['8 bits with minimums, int8 activations', { bits: 8, block: 32, affine: true }, 'int8', FEW],
  ['4 bits with minimums, int8 activations, long rows', { bits: 4, block: 32, affine: true }, 'int8', MANY],
  ['8 bits, int8 activations, long rows', { bits: 8, block: 32, affine: false }, 'int8', MANY],
  ['8 bits, int8 activations, short rows', { bits: 8, block: 32, affine: false }, 'int8', SHORT],
  ['4 bits with minimums, int8 activations, odd rows', { bits: 4, block: 32, affine: true }, 'int8', ODD],
];

/** Those that become bytes in wide blocks, turned: other roundings than the decomposition's. */
const isTurned = ({ bits, affine }: QuantizedForm, activations: Activations) =>
  activations === 'int8' && (affine || bits === 8);

function setUp(form: QuantizedForm, activations: Activations, columns: number) {
  const types = quantizedTypes([rows, columns], form);
  const inputs: Record<string, ArrayType> = { x: { dtype: 'float32', shape: [1, 'T', columns] }, ...types };
  const program = trace('product', inputs, ({ x, ...parts }) =>
    x ? { y: linear(x, new QuantizedTensor(Object.values(parts), form, activations)) } : {},
  );
  const weights = Object.entries(types).map(([name, { dtype, shape }]) =>
    makeArray(dtype, shape.map(Number), name === 'packed' ? { below: 256 } : { range: [0.01, 0.1] }, name),
  );
  // Blocks about zero, as a model's are.
  const [, scales, minimums] = weights;
  minimums?.data.forEach((share, g) => {
    minimums.data[g] = -(2 ** (form.bits - 1)) * (0.95 + Number(share)) * Number(scales?.data[g]);
  });
  return { program, weights, names: Object.keys(types) };
}

/** Of two lists of numbers, as a share of the second's length. */
function distance(found: readonly number[], expected: ArrayLike<number>): number {
  const length = (values: readonly number[]) => Math.hypot(...values);
  const wanted = Array.from(expected, Number);
  return length(found.map((value, at) => value - (wanted[at] ?? NaN))) / length(wanted);
}

describe.each(cases)('%s', (_title, form, activations, columns) => {
  const { program, weights, names } = setUp(form, activations, columns);
  const makeRows = (count: number) => makeArray('float32', [1, count, columns], { range: [-3, 3] }, 'x');

  async function compiled() {
    const buffers = await Promise.all(weights.map((array) => engine.upload(array.dtype, array.shape, toHost(array))));
    const bind = Object.fromEntries(names.flatMap((name, index) => (buffers[index] ? [[name, buffers[index]]] : [])));
    const executable = await engine.compile(program, { bind });
    return {
      async run(x: ReturnType<typeof makeRows>): Promise<number[]> {
        const given = await engine.upload('float32', x.shape, toHost(x));
        const { y } = await executable.run({ x: given });
        const found = y ? Array.from(await engine.download(y), Number) : [];
        y?.dispose();
        given.dispose();
        return found;
      },
      release() {
        executable.release();
        for (const buffer of buffers) buffer.dispose();
      },
    };
  }

  it('is left to the kernel', () => {
    const kinds = (bound: readonly string[]) =>
      lower(program, new Set(bound)).program.operations.map(({ kind }) => kind);
    expect(kinds(names)).toEqual(['matmul_quantized']);
    expect(kinds([])).not.toContain('matmul_quantized');
  });

  it('gives what the decomposition gives, for any number of rows', async () => {
    const kernel = await compiled();
    for (const count of [1, 2, 7, 40]) {
      const x = makeRows(count);
      if (isTurned(form, activations)) {
        const [plain] = evaluateProgram(setUp(form, 'float32', columns).program, [x, ...weights]);
        // Steps of the largest of 128 normal numbers over 127 are 0.007 of their spread, off by at most one.
        if (plain) expect(distance(await kernel.run(x), plain.data)).toBeLessThan(0.01);
        continue;
      }
      const [expected] = evaluateProgram(program, [x, ...weights]);
      // A step of rounding that falls the other way would be far more than this.
      if (expected)
        expect(await kernel.run(x)).toBeAllClose(expected.data, { relative: 1e-5, absolute: (1e-4 * columns) / FEW });
    }
    kernel.release();
  });

  it('gives a row the same numbers whatever stands beside it', async () => {
    const kernel = await compiled();
    const x = makeRows(40);
    const whole = await kernel.run(x);
    for (const at of [0, 17, 39]) {
      const one = { ...makeRows(1), data: x.data.slice(at * columns, (at + 1) * columns) };
      const alone = await kernel.run(one);
      expect(alone).toBeAllClose(whole.slice(at * rows, (at + 1) * rows), {
        relative: 1e-5,
        absolute: (1e-4 * columns) / FEW,
      });
    }
    for (let i = 0; i < 20 * columns; i++) x.data[i] = 1000 * (x.data[i] ?? 0);
    expect((await kernel.run(x)).slice(20 * rows)).toEqual(whole.slice(20 * rows));
    kernel.release();
  });
});
