// Differentiation where rules meet: leaves, repeated operands, integers on the way, refusals, derivatives of derivatives.
// That each rule is right by itself is shown in test/operations/gradients.test.ts.
import { describe, expect, it } from 'vitest';
import '../../test/matcher.ts';
import { kindsOf } from '../../test/operations/case.ts';
import { array, compute, run } from '../../test/operations/run.ts';
import type { NDArray } from './array.ts';
import { evaluateProgram } from './evaluate.ts';
import * as t from './index.ts';
import type { Program, Tensor } from './index.ts';

const vector = (...values: number[]) => array('float64', [values.length], values);
const total = (x: Tensor) =>
  t.sum(
    x,
    x.shape.map((_, axis) => axis),
  );
/** d sum(body(x)) / dx. */
const slope = (x: NDArray, body: (x: Tensor) => Tensor) =>
  compute({ x }, ({ x }) => t.gradients(total(body(x)), [x])[0] ?? x);

describe('leaves', () => {
  it('that the loss does not depend on have zeros', () => {
    const { a, b, n } = run({ x: vector(1, 2), y: vector(3, 4, 5), n: array('int32', [2], [1, 2]) }, ({ x, y, n }) => {
      const [a = x, b = y, c = n] = t.gradients(total(t.mul(x, x)), [x, y, n]);
      return { a, b, n: c };
    });
    expect([a, b, n].map((g) => [g?.dtype, [...(g?.data ?? [])]])).toEqual([
      ['float64', [2, 4]],
      ['float64', [0, 0, 0]],
      ['int32', [0, 0]],
    ]);
  });

  it('may stand twice', () => {
    const { a, b } = run({ x: vector(3) }, ({ x }) => {
      const [a = x, b = x] = t.gradients(total(t.mul(x, x)), [x, x]);
      return { a, b };
    });
    expect([a, b].map((g) => g?.data[0])).toEqual([6, 6]);
  });

  it('may be the loss itself', () => {
    expect(compute({ x: vector(3) }, ({ x }) => t.gradients(total(x), [total(x)])[0] ?? x)).toEqual([1]);
  });

  it('may be values on the way: what leads to them is not walked', () => {
    const { dx, dh } = run({ x: vector(0.5, 2) }, ({ x }) => {
      const h = t.exp(x);
      const loss = total(t.mul(h, t.mul(h, x)));
      const [dh = x, dx = x] = t.gradients(loss, [h, x]);
      return { dx, dh };
    });
    // With h held apart, loss = h² x: dh = 2 h x, dx = h².
    expect(dh ?? []).toBeAllClose(
      [0.5, 2].map((x) => 2 * Math.exp(x) * x),
      { relative: 1e-14, absolute: 0 },
    );
    expect(dx ?? []).toBeAllClose(
      [0.5, 2].map((x) => Math.exp(2 * x)),
      { relative: 1e-14, absolute: 0 },
    );
  });
});

describe('one tensor in many places', () => {
  it('collects every share', () => {
    expect(slope(vector(2, -3), (x) => t.mul(t.mul(x, x), x))).toEqual([12, 27]);
    expect(slope(vector(2, -3), (x) => t.sub(x, x))).toEqual([0, 0]);
    expect(slope(vector(2, 4), (x) => t.div(x, x))).toEqual([0, 0]);
    expect(slope(vector(2, 4), (x) => t.select(t.gt(x, 3), t.mul(x, 5), t.mul(x, x)))).toEqual([4, 5]);
    expect(slope(vector(1, 2), (x) => t.concatenate([x, x, t.mul(x, 3)], 0))).toEqual([5, 5]);
  });

  it('collects the shares of slices, whether they tile it, overlap or leave gaps', () => {
    const x = vector(1, 2, 3, 4);
    const part = (x: Tensor, from: number, to: number, by: number) => total(t.mul(t.sliceAxis(x, 0, from, to), by));
    expect(slope(x, (x) => t.add(part(x, 0, 2, 5), part(x, 2, 4, 7)))).toEqual([5, 5, 7, 7]);
    expect(slope(x, (x) => t.add(part(x, 2, 4, 7), part(x, 0, 2, 5)))).toEqual([5, 5, 7, 7]);
    expect(slope(x, (x) => t.add(part(x, 0, 3, 5), part(x, 1, 4, 7)))).toEqual([5, 12, 12, 7]);
    expect(slope(x, (x) => t.add(part(x, 0, 1, 5), part(x, 2, 4, 7)))).toEqual([5, 0, 7, 7]);
    expect(slope(x, (x) => t.add(part(x, 1, 2, 5), part(x, 2, 4, 7)))).toEqual([0, 5, 7, 7]);
    expect(slope(x, (x) => t.add(t.add(part(x, 0, 2, 5), part(x, 2, 4, 7)), total(t.mul(x, 100))))).toEqual([
      105, 105, 107, 107,
    ]);
  });

  it('collects the shares of slices of two axes', () => {
    const x = array('float64', [2, 2], [1, 2, 3, 4]);
    const found = slope(x, (x) =>
      t.add(total(t.mul(t.sliceAxis(x, 0, 0, 1), 2)), total(t.mul(t.sliceAxis(x, 1, 1, 2), 10))),
    );
    expect(found).toEqual([2, 12, 0, 10]);
  });
});

describe('integers on the way', () => {
  it('carry no gradient', () => {
    expect(slope(vector(1.5, 2.5), (x) => t.add(x, t.cast(t.cast(t.mul(x, 3), 'int32'), 'float64')))).toEqual([1, 1]);
    expect(slope(vector(1.5, 2.5), (x) => t.cast(t.gt(x, 2), 'float64'))).toEqual([0, 0]);
  });

  it('may be carries of a scan beside floats', () => {
    const found = slope(vector(3), (x) => {
      const { carries } = t.scan(3, [t.full('int32', [], 1), x], [], (_index, [n = x, s = x]) => ({
        carries: [t.add(n, n), t.mul(s, t.cast(n, 'float64'))],
        outputs: [],
      }));
      return carries[1] ?? x;
    });
    expect(found).toEqual([8]);
  });
});

describe('kinks', () => {
  it('equal maxima share the cotangent evenly, and equal minima', () => {
    expect(slope(vector(1, 3, 3, 0), (x) => t.max(x, [0]))).toEqual([0, 0.5, 0.5, 0]);
    expect(slope(vector(2, 1, 1, 1), (x) => t.mul(t.min(x, [0]), 6))).toEqual([0, 2, 2, 2]);
  });

  it('of two equal operands the first takes it all', () => {
    const both = (fn: typeof t.maximum) =>
      run({ a: vector(1, 2), b: vector(1, 3) }, ({ a, b }) => {
        const [da = a, db = b] = t.gradients(total(fn(a, b)), [a, b]);
        return { da, db };
      });
    const [most, least] = [both(t.maximum), both(t.minimum)];
    expect([most.da, most.db, least.da, least.db].map((g) => [...(g?.data ?? [])])).toEqual([
      [1, 0],
      [0, 1],
      [1, 1],
      [0, 0],
    ]);
  });

  it('abs is flat at zero', () => expect(slope(vector(-2, 0, 3), t.abs)).toEqual([-1, 0, 1]));

  it('of equal values top_k moves the ones it took', () => {
    expect(slope(vector(2, 5, 5, 5), (x) => t.topK(x, 2).values)).toEqual([0, 1, 1, 0]);
  });

  it('indices outside read the edge in gather, and what they read is left out of its gradient', () => {
    const at = (x: Tensor) =>
      t.gatherFrom(x, t.constant('int32', [3], Int32Array.of(-1, 1, 9)), { axis: 0, batchDims: 0 });
    expect(compute({ x: vector(1, 2, 3) }, ({ x }) => at(x))).toEqual([1, 2, 3]);
    expect(slope(vector(1, 2, 3), at)).toEqual([0, 1, 0]);
  });
});

describe('refusals', () => {
  const x = { x: { dtype: 'float32', shape: [2] } } as const;
  const refused = expect.objectContaining({ code: 'not-differentiable' });

  it('name the operation that stands between leaf and loss', () => {
    for (const fn of [t.floor, t.sign, t.roundEven, (y: Tensor) => t.remainder(y, 2)]) {
      expect(() => t.trace('p', x, ({ x }) => ({ y: t.gradients(total(fn(x)), [x])[0] ?? x }))).toThrow(refused);
    }
    expect(() =>
      t.trace('p', x, ({ x }) => ({
        y:
          t.gradients(
            total(
              t.whileLoop(
                [x],
                ([s = x]) => t.lt(total(s), 1),
                ([s = x]) => [t.mul(s, 2)],
              )[0] ?? x,
            ),
            [x],
          )[0] ?? x,
      })),
    ).toThrow(expect.objectContaining({ code: 'not-differentiable', message: expect.stringContaining('while') }));
    expect(() =>
      t.trace('p', x, ({ x }) => ({ y: t.gradients(total(t.slice(x, [0], [2], [2])), [x])[0] ?? x })),
    ).toThrow(refused);
  });

  it('do not touch what only another value passes through', () => {
    const found = compute(
      { x: vector(1.5), y: vector(2.5) },
      ({ x, y }) => t.gradients(total(t.mul(x, t.floor(y))), [x])[0] ?? x,
    );
    expect(found).toEqual([2]);
  });
});

describe('differentiate', () => {
  const program = t.trace(
    'p',
    { x: { dtype: 'float64', shape: ['B'] }, w: { dtype: 'float64', shape: [] } },
    ({ x, w }) => ({
      loss: total(t.mul(t.mul(x, x), w)),
      other: t.exp(x),
    }),
    { donations: { x: 'other' } },
  );

  it('keeps inputs, outputs and donations, and adds an output for each leaf', () => {
    const gradient = t.differentiate(program, 'loss', ['w', 'x'], { donations: { w: 'gradient.w' } });
    expect(gradient.inputs.map(({ name, value }) => [name, value.shape])).toEqual([
      ['x', ['B']],
      ['w', []],
    ]);
    expect(gradient.outputs.map(({ name }) => name)).toEqual(['loss', 'other', 'gradient.w', 'gradient.x']);
    expect(gradient.donations).toEqual({ x: 'other', w: 'gradient.w' });
    const [loss, , dw, dx] = evaluateProgram(gradient, [vector(1, 2), array('float64', [], [3])]);
    expect([loss, dw, dx].map((output) => [...(output?.data ?? [])])).toEqual([[15], [5], [6, 12]]);
  });

  it('names an output or input that is not there', () => {
    expect(() => t.differentiate(program, 'lost', ['x'])).toThrow(
      expect.objectContaining({ code: 'unknown-output', message: expect.stringContaining('loss, other') }),
    );
    expect(() => t.differentiate(program, 'loss', ['y'])).toThrow(
      expect.objectContaining({ code: 'unknown-input', message: expect.stringContaining('x, w') }),
    );
  });

  it('adds nothing that its leaves do not need', () => {
    const types = { x: { dtype: 'float64', shape: [4] }, w: { dtype: 'float64', shape: [4] } } as const;
    const heavy = t.trace('p', types, ({ x, w }) => ({
      loss: total(t.mul(t.checkpoint(([y = x]) => [t.tanh(y)])([x])[0] ?? x, w)),
    }));
    expect(kindsOf(t.differentiate(heavy, 'loss', ['w']))).not.toContain('optimization_barrier');
    expect(kindsOf(t.differentiate(heavy, 'loss', ['x']))).toContain('optimization_barrier');
  });

  it('takes an expanded program as well', () => {
    const types = { x: { dtype: 'float64', shape: [2, 3] } } as const;
    const values = array('float64', [2, 3], [0.1, -0.4, 0.3, 0.8, -0.2, 0.5]);
    const nested = t.trace('p', types, ({ x }) => {
      const { carries } = t.scan(2, [x], [], (_index, [s = x]) => ({
        carries: [t.add(t.mul(s, t.exp(x)), t.rmsNorm(s, t.full('float64', [3], 1.5), 0.1))],
        outputs: [],
      }));
      return { loss: total(t.mul(carries[0] ?? x, x)) };
    });
    const of = (one: Program) => evaluateProgram(t.differentiate(one, 'loss', ['x']), [values])[1]?.data ?? [];
    expect(of(t.expanded(nested, () => false))).toBeAllClose(of(nested), { relative: 1e-12, absolute: 1e-12 });
  });

  it('takes a scan of which two captured values became one', () => {
    const types = { x: { dtype: 'float64', shape: [2] } } as const;
    // The two captured tensors are different composites that expand to one value.
    const looped = t.trace('p', types, ({ x }) => {
      const [a, b] = [
        t.checkpoint(([y = x]) => [t.exp(y)])([x])[0] ?? x,
        t.checkpoint(([y = x]) => [t.exp(y)])([x])[0] ?? x,
      ];
      const { carries } = t.scan(2, [x], [], (_index, [s = x]) => ({ carries: [t.add(t.mul(s, a), b)], outputs: [] }));
      return { loss: total(carries[0] ?? x) };
    });
    const merged = t.expanded(looped, () => false);
    const scan = merged.operations.find(({ kind }) => kind === 'scan');
    expect(scan?.operands[1]).toBe(scan?.operands[2]);
    const of = (one: Program) =>
      evaluateProgram(t.differentiate(one, 'loss', ['x']), [vector(0.3, -0.7)])[1]?.data ?? [];
    expect(of(merged)).toBeAllClose(of(looped), { relative: 1e-12, absolute: 0 });
  });
});

describe('derivatives of derivatives', () => {
  /** The first elements of x [2, 3] in another shape. */
  const some = (x: Tensor, shape: readonly number[]) =>
    t.reshape(
      t.sliceAxis(
        t.reshape(x, [6]),
        0,
        0,
        shape.reduce((a, b) => a * b, 1),
      ),
      shape,
    );
  const bodies: Record<string, (x: Tensor) => Tensor> = {
    multiply: (x) => t.mul(x, t.mul(x, x)),
    divide: (x) => t.div(1, x),
    power: (x) => t.pow(x, t.mul(x, 0.5)),
    exponential: t.exp,
    log: t.log,
    logistic: t.logistic,
    tanh: t.tanh,
    erf: t.erf,
    rsqrt: t.rsqrt,
    sine: (x) => t.sin(t.cos(x)),
    silu: t.silu,
    select: (x) => t.select(t.gt(x, 0.7), t.mul(x, x), t.exp(x)),
    dot_general: (x) => t.matmul(t.mul(x, x), t.transpose(t.exp(x), [1, 0])),
    'reduce max': (x) => t.mul(t.max(x, [1]), t.max(x, [1])),
    top_k: (x) => t.exp(t.topK(x, 2).values),
    'slice, pad and concatenate': (x) =>
      t.exp(t.concatenate([t.pad(t.sliceAxis(x, 1, 0, 2), [0, 1], [0, 0], 1), t.mul(x, x)], 0)),
    gather: (x) => t.exp(t.gatherFrom(x, t.constant('int32', [3], Int32Array.of(2, 0, 2)), { axis: 1, batchDims: 0 })),
    scatter: (x) =>
      t.exp(
        t.scatterInto(
          x,
          t.constant('int32', [2], Int32Array.of(1, 9)),
          t.mul(t.sliceAxis(x, 1, 0, 2), x.dim(0) === 2 ? 2 : 1),
          { axis: 1, batchDims: 0, reducer: 'add' },
        ),
      ),
    'scatter assign': (x) =>
      t.exp(
        t.scatterInto(x, t.constant('int32', [2], Int32Array.of(1, -1)), t.exp(t.sliceAxis(x, 1, 0, 2)), {
          axis: 1,
          batchDims: 0,
          reducer: 'assign',
        }),
      ),
    'dynamic slice': (x) =>
      t.exp(
        t.dynamicUpdateSlice(x, t.exp(t.dynamicSlice(x, [t.full('int32', [], 0), t.full('int32', [], 1)], [1, 2])), [
          t.full('int32', [], 1),
          t.full('int32', [], 0),
        ]),
      ),
    scan: (x) =>
      t.scan(3, [x], [], (_index, [s = x]) => ({ carries: [t.tanh(t.mul(s, t.add(s, x)))], outputs: [] })).carries[0] ??
      x,
    'scan over slices': (x) => {
      const { carries, outputs } = t.scan(
        2,
        [some(x, [3])],
        [x],
        (_index, [s = x], [row = x]) => ({ carries: [t.mul(s, t.exp(row))], outputs: [t.mul(s, s)] }),
        { reverse: true },
      );
      return t.add(t.mul(carries[0] ?? x, 2), outputs[0] ?? x);
    },
    checkpoint: (x) => t.checkpoint(([y = x]) => [t.tanh(t.mul(y, y))])([x])[0] ?? x,
    rms_norm: (x) => t.exp(t.rmsNorm(x, some(x, [3]), 0.1)),
    rotary: (x) => t.exp(t.rotary(some(x, [1, 2, 1, 2]), t.rotaryTables(t.iota('int32', [1, 2], 1), 2, 10, 'float64'))),
    causal_conv: (x) => {
      const { y, next } = t.causalConv(t.reshape(x, [1, 3, 2]), some(x, [2, 1, 2]), { tail: some(x, [1, 1, 2]) });
      return t.add(t.sum(t.exp(y), [1]), t.sum(next, [1]));
    },
    'causal_conv alone': (x) => t.exp(t.causalConv(t.reshape(x, [1, 3, 2]), some(x, [2, 1, 2])).y),
    attention: (x) =>
      t.exp(
        t.attention(
          t.reshape(x, [1, 3, 1, 2]),
          t.reshape(t.mul(x, x), [1, 3, 1, 2]),
          t.reshape(t.sin(x), [1, 3, 1, 2]),
          { scale: 0.7 },
        ),
      ),
    softmax_cross_entropy: (x) =>
      t.exp(
        t.softmaxCrossEntropy(
          t.reshape(x, [2, 3]),
          t.exp(x),
          t.constant('int32', [2], Int32Array.of(1, 0)),
          t.full('float64', [2], 0.5),
          { chunks: 1 },
        ),
      ),
  };
  const step = 2 ** -11;

  it.each(Object.entries(bodies))('%s', (_name, body) => {
    const types = { x: { dtype: 'float64', shape: [2, 3] } } as const;
    const first = t.differentiate(
      t.trace('p', types, ({ x }) => ({ loss: total(body(x)) })),
      'loss',
      ['x'],
    );
    const weights = [0.3, -0.8, 0.5, 1.1, -0.4, 0.9];
    const projected = t.trace('q', types, ({ x }) => {
      const loss = total(body(x));
      const [dx = x] = t.gradients(loss, [x]);
      return { along: total(t.mul(dx, t.constant('float64', [2, 3], Float64Array.from(weights)))) };
    });
    const second = t.differentiate(projected, 'along', ['x']);
    const x = array('float64', [2, 3], [0.4, 1.1, 0.6, 0.9, 0.5, 1.3]);
    const along = (at: number, steps: number) => {
      const data = Float64Array.from(x.data);
      data[at] = (data[at] ?? 0) + steps * step;
      const dx = evaluateProgram(first, [{ ...x, data }])[1]?.data ?? [];
      return weights.reduce((sum, weight, i) => sum + weight * (dx[i] ?? NaN), 0);
    };
    const expected = weights.map(
      (_, at) => (8 * (along(at, 1) - along(at, -1)) - (along(at, 2) - along(at, -2))) / (12 * step),
    );
    const found = evaluateProgram(second, [x])[1]?.data ?? [];
    expect(found).toBeAllClose(expected, { relative: 1e-6, absolute: 1e-8 });
  });
});
