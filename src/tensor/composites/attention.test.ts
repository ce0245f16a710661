// Attention against plain loops, and over a cache against attention over the whole sequence.
import { describe, expect, it } from 'vitest';
import '../../../test/matcher.ts';
import { makeArray } from '../../../test/operations/case.ts';
import { array, compute, run } from '../../../test/operations/run.ts';
import type { NDArray } from '../array.ts';
import * as t from '../index.ts';
import { emit } from '../tracer.ts';

const close = { relative: 1e-12, absolute: 1e-12 };
const random = (name: string, ...shape: number[]) => makeArray('float64', shape, { range: [-1.5, 1.5] }, name);

/** x [B, T, H, D] at an index. */
function at({ shape, data }: NDArray, ...index: number[]): number {
  return data[index.reduce((offset, i, axis) => offset * (shape[axis] ?? 1) + i, 0)] ?? NaN;
}

/** The definition, one query at a time: out [B, T, H, D] and log-sum-exp [B, H, T]. */
function attend(
  q: NDArray,
  k: NDArray,
  v: NDArray,
  scale: number,
  sees: (b: number, query: number, key: number) => boolean,
) {
  const [B = 0, T = 0, H = 0, D = 0] = q.shape;
  const [, S = 0, G = 1] = k.shape;
  const out = new Float64Array(B * T * H * D);
  const lse = new Float64Array(B * H * T);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      const g = Math.floor(h / (H / G));
      for (let i = 0; i < T; i++) {
        const keys = Array.from({ length: S }, (_, s) => s).filter((s) => sees(b, i, s));
        const scores = keys.map((s) => {
          let score = 0;
          for (let d = 0; d < D; d++) score += at(q, b, i, h, d) * at(k, b, s, g, d);
          return score * scale;
        });
        const total = scores.reduce((sum, score) => sum + Math.exp(score), 0);
        lse[(b * H + h) * T + i] = Math.log(total);
        for (let d = 0; d < D; d++) {
          out[((b * T + i) * H + h) * D + d] = keys.reduce(
            (sum, s, n) => sum + (Math.exp(scores[n] ?? 0) / total) * at(v, b, s, g, d),
            0,
          );
        }
      }
    }
  }
  return { out, lse };
}

const documents = [0, 0, 1, 1, 1, 5, 5, 9, 9, 9];
const variants = [
  { title: 'causal', causal: true, window: null, segments: false },
  { title: 'both ways', causal: false, window: null, segments: false },
  { title: 'in a window', causal: true, window: 2, segments: false },
  { title: 'in a window, both ways', causal: false, window: 3, segments: false },
  { title: 'in documents', causal: true, window: null, segments: true },
  { title: 'in documents and a window, both ways', causal: false, window: 2, segments: true },
];

describe('attention', () => {
  for (const { title, causal, window, segments } of variants) {
    it.each([
      [4, 4],
      [4, 2],
      [3, 1],
    ])(`${title}, %i query heads on %i key heads`, (H, G) => {
      const [q, k, v] = [random('q', 2, 5, H, 2), random('k', 2, 5, G, 2), random('v', 2, 5, G, 2)];
      const labels = array('int32', [2, 5], documents);
      const { out, lse } = run({ q, k, v, labels }, ({ q, k, v, labels }) => {
        const operands = segments ? [q, k, v, labels] : [q, k, v];
        const [out = q, lse = q] = emit('attention', operands, { causal, window, scale: 0.8, segments });
        return { out, lse };
      });
      const expected = attend(q, k, v, 0.8, (b, query, key) => {
        const near = window === null || key > query - window;
        return near && (!causal || key <= query) && (!segments || documents[b * 5 + query] === documents[b * 5 + key]);
      });
      expect(out?.data ?? []).toBeAllClose(expected.out, close);
      expect(lse?.data ?? []).toBeAllClose(expected.lse, close);
      expect([out?.shape, lse?.shape]).toEqual([
        [2, 5, H, 2],
        [2, H, 5],
      ]);
    });
  }

  it('of other keys', () => {
    const [q, k, v] = [random('q', 1, 2, 2, 3), random('k', 1, 4, 1, 3), random('v', 1, 4, 1, 3)];
    const found = compute({ q, k, v }, ({ q, k, v }) => t.attention(q, k, v, { scale: 1, causal: false }));
    expect(found).toBeAllClose(attend(q, k, v, 1, () => true).out, close);
  });

  it('does not overflow', () => {
    const [q, k] = [array('float32', [1, 2, 1, 1], [300, 300]), array('float32', [1, 2, 1, 1], [300, 299])];
    const v = array('float32', [1, 2, 1, 1], [1, 2]);
    expect(compute({ q, k, v }, ({ q, k, v }) => t.attention(q, k, v, { scale: 1 }))).toEqual([1, 1]);
  });

  it('keeps statistics of 16-bit inputs in float32', () => {
    const x = makeArray('bfloat16', [1, 3, 1, 2], { range: [-1, 1] }, 'x');
    const { out, lse } = run({ x }, ({ x }) => {
      const [out = x, lse = x] = emit('attention', [x, x, x], {
        causal: true,
        window: null,
        scale: 1,
        segments: false,
      });
      return { out, lse };
    });
    expect([out?.dtype, lse?.dtype]).toEqual(['bfloat16', 'float32']);
  });
});

describe('attention by tiles', () => {
  it.each([
    [96, 2, 0],
    [96, 33, 0],
    [128, 33, 1],
    [192, 40, 9],
  ])('of %i tokens in a window of %i behind %i sinks is the definition', (T, window, sinks) => {
    const [q, k, v] = [random('q', 2, T, 4, 2), random('k', 2, T, 2, 2), random('v', 2, T, 2, 2)];
    const { out, lse } = run({ q, k, v }, ({ q, k, v }) => {
      const attributes = { causal: true, window, sinks, scale: 0.8, segments: false };
      const [out = q, lse = q] = emit('attention', [q, k, v], attributes);
      return { out, lse };
    });
    const sees = (_: number, query: number, key: number) => key <= query && (key > query - window || key < sinks);
    const expected = attend(q, k, v, 0.8, sees);
    expect(out?.data ?? []).toBeAllClose(expected.out, close);
    expect(lse?.data ?? []).toBeAllClose(expected.lse, close);
  });

  it('has the gradient of attention that is not cut', () => {
    const inputs = { q: random('q', 1, 96, 2, 2), k: random('k', 1, 96, 1, 2), v: random('v', 1, 96, 1, 2) };
    const gradients = (segments: boolean) =>
      run(inputs, ({ q, k, v }) => {
        // Of one document: attention in documents is not cut.
        const operands = segments ? [q, k, v, t.zeros('int32', [1, 96])] : [q, k, v];
        const attributes = { causal: true, window: 7, sinks: 2, scale: 0.8, segments };
        const [out = q, lse = q] = emit('attention', operands, attributes);
        const [dq = q, dk = k, dv = v] = emit(
          'attention_grad',
          [...operands.slice(0, 3), out, lse, q, ...operands.slice(3)],
          attributes,
        );
        return { dq, dk, dv };
      });
    const [cut, whole] = [gradients(false), gradients(true)];
    for (const name of ['dq', 'dk', 'dv']) expect(cut[name]?.data ?? []).toBeAllClose(whole[name]?.data ?? [], close);
  });
});

describe('cached attention', () => {
  const [B, T, H, G, D, C] = [2, 6, 4, 2, 2, 8];
  const [q, k, v] = [random('q', B, T, H, D), random('k', B, T, G, D), random('v', B, T, G, D)];
  /** Rows from..to of each batch row, moved by an offset of its own where one is given. */
  const rows = (x: NDArray, from: number, to: number) => compute({ x }, ({ x }) => t.sliceAxis(x, 1, from, to));

  it.each([[[6]], [[1, 1, 1, 1, 1, 1]], [[4, 1, 1]], [[2, 3, 1]]])(
    'in pieces of %j gives what the whole sequence gives',
    (pieces) => {
      for (const window of [null, 3]) {
        const whole = attend(
          q,
          k,
          v,
          0.6,
          (_b, query, key) => key <= query && (window === null || key > query - window),
        ).out;
        let cache = {
          keys: array('float64', [B, G, C, D], new Array<number>(B * G * C * D).fill(99)),
          values: array('float64', [B, G, C, D], new Array<number>(B * G * C * D).fill(-99)),
        };
        let from = 0;
        for (const size of pieces) {
          const piece = (x: NDArray, heads: number) =>
            array('float64', [B, size, heads, D], rows(x, from, from + size));
          const starts = array('int32', [B], [from, from]);
          const { out, keys, values } = run(
            { q: piece(q, H), k: piece(k, G), v: piece(v, G), ...cache, starts },
            ({ q, k, v, keys, values, starts }) => ({
              ...t.cachedAttention(q, k, v, { keys, values, starts }, { scale: 0.6, window }),
            }),
          );
          if (!keys || !values) throw new Error('No cache came back.');
          cache = { keys, values };
          const expected = compute({ x: array('float64', [B, T, H, D], [...whole]) }, ({ x }) =>
            t.sliceAxis(x, 1, from, from + size),
          );
          expect(out?.data ?? []).toBeAllClose(expected, close);
          from += size;
        }
        // What was not written stays as it was.
        expect(at(cache.keys, 0, 0, 5, 0)).toBe(at(k, 0, 5, 0, 0));
        expect(at(cache.keys, 1, 1, 6, 1)).toBe(99);
      }
    },
  );

  it('lets each row of the batch stand where it stands', () => {
    const step = {
      q: random('q1', 2, 1, 2, 2),
      k: random('k1', 2, 1, 1, 2),
      v: random('v1', 2, 1, 1, 2),
      keys: random('keys', 2, 1, 4, 2),
      values: random('values', 2, 1, 4, 2),
    };
    const starts = array('int32', [2], [3, 1]);
    const { out, keys } = run({ ...step, starts }, ({ q, k, v, keys, values, starts }) => ({
      ...t.cachedAttention(q, k, v, { keys, values, starts }, { scale: 1 }),
    }));
    for (const [b, start] of [3, 1].entries()) {
      const past = (cache: NDArray, fresh: NDArray) =>
        array(
          'float64',
          [1, start + 1, 1, 2],
          Array.from({ length: start + 1 }, (_, s) =>
            [0, 1].map((d) => (s < start ? at(cache, b, 0, s, d) : at(fresh, b, 0, 0, d))),
          ).flat(),
        );
      const query = array(
        'float64',
        [1, 1, 2, 2],
        [0, 1].flatMap((h) => [0, 1].map((d) => at(step.q, b, 0, h, d))),
      );
      const expected = attend(query, past(step.keys, step.k), past(step.values, step.v), 1, () => true).out;
      expect([...(out?.data ?? [])].slice(b * 4, b * 4 + 4)).toBeAllClose(expected, close);
    }
    expect([at(keys ?? q, 0, 0, 3, 0), at(keys ?? q, 1, 0, 1, 1)]).toEqual([
      at(step.k, 0, 0, 0, 0),
      at(step.k, 1, 0, 0, 1),
    ]);
    expect([at(keys ?? q, 0, 0, 1, 0), at(keys ?? q, 1, 0, 3, 1)]).toEqual([
      at(step.keys, 0, 0, 1, 0),
      at(step.keys, 1, 0, 3, 1),
    ]);
  });
});
