// Attention over caches whose size is a symbol, as generation has it: by tiles, with all scores held, over float32 and over int8. The
// operation table's caches are of known sizes, which decide the kernel.
import { afterAll, describe, expect, it } from 'vitest';
import { makeArray } from '../../../test/operations/case.ts';
import { toHost } from '../../tensor/array.ts';
import { evaluateProgram } from '../../tensor/evaluate.ts';
import type { ArrayType } from '../../tensor/index.ts';
import { cachedAttention, trace } from '../../tensor/index.ts';
import type { Buffer } from '../engine.ts';
import { onnxEngine } from './index.ts';
import { lower } from './lower.ts';

const engine = await onnxEngine({ threads: 1 });
afterAll(() => engine.close());

const [H, G, D, C] = [4, 2, 8, 64];

function programOf(held: 'float32' | 'int8') {
  const floats = (...shape: ArrayType['shape']) => ({ dtype: 'float32', shape }) as const;
  const cache = { dtype: held, shape: [1, G, 'C', D] } as const;
  const types: Record<string, ArrayType> = {
    q: floats(1, 'T', H, D),
    k: floats(1, 'T', G, D),
    v: floats(1, 'T', G, D),
    keys: cache,
    values: cache,
    starts: { dtype: 'int32', shape: [1] },
    ...(held === 'int8' && { keyScales: floats(G, D), valueScales: floats(G, D) }),
  };
  const donations = { keys: 'nextKeys', values: 'nextValues' };
  const body = ({
    q,
    k,
    v,
    keys,
    values,
    starts,
    keyScales,
    valueScales,
  }: Parameters<Parameters<typeof trace>[2]>[0]) => {
    if (!q || !k || !v || !keys || !values || !starts) return {};
    const found = cachedAttention(q, k, v, { keys, values, starts, keyScales, valueScales }, { scale: 0.5 });
    return { out: found.out, nextKeys: found.keys, nextValues: found.values };
  };
  return trace('attend', types, body, { donations });
}

describe.each(['float32', 'int8'] as const)('over %s', (held) => {
  const program = programOf(held);
  const kernels = (fewRows: boolean) => {
    const bytes = lower(program, new Set(), true, 'kept', fewRows).encode();
    return new TextDecoder('latin1').decode(bytes);
  };

  it.each([
    ['few rows', true],
    ['many rows', false],
  ])('%s: after each of several runs what the decomposition gives', async (_, fewRows) => {
    const executable = await engine.compile(program, { fewRows });
    const arrays = program.inputs.map(({ name, value }) => {
      const shape = value.shape.map((dim) => (dim === 'C' ? C : dim === 'T' ? 0 : dim));
      if (value.dtype !== 'float32' || name === 'keys' || name === 'values')
        return makeArray(value.dtype, shape.map(Number), { list: [0] }, name);
      return makeArray(value.dtype, shape.map(Number), { range: [0.01, 0.02] }, name);
    });
    const at = new Map(program.inputs.map(({ name }, index) => [name, index]));
    const put = (name: string, array: (typeof arrays)[number]) => arrays.splice(at.get(name) ?? -1, 1, array);
    const scales = await Promise.all(
      ['keyScales', 'valueScales'].flatMap((name) => {
        const array = arrays[at.get(name) ?? -1];
        return array ? [engine.upload('float32', [G, D], toHost(array)).then((buffer) => [name, buffer] as const)] : [];
      }),
    );
    let caches: Record<string, Buffer> = {
      keys: await engine.zeros(held, [1, G, C, D]),
      values: await engine.zeros(held, [1, G, C, D]),
    };
    let start = 0;
    for (const length of [5, 1, 40, 7]) {
      for (const [name, heads] of [
        ['q', H],
        ['k', G],
        ['v', G],
      ] as const)
        put(name, makeArray('float32', [1, length, heads, D], { range: [-1, 1] }, `${name}${start}`));
      put('starts', makeArray('int32', [1], { list: [start] }, 'starts'));
      const given: Record<string, Buffer> = {};
      for (const name of ['q', 'k', 'v', 'starts']) {
        const array = arrays[at.get(name) ?? -1];
        if (array) given[name] = await engine.upload(array.dtype, array.shape, toHost(array));
      }
      const { out, nextKeys, nextValues } = await executable.run({
        ...given,
        ...caches,
        ...Object.fromEntries(scales),
      });
      const [expected, keys, values] = evaluateProgram(program, arrays);
      if (!out || !nextKeys || !nextValues || !expected || !keys || !values) throw new Error('a result is missing');
      const found = Array.from(await engine.download(out), Number);
      const wanted = Array.from(toHost(expected), Number);
      const worst = Math.max(...found.map((value, i) => Math.abs(value - (wanted[i] ?? NaN))));
      expect(worst).toBeLessThan(held === 'int8' ? 0.02 : 1e-5);
      put('keys', keys);
      put('values', values);
      caches = { keys: nextKeys, values: nextValues };
      for (const buffer of [out, ...Object.values(given)]) buffer.dispose();
      start += length;
    }
    for (const buffer of [...Object.values(caches), ...scales.map(([, scale]) => scale)]) buffer.dispose();
    executable.release();
    expect(engine.live().buffers).toBe(0);
  });

  it.each([true, false])(
    'leaves no result unread, which would be kept until the run ends (few rows: %s)',
    (fewRows) => {
      const names = kernels(fewRows).match(/GroupQueryAttention\.\d+/g) ?? [];
      expect(names.length).toBeGreaterThan(0);
      for (const name of names) expect(names.filter((other) => other === name).length).toBeGreaterThan(1);
    },
  );

  it('takes another kernel for many rows than for few, which change the caches in place', () => {
    expect(kernels(true)).not.toBe(kernels(false));
    expect(lower(program).inPlace).toEqual({ keys: 'nextKeys', values: 'nextValues' });
    expect(kernels(false).includes('ScatterND')).toBe(held === 'int8');
    expect(kernels(true).includes('PER_CHANNEL')).toBe(held === 'int8');
  });
});
