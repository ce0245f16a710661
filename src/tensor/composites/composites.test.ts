// Norm, rotation, silu and cross entropy against their formulas, and how they round in 16 bits.
import { describe, expect, it } from 'vitest';
import '../../../test/matcher.ts';
import { makeArray } from '../../../test/operations/case.ts';
import { array, compute, run } from '../../../test/operations/run.ts';
import type { NDArray } from '../array.ts';
import * as t from '../index.ts';
import { emit } from '../tracer.ts';

const close = { relative: 1e-12, absolute: 1e-12 };
const random = (name: string, ...shape: number[]) => makeArray('float64', shape, { range: [-2, 2] }, name);

describe('rms_norm', () => {
  it('divides each row by its root mean square', () => {
    const [x, w] = [random('x', 3, 4), random('w', 4)];
    const { y, inverse } = run({ x, w }, ({ x, w }) => {
      const [y = x, inverse = x] = emit('rms_norm', [x, w], { eps: 0.01 });
      return { y, inverse };
    });
    const rows = [0, 1, 2].map((r) => Array.from(x.data.subarray(4 * r, 4 * r + 4)));
    const expected = rows.map((row) => 1 / Math.sqrt(row.reduce((sum, value) => sum + value * value, 0) / 4 + 0.01));
    expect(inverse?.data ?? []).toBeAllClose(expected, close);
    expect(y?.data ?? []).toBeAllClose(
      rows.flatMap((row, r) => row.map((value, d) => value * (expected[r] ?? NaN) * (w.data[d] ?? NaN))),
      close,
    );
  });

  it('rounds to 16 bits before the weight, with statistics in float32', () => {
    const x = makeArray('bfloat16', [1, 16], { range: [-2, 2] }, 'bfloat16 x');
    const w = makeArray('bfloat16', [16], { range: [1, 2] }, 'bfloat16 w');
    const { y, inverse } = run({ x, w }, ({ x, w }) => {
      const [y = x, inverse = x] = emit('rms_norm', [x, w], { eps: 0 });
      return { y, inverse };
    });
    const values = Array.from(x.data);
    const r = 1 / Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / 16);
    const step = (value: number) => t.fromBfloat16(t.toBfloat16(value));
    const roundedFirst = values.map((value, i) => step(step(value * r) * (w.data[i] ?? NaN)));
    const roundedOnce = values.map((value, i) => step(value * r * (w.data[i] ?? NaN)));
    expect([...(y?.data ?? [])]).toEqual(roundedFirst);
    expect(roundedOnce).not.toEqual(roundedFirst);
    expect([inverse?.dtype, inverse?.data[0]]).toEqual(['float32', expect.closeTo(r, 6)]);
  });
});

describe('rotary', () => {
  const positions = array('int32', [2, 3], [0, 1, 2, 5, 6, 100]);
  const x = random('x', 2, 3, 2, 4);
  const turned = (at: typeof positions, values = x) =>
    compute({ at, values }, ({ at, values }) => t.rotary(values, t.rotaryTables(at, 4, 100, 'float64')));

  it('turns feature i with feature i + D/2 by position * theta^(-2i/D)', () => {
    const expected = Float64Array.from(x.data);
    for (let row = 0; row < 6; row++) {
      for (let head = 0; head < 2; head++) {
        for (let i = 0; i < 2; i++) {
          const angle = (positions.data[row] ?? 0) * 100 ** (-i / 2);
          const [a, b] = [(row * 2 + head) * 4 + i, (row * 2 + head) * 4 + i + 2];
          expected[a] = (x.data[a] ?? 0) * Math.cos(angle) - (x.data[b] ?? 0) * Math.sin(angle);
          expected[b] = (x.data[b] ?? 0) * Math.cos(angle) + (x.data[a] ?? 0) * Math.sin(angle);
        }
      }
    }
    expect(turned(positions)).toBeAllClose(expected, close);
  });

  it('leaves position 0 alone, and makes products depend on distance alone', () => {
    const zero = array('int32', [2, 3], [0, 0, 0, 0, 0, 0]);
    expect(turned(zero)).toBeAllClose(x.data, close);
    const [q, k] = [random('q', 1, 1, 1, 4), random('k', 1, 1, 1, 4)];
    const product = (m: number, n: number) => {
      const at = (value: number) => array('int32', [1, 1], [value]);
      const [a, b] = [turned(at(m), q), turned(at(n), k)];
      return a.reduce((sum, value, i) => sum + value * (b[i] ?? NaN), 0);
    };
    expect(product(7, 3)).toBeCloseTo(product(104, 100), 10);
    expect(product(7, 3)).not.toBeCloseTo(product(7, 4), 3);
  });

  it('refuses an odd number of features', () => {
    const types = { x: { dtype: 'float32', shape: [1, 1, 1, 3] }, at: { dtype: 'int32', shape: [1, 1] } } as const;
    expect(() => t.trace('p', types, ({ x, at }) => ({ y: t.rotary(x, t.rotaryTables(at, 4, 10)) }))).toThrow(
      t.LfmError,
    );
  });
});

describe('silu', () => {
  it('is x * logistic(x)', () => {
    const x = array('float64', [4], [0, 1, -2, 30]);
    expect(compute({ x }, ({ x }) => t.silu(x))).toBeAllClose(
      [0, 1 / (1 + Math.exp(-1)), -2 / (1 + Math.exp(2)), 30 / (1 + Math.exp(-30))],
      close,
    );
  });
});

describe('softmax_cross_entropy', () => {
  const [x, w] = [random('x', 6, 3), random('w', 5, 3)];
  const labels = array('int32', [6], [0, 4, 2, 2, 1, 3]);
  const weights = array('float64', [6], [1, 0.5, 0, 2, 1, 0.25]);
  const expected = [...labels.data].reduce((sum, label, n) => {
    const logits = Array.from({ length: 5 }, (_, v) =>
      [0, 1, 2].reduce((dot, d) => dot + (x.data[n * 3 + d] ?? NaN) * (w.data[v * 3 + d] ?? NaN), 0),
    );
    const lse = Math.log(logits.reduce((total, logit) => total + Math.exp(logit), 0));
    return sum + (weights.data[n] ?? NaN) * (lse - (logits[label] ?? NaN));
  }, 0);

  it.each([1, 2, 3, 6])('is the weighted sum of the tokens’ losses, in %i chunks', (chunks) => {
    expect(
      compute({ x, w, labels, weights }, ({ x, w, labels, weights }) =>
        t.softmaxCrossEntropy(x, w, labels, weights, { chunks }),
      ),
    ).toBeAllClose([expected], close);
  });

  it('does not see the label of a token without weight', () => {
    const other = { ...labels, data: labels.data.slice() };
    other.data[2] = 0;
    const of = (labels: NDArray) =>
      compute({ x, w, labels, weights }, ({ x, w, labels, weights }) =>
        t.softmaxCrossEntropy(x, w, labels, weights, { chunks: 2 }),
      );
    expect(of(other)).toEqual(of(labels));
  });

  it('does not overflow', () => {
    const far = array('float32', [1, 1], [1000]);
    const table = array('float32', [2, 1], [1, -1]);
    const inputs = { far, table, label: array('int32', [1], [1]), weight: array('float32', [1], [1]) };
    expect(
      compute(inputs, ({ far, table, label, weight }) =>
        t.softmaxCrossEntropy(far, table, label, weight, { chunks: 1 }),
      ),
    ).toEqual([2000]);
  });

  it('refuses tokens that do not go into its chunks', () => {
    expect(() =>
      compute({ x, w, labels, weights }, ({ x, w, labels, weights }) =>
        t.softmaxCrossEntropy(x, w, labels, weights, { chunks: 4 }),
      ),
    ).toThrow(expect.objectContaining({ code: 'indivisible' }));
  });
});
