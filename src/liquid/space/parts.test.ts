// Parts beyond the seventeen classes: combinations that are sound, the operators that have no other oracle against their
// formulas in plain numbers, and what cannot be put together.
import { describe, expect, it } from 'vitest';
import { Random } from '../../tensor/index.ts';
import type { LivOptions } from '../index.ts';
import { block, defineModel, liv, parseOperatorGenome, stack } from '../index.ts';
import type { Host, Stored } from '../testing.ts';
import { describeOnEngines, difference, float32, operatorProgram, run, stored } from '../testing.ts';
import { requireSound } from './testing-space.ts';

const dense = { tokenMixing: 'diagonal', channelMixing: 'dense', expansion: 1, repeat: 1 } as const;
const grouped = { ...dense, channelMixing: 'grouped' } as const;
const own = { ...dense, channelMixing: 'diagonal' } as const;
const halved = { ...dense, repeat: 2 } as const;
const implicit = { ...own, tokenMixing: 'semi-separable', expansion: 2 } as const;

const combinations: Readonly<Record<string, LivOptions>> = {
  'a head a channel': {
    featurizer: 'dense',
    tokenMixing: 'low rank',
    channelMixing: 'diagonal',
    nonlinearity: 'softmax',
  },
  'one head': {
    featurizer: 'short Toeplitz',
    tokenMixing: 'low rank',
    channelMixing: 'dense',
    nonlinearity: 'softmax',
  },
  'a window': { ...parseOperatorGenome('42123'), window: 3, headDim: 4 },
  'linear attention, no divisor': { ...parseOperatorGenome('42143'), headDim: 4 },
  'grouped features': {
    ...parseOperatorGenome('12123'),
    featurizer: { c: grouped, b: { ...grouped, tokenMixing: 'scaled Toeplitz' }, v: own },
    headDim: 4,
  },
  'a recurrence a head': { ...parseOperatorGenome('64143'), headDim: 4 },
  'a recurrence of one rate': parseOperatorGenome('64112'),
  'a filter of blocks': { ...parseOperatorGenome('73113'), headDim: 4 },
  'a filter of matrices': parseOperatorGenome('73112'),
  'waves of matrices': {
    featurizer: { v: halved, kernel: implicit },
    tokenMixing: 'scaled Toeplitz',
    channelMixing: 'dense',
  },
  'one kernel for two channels, silu gates': {
    featurizer: { c: halved, v: dense, kernel: { ...own, tokenMixing: 'scaled Toeplitz', expansion: 4, repeat: 2 } },
    tokenMixing: 'scaled Toeplitz',
    channelMixing: 'diagonal',
    nonlinearity: 'silu',
  },
  'a gate': {
    featurizer: { c: own, v: own },
    tokenMixing: 'diagonal',
    channelMixing: 'diagonal',
    nonlinearity: 'silu',
  },
  'blocks without tokens': { ...parseOperatorGenome('91133'), headDim: 4 },
};

describeOnEngines('parts', (engine) => {
  const all = Object.entries(combinations);
  it.each(engine?.name === 'reference' ? all : all.slice(-3))('%s', async (_, parts) => {
    const model = defineModel({
      vocabSize: 24,
      hiddenSize: 8,
      initializerRange: 0.3,
      layers: [stack(block(liv(parts)))],
    });
    await requireSound(engine, model);
  });
});

// --- formulas, in plain numbers ---

const [T, D] = [7, 8];
type Matrix = readonly (readonly number[])[];

/** Rows of a stored array, its last axis along. */
function matrix({ shape, data }: Stored): Matrix {
  const width = shape.at(-1) ?? 1;
  return Array.from({ length: data.length / width }, (_, row) => data.slice(row * width, (row + 1) * width));
}

const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0);
const apply = (w: Matrix, x: Matrix): Matrix => x.map((row) => w.map((weights) => dot(weights, row)));
const softplus = (x: number) => Math.log1p(Math.exp(x));
/** y_i = Σ_j T_ij[channel] v_j, channel by channel. */
const mixed = (v: Matrix, t: (i: number, j: number, channel: number) => number): Matrix =>
  v.map((row, i) =>
    row.map((_, channel) => {
      let sum = 0;
      for (let j = 0; j <= i; j++) sum += t(i, j, channel) * (v[j]?.[channel] ?? 0);
      return sum;
    }),
  );

type Get = (name: string) => Matrix;
type Formula = (w: Get, x: Matrix) => Matrix;

/** c_i a_i … a_(j+1) (1 - a_j) b_j. */
const recurrence: Formula = (w, x) => {
  const [c, b, v] = ['c', 'b', 'v'].map((role) => apply(w(`${role}_proj.weight`), x));
  const rates = apply(w('decay_proj.weight'), x);
  const log = (t: number, head: number) =>
    -softplus((rates[t]?.[head] ?? 0) + (w('dt_bias')[0]?.[head] ?? 0)) * Math.exp(w('A_log')[0]?.[head] ?? 0);
  return mixed(v ?? [], (i, j, channel) => {
    const head = Math.floor(channel / 4);
    let kept = 0;
    for (let t = j + 1; t <= i; t++) kept += log(t, head);
    return dot(c?.[i] ?? [], b?.[j] ?? []) * Math.exp(kept) * -Math.expm1(log(j, head));
  });
};

/** c_i K_(i-j) b_j, K a sum of waves. */
const longConvolution: Formula = (w, x) => {
  const [c, b, v] = ['c', 'b', 'v'].map((role) => apply(w(`${role}_proj.weight`), x));
  const [rate = [], frequency = []] = [w('kernel.rate')[0], w('kernel.frequency')[0]];
  const kernel = (t: number, channel: number) =>
    rate.reduce(
      (sum, r, m) =>
        sum + (w('kernel.weight')[m]?.[channel] ?? 0) * Math.exp(-Math.exp(r) * t) * Math.cos((frequency[m] ?? 0) * t),
      0,
    );
  return mixed(
    v ?? [],
    (i, j, channel) => (c?.[i]?.[channel] ?? 0) * kernel(i - j, channel) * (b?.[j]?.[channel] ?? 0),
  );
};

/** Attention of features that a short convolution stands before, with rotary positions. */
const convolvedAttention: Formula = (w, x) => {
  const filtered = (role: string): Matrix =>
    x.map((row, t) =>
      row.map((_, channel) =>
        dot(
          w(`${role}_conv.weight`)[channel] ?? [],
          [2, 1, 0].map((back) => x[t - back]?.[channel] ?? 0),
        ),
      ),
    );
  const [c = [], b = [], v = []] = ['c', 'b', 'v'].map((role) => apply(w(`${role}_proj.weight`), filtered(role)));
  const turned = (row: readonly number[], head: number, t: number): number[] => {
    const own_ = row.slice(4 * head, 4 * head + 4);
    const angles = [t, t / 100, t, t / 100];
    return own_.map((value, i) => {
      const angle = angles[i] ?? 0;
      const other = i < 2 ? -(own_[i + 2] ?? 0) : (own_[i - 2] ?? 0);
      return value * Math.cos(angle) + other * Math.sin(angle);
    });
  };
  const score = (i: number, j: number, head: number) =>
    Math.exp(dot(turned(c[i] ?? [], head, i), turned(b[j] ?? [], head, j)) / 2);
  return mixed(v, (i, j, channel) => {
    const head = Math.floor(channel / 4);
    const all = Array.from({ length: i + 1 }, (_, k) => score(i, k, head));
    return score(i, j, head) / all.reduce((a, e) => a + e, 0);
  });
};

const formulas: readonly (readonly [string, Formula, Partial<LivOptions>])[] = [
  ['22123', convolvedAttention, { headDim: 4 }],
  ['54111', recurrence, { headDim: 4 }],
  ['64111', recurrence, { headDim: 4 }],
  ['83111', longConvolution, {}],
];

describeOnEngines('by its formula', (engine) => {
  it.each(formulas)('%s', async (genome, formula, sizes) => {
    for (const differential of [false, true]) {
      const operator = liv({ ...parseOperatorGenome(genome), ...sizes, differential });
      const random = new Random(8);
      const parameters = Object.fromEntries(
        Object.entries(operator.parameters({ hiddenSize: D })).map(([key, { shape }]): [string, Stored] => {
          const data = new Float32Array(shape.reduce((product, size) => product * size, 1));
          random.fillNormal(data, 0.5);
          return [key, { shape, data: Array.from(data) }];
        }),
      );
      const x = Array.from({ length: T }, () => Array.from({ length: D }, () => random.normal()));
      const branch = (prefix: string): Matrix => {
        const get: Get = (name) => matrix(parameters[`${prefix}${name}`] ?? { shape: [0], data: [] });
        return apply(get('out_proj.weight'), formula(get, x));
      };
      const want = differential
        ? branch('first.').map((row, t) => row.map((value, i) => value - (branch('second.')[t]?.[i] ?? 0)))
        : branch('');
      const inputs = Object.entries(parameters).map(([key, value]): [string, Host] => [key, stored(value)]);
      const given = { ...Object.fromEntries(inputs), x: float32([1, T, D], x.flat()) };
      const found = await run(engine, operatorProgram(operator, parameters, [1, T, D]), given);
      expect(difference(found['y'], float32([1, T, D], want.flat()))).toBeLessThan(1e-5);
    }
  });
});

describe('parts that do not fit', () => {
  const attention = parseOperatorGenome('12123');
  const refusals: readonly (readonly [unknown, number, RegExp])[] = [
    [{ ...attention, featurizer: 'sparse' }, 8, /featurizer: expected one of dense, .* found "sparse"/],
    [{ ...attention, featurizer: 'gated' }, 8, /it has no group b; low rank token mixing needs c, b, v\.$/],
    [
      { ...parseOperatorGenome('91142'), featurizer: 'dense' },
      8,
      /it has a group b; diagonal token mixing needs v, and may have c/,
    ],
    [{ ...attention, tokenMixing: 'sparse' }, 8, /liv: tokenMixing/],
    [{ ...attention, headDim: 0 }, 8, /liv: headDim/],
    [{ ...attention, heads: 4 }, 8, /liv: .*heads/],
    ['12123', 8, /liv: its options/],
    [{ ...attention, headDim: 3 }, 12, /heads of an even width; found 3/],
    [{ ...attention, headDim: 16 }, 24, /24 cannot be cut into heads of 16; 16 or 32 can/],
    [{ ...attention, window: 1, headDim: 4 }, 8, /window: one of 1 tokens sees nothing/],
    [{ ...parseOperatorGenome('73111'), window: 4 }, 8, /window: only attention/],
    [{ ...parseOperatorGenome('73111'), nonlinearity: 'softmax' }, 8, /softmax is of low rank token mixing/],
    [{ ...parseOperatorGenome('73111'), intermediateSize: 4 }, 8, /only diagonal token mixing/],
    [
      { ...attention, featurizer: { c: dense, b: halved, v: dense }, headDim: 4 },
      8,
      /b and v meet, so their repeat must be one; found 2 and 1/,
    ],
    [{ ...parseOperatorGenome('54111'), featurizer: 'repeat 2', headDim: 4 }, 8, /c and b meet, so their repeat/],
    [
      { ...parseOperatorGenome('91141') },
      8,
      /channelMixing: a diagonal matrix has as many rows as columns; found 8 by 24/,
    ],
    [{ ...parseOperatorGenome('73111'), featurizer: { v: dense, kernel: dense } }, 8, /kernel.channelMixing/],
    [
      { ...parseOperatorGenome('73111'), featurizer: { v: dense, kernel: own } },
      8,
      /expected scaled Toeplitz \(explicit\) or semi-separable/,
    ],
    [
      { ...attention, featurizer: { c: dense, b: dense, v: implicit }, headDim: 4 },
      8,
      /meet|expected diagonal, or scaled Toeplitz/,
    ],
  ];

  it.each(refusals)('%j', (options, hiddenSize, message) => {
    const build = () => {
      const operator = liv(options as LivOptions);
      operator.parameters({ hiddenSize });
      operator.state({ hiddenSize });
    };
    expect(build).toThrow(message);
    expect(build).toThrow(expect.objectContaining({ name: 'LfmError' }));
  });
});
