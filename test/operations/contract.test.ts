// What every engine promises beside its arithmetic: whose buffers are whose, what is refused, what may run at once.
import { afterAll, describe, expect, it } from 'vitest';
import type { Buffer, Buffers, Engine } from '../../src/engines/engine.ts';
import type { DType, HostArray } from '../../src/tensor/index.ts';
import { add, byteLength, dtypes, full, matmul, mul, newHostArray, sum, trace } from '../../src/tensor/index.ts';
import { engines } from './engines.ts';

const floats = (...values: number[]) => Float32Array.of(...values);

/** Any bits will do: nothing computes with them. */
function patterned(dtype: DType, count: number): HostArray {
  const host = newHostArray(dtype, count);
  const bytes = new Uint8Array(host.buffer);
  const mask = dtype === 'bool' ? 1 : 0x5f;
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 37 + 11) & mask;
  // The reference holds int64 as float64.
  if (dtype === 'int64') for (let i = 0; i < bytes.length; i++) if (i % 8 > 5) bytes[i] = 0;
  // The upper half of the last byte of an odd count of 4-bit elements is not theirs.
  const last = bytes.length - 1;
  if (dtype.endsWith('int4') && count % 2 === 1) bytes[last] = (bytes[last] ?? 0) & 15;
  return host;
}

const sumAndSquare = () =>
  trace(
    'sum-and-square',
    { x: { dtype: 'float32', shape: ['B', 2] }, w: { dtype: 'float32', shape: [2, 2] } },
    ({ x, w }) => ({
      product: matmul(x, w),
      square: mul(x, x),
    }),
  );

describe.each(await Promise.all(engines.map(async ({ name, load }) => [name, await load()] as const)))(
  'contract [%s]',
  (name, loaded) => {
    const present = (): Engine => {
      if (!loaded) throw new Error(`The engine ${name} is absent.`);
      return loaded;
    };
    const float = (shape: readonly number[], ...values: number[]) =>
      present().upload('float32', shape, floats(...values));
    const read = async (buffer: Buffer | undefined): Promise<number[]> => {
      if (!buffer) throw new Error('No such output.');
      return Array.from(await present().download(buffer), Number);
    };
    const dispose = (...groups: readonly Buffers[]) => {
      for (const group of groups) for (const buffer of Object.values(group)) buffer.dispose();
    };
    /** Runs a body that must leave no buffer alive. */
    const scenario = (title: string, body: () => Promise<void>) =>
      it.skipIf(!loaded)(title, async () => {
        const before = present().live();
        await body();
        expect(present().live()).toEqual(before);
      });

    describe('buffers', () => {
      for (const dtype of dtypes) {
        scenario(`${dtype} comes back as it went in`, async () => {
          for (const shape of [[2, 3], [5], [], [0, 4]]) {
            const count = shape.reduce((product, size) => product * size, 1);
            const host = patterned(dtype, count);
            const buffer = await present().upload(dtype, shape, host);
            expect([buffer.dtype, buffer.shape, buffer.byteLength]).toEqual([dtype, shape, byteLength(dtype, count)]);
            expect(await present().download(buffer)).toEqual(host);
            buffer.dispose();
          }
        });

        scenario(`zeros of ${dtype}`, async () => {
          const buffer = await present().zeros(dtype, [3, 1]);
          expect([buffer.dtype, buffer.shape]).toEqual([dtype, [3, 1]]);
          expect(await present().download(buffer)).toEqual(newHostArray(dtype, 3));
          buffer.dispose();
        });
      }

      scenario('copy boxes into one another', async () => {
        const from = await float([2, 3], 1, 2, 3, 4, 5, 6);
        const to = await float([3, 2, 3], ...new Array<number>(18).fill(0));
        const row = await float([1, 2, 3], 1, 2, 3, 4, 5, 6);
        const flat = await float([3, 3], ...new Array<number>(9).fill(9));
        await present().copy(row, to, { from: [0, 0, 0], to: [2, 0, 0], shape: [1, 2, 3] });
        await present().copy(row, to, { from: [0, 1, 1], to: [0, 0, 1], shape: [1, 1, 2] });
        await present().copy(from, flat, { from: [0, 1], to: [1, 0], shape: [2, 2] });
        await present().copy(from, flat, { from: [0, 0], to: [0, 0], shape: [0, 3] });
        expect(await read(to)).toEqual([0, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6]);
        expect(await read(flat)).toEqual([9, 9, 9, 2, 3, 9, 5, 6, 9]);
        const refused = (box: { from: number[]; to: number[]; shape: number[] }, onto = flat) =>
          expect(present().copy(from, onto, box)).rejects.toMatchObject({ code: 'bad-box' });
        await refused({ from: [0, 2], to: [0, 0], shape: [2, 2] });
        await refused({ from: [0, 0], to: [2, 0], shape: [2, 1] });
        await refused({ from: [-1, 0], to: [0, 0], shape: [1, 1] });
        await refused({ from: [0, 0], to: [0, 0], shape: [1, 1] }, to);
        await refused({ from: [0, 0], to: [1, 0], shape: [1, 1] }, from);
        dispose({ from, to, row, flat });
      });

      scenario('are counted', async () => {
        const a = await float([2, 2], 1, 2, 3, 4);
        const b = await present().zeros('int32', [3]);
        const both = present().live();
        a.dispose();
        const one = present().live();
        expect(both.buffers - one.buffers).toBe(1);
        expect(both.bytes - one.bytes).toBe(16);
        b.dispose();
      });

      scenario('are copies: what happens to host memory later is not seen', async () => {
        const host = floats(1, 2);
        const buffer = await present().upload('float32', [2], host);
        host[0] = 9;
        expect(await read(buffer)).toEqual([1, 2]);
        const copy = await present().download(buffer);
        copy[1] = 7;
        expect(await read(buffer)).toEqual([1, 2]);
        buffer.dispose();
      });

      scenario('that were disposed are refused, and disposing again does nothing', async () => {
        const executable = await present().compile(sumAndSquare());
        const w = await float([2, 2], 1, 0, 0, 1);
        const x = await float([1, 2], 1, 2);
        x.dispose();
        x.dispose();
        await expect(present().download(x)).rejects.toMatchObject({ code: 'disposed-buffer' });
        await expect(executable.run({ x, w })).rejects.toMatchObject({ code: 'disposed-buffer' });
        w.dispose();
        executable.release();
      });
    });

    describe('runs', () => {
      scenario('take other sizes of their symbols without compiling anew', async () => {
        const executable = await present().compile(sumAndSquare());
        const w = await float([2, 2], 1, 2, 3, 4);
        for (const rows of [1, 3, 2]) {
          const x = await float([rows, 2], ...Array.from({ length: 2 * rows }, (_, i) => i));
          const outputs = await executable.run({ x, w });
          expect(outputs.product?.shape).toEqual([rows, 2]);
          expect(await read(outputs.product)).toEqual(
            Array.from({ length: rows }, (_, r) => [2 * r + 3 * (2 * r + 1), 4 * r + 4 * (2 * r + 1)]).flat(),
          );
          dispose({ x }, outputs);
        }
        dispose({ w });
        executable.release();
      });

      scenario('begun together do not disturb each other', async () => {
        const executable = await present().compile(sumAndSquare());
        const w = await float([2, 2], 2, 0, 0, 2);
        const inputs = await Promise.all(
          Array.from({ length: 8 }, (_, i) => float([i + 1, 2], ...Array.from({ length: 2 * i + 2 }, () => i))),
        );
        const results = await Promise.all(inputs.map((x) => executable.run({ x, w })));
        for (const [i, outputs] of results.entries()) {
          expect(await read(outputs.product)).toEqual(Array.from({ length: 2 * i + 2 }, () => 2 * i));
          dispose(outputs);
        }
        dispose({ w }, Object.fromEntries(inputs.entries()));
        executable.release();
      });

      scenario('take one buffer for two inputs', async () => {
        const executable = await present().compile(sumAndSquare());
        const x = await float([2, 2], 1, 1, 0, 1);
        const outputs = await executable.run({ x, w: x });
        expect(await read(outputs.product)).toEqual([1, 2, 0, 1]);
        dispose({ x }, outputs);
        executable.release();
      });

      scenario('give a buffer for each output, even where outputs are inputs, constants or one another', async () => {
        const program = trace('same', { x: { dtype: 'float32', shape: [2] } }, ({ x }) => {
          const doubled = add(x, x);
          return { input: x, first: doubled, second: doubled, constant: full('float32', [2], 4) };
        });
        const executable = await present().compile(program);
        const x = await float([2], 1, 2);
        const { input, first, second, constant } = await executable.run({ x });
        x.dispose();
        first?.dispose();
        expect([await read(input), await read(second), await read(constant)]).toEqual([
          [1, 2],
          [2, 4],
          [4, 4],
        ]);
        for (const buffer of [input, second, constant]) buffer?.dispose();
        executable.release();
      });

      scenario('need no inputs where the program has none', async () => {
        const executable = await present().compile(trace('none', {}, () => ({ y: sum(full('float32', [3], 2), [0]) })));
        const outputs = await executable.run({});
        expect([outputs.y?.shape, await read(outputs.y)]).toEqual([[], [6]]);
        dispose(outputs);
        executable.release();
      });

      scenario('ignore inputs that the program does not read, but check them', async () => {
        const executable = await present().compile(
          trace('idle', { x: { dtype: 'float32', shape: [1] }, idle: { dtype: 'int32', shape: [2] } }, ({ x }) => ({
            y: add(x, 1),
          })),
        );
        const x = await float([1], 1);
        const idle = await present().zeros('int32', [2]);
        const outputs = await executable.run({ x, idle });
        expect(await read(outputs.y)).toEqual([2]);
        await expect(executable.run({ x })).rejects.toMatchObject({ code: 'bad-input' });
        dispose({ x, idle }, outputs);
        executable.release();
      });
    });

    describe('inputs that do not fit are refused', () => {
      const good = async () => ({ x: await float([1, 2], 1, 2), w: await float([2, 2], 1, 2, 3, 4) });
      const wrong: Record<string, () => Promise<Buffers>> = {
        'one missing': async () => ({ x: await float([1, 2], 1, 2) }),
        'one unknown': async () => ({ ...(await good()), y: await float([1], 1) }),
        'another size': async () => ({ x: await float([1, 2], 1, 2), w: await float([2, 1], 1, 2) }),
        'another rank': async () => ({ x: await float([2], 1, 2), w: await float([2, 2], 1, 2, 3, 4) }),
        'another type': async () => ({ x: await float([1, 2], 1, 2), w: await present().zeros('float64', [2, 2]) }),
      };
      for (const [title, make] of Object.entries(wrong)) {
        scenario(title, async () => {
          const executable = await present().compile(sumAndSquare());
          const inputs = await make();
          await expect(executable.run(inputs)).rejects.toMatchObject({ code: 'bad-input' });
          dispose(inputs);
          executable.release();
        });
      }

      scenario('a symbol of two sizes', async () => {
        const types = { a: { dtype: 'float32', shape: ['B'] }, b: { dtype: 'float32', shape: ['B'] } } as const;
        const executable = await present().compile(
          trace('two', types, ({ a, b }) => ({ a: sum(a, [0]), b: sum(b, [0]) })),
        );
        const [a, b] = [await float([2], 1, 2), await float([3], 1, 2, 3)];
        await expect(executable.run({ a, b })).rejects.toMatchObject({ code: 'bad-input' });
        dispose({ a, b });
        executable.release();
      });

      scenario('a size that is not its polynomial, whichever comes first', async () => {
        const types = { a: { dtype: 'float32', shape: ['2*B'] }, b: { dtype: 'float32', shape: ['B'] } } as const;
        const executable = await present().compile(
          trace('two', types, ({ a, b }) => ({ a: sum(a, [0]), b: sum(b, [0]) })),
        );
        const [a, b] = [await float([3], 1, 2, 3), await float([2], 1, 2)];
        await expect(executable.run({ a, b })).rejects.toMatchObject({ code: 'bad-input' });
        dispose({ a, b });
        executable.release();
      });
    });

    describe('donation', () => {
      const types = { state: { dtype: 'float32', shape: [4] }, x: { dtype: 'float32', shape: [4] } } as const;
      const program = () =>
        trace('step', types, ({ state, x }) => ({ next: add(state, x), before: mul(state, 2) }), {
          donations: { state: 'next' },
        });

      scenario('gives the buffer up, and every reader sees what it held', async () => {
        const executable = await present().compile(program());
        const x = await float([4], 1, 1, 1, 1);
        let state = await float([4], 1, 2, 3, 4);
        for (let step = 0; step < 3; step++) {
          const outputs = await executable.run({ state, x });
          await expect(present().download(state)).rejects.toMatchObject({ code: 'disposed-buffer' });
          expect(await read(outputs.before)).toEqual([1, 2, 3, 4].map((value) => 2 * (value + step)));
          outputs.before?.dispose();
          if (!outputs.next) throw new Error('No next state.');
          state = outputs.next;
        }
        expect(await read(state)).toEqual([4, 5, 6, 7]);
        dispose({ x, state });
        executable.release();
      });
    });

    describe('binding', () => {
      scenario('fixes inputs for the life of the executable; they stay the caller’s', async () => {
        const w = await float([2, 2], 1, 2, 3, 4);
        const executable = await present().compile(sumAndSquare(), { bind: { w } });
        for (const value of [1, 2]) {
          const x = await float([1, 2], value, value);
          const outputs = await executable.run({ x });
          expect(await read(outputs.product)).toEqual([4 * value, 6 * value]);
          dispose({ x }, outputs);
        }
        executable.release();
        expect(await read(w)).toEqual([1, 2, 3, 4]);
        w.dispose();
      });
    });

    afterAll(() => loaded?.close());
  },
);
