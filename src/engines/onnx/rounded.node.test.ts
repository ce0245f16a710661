// matmul_rows on its kernel against what it stands for, with weights that are bound: the operation table binds nothing.
import { afterAll, describe, expect, it } from 'vitest';
import '../../../test/matcher.ts';
import { makeArray } from '../../../test/operations/case.ts';
import { toHost } from '../../tensor/array.ts';
import { evaluateProgram } from '../../tensor/evaluate.ts';
import { linear, RoundedTensor, roundedRows, trace } from '../../tensor/index.ts';
import { onnxEngine } from './index.ts';
import { lower } from './lower.ts';

const engine = await onnxEngine({ threads: 1 });
afterAll(() => engine.close());

const N = 96;

describe.each([256, 96, 33])('%i columns', (columns) => {
  const matrix = makeArray('float32', [N, columns], { range: [-1, 1] }, 'w');
  const rounding = trace('round', { w: { dtype: 'float32', shape: [N, columns] } }, ({ w }) =>
    w ? roundedRows(w) : {},
  );
  const weights = evaluateProgram(rounding, [matrix]);
  const program = trace(
    'product',
    {
      x: { dtype: 'float32', shape: [1, 'T', columns] },
      levels: { dtype: 'int8', shape: [columns, N] },
      scales: { dtype: 'float32', shape: [N] },
    },
    ({ x, levels, scales }) => (x && levels && scales ? { y: linear(x, new RoundedTensor([levels, scales])) } : {}),
  );
  const makeRows = (count: number) => makeArray('float32', [1, count, columns], { range: [-3, 3] }, 'x');

  async function compiled() {
    const [levels, scales] = await Promise.all(
      weights.map((array) => engine.upload(array.dtype, array.shape, toHost(array))),
    );
    const executable = await engine.compile(program, { bind: levels && scales ? { levels, scales } : {} });
    return async (x: ReturnType<typeof makeRows>): Promise<number[]> => {
      const given = await engine.upload('float32', x.shape, toHost(x));
      const { y } = await executable.run({ x: given });
      const found = y ? Array.from(await engine.download(y), Number) : [];
      y?.dispose();
      given.dispose();
      return found;
    };
  }

  it('is left to the kernel where its weights are bound', () => {
    const kinds = (bound: readonly string[]) =>
      lower(program, new Set(bound)).program.operations.map(({ kind }) => kind);
    expect(kinds(['levels', 'scales'])).toEqual(['matmul_rows']);
    expect(kinds([])).not.toContain('matmul_rows');
  });

  it('is near the product of floats, and what the decomposition gives but for ties of rounding', async () => {
    const run = await compiled();
    for (const count of [1, 7, 40]) {
      const x = makeRows(count);
      const found = await run(x);
      const [expected] = evaluateProgram(program, [x, ...weights]);
      const far = found.filter((value, at) => Math.abs(value - Number(expected?.data[at])) > 1e-3);
      expect(far.length).toBeLessThanOrEqual(found.length / 50);
      const plain = (at: number) => {
        const [row, column] = [Math.floor(at / N), at % N];
        let sum = 0;
        for (let k = 0; k < columns; k++)
          sum += Number(x.data[row * columns + k]) * Number(matrix.data[column * columns + k]);
        return sum;
      };
      const square = (values: readonly number[]) => values.reduce((sum, value) => sum + value * value, 0);
      expect(square(found.map((value, at) => value - plain(at)))).toBeLessThan(
        3e-4 * square(found.map((_, at) => plain(at))),
      );
    }
  });

  it('gives a row the same bits whatever stands beside it', async () => {
    const run = await compiled();
    const x = makeRows(40);
    const whole = await run(x);
    for (const at of [0, 17, 39]) {
      const one = { ...makeRows(1), data: x.data.slice(at * columns, (at + 1) * columns) };
      const alone = await run(one);
      expect(alone).toBeAllClose(whole.slice(at * N, (at + 1) * N), { relative: 1e-2, absolute: 5e-2 });
    }
    for (let i = 0; i < 20 * columns; i++) x.data[i] = 1000 * Number(x.data[i] ?? 0);
    expect((await run(x)).slice(20 * N)).toEqual(whole.slice(20 * N));
  });
});
