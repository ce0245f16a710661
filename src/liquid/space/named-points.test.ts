// Operators of the library as points of the design space: the same numbers for parameters give the same output.
import { expect, it } from 'vitest';
import { Random } from '../../tensor/index.ts';
import { attention, linearAttention, liv, mamba2, mlp, operatorGenome, partsOf, shortConv, swiglu } from '../index.ts';
import type { Operator } from '../index.ts';
import type { Host, Stored } from '../testing.ts';
import { describeOnEngines, difference, float32, operatorProgram, run } from '../testing.ts';

const hiddenSize = 16;
const attentionNames = { c_proj: 'q_proj', b_proj: 'k_proj', v_proj: 'v_proj', out_proj: 'out_proj' };
const mlpNames = { c_proj: 'gate', v_proj: 'fc1', out_proj: 'fc2' };

/** Each with its genome, and the name there of each of its matrices here; of short_conv, the rows of `in_proj` from which they are cut. */
const named: readonly (readonly [string, Operator, Readonly<Record<string, string | readonly [string, number]>>])[] = [
  ['12123', attention({ heads: 4, qkNorm: false }), attentionNames],
  ['32123', attention({ heads: 4, keyValueHeads: 1, qkNorm: false, theta: 500 }), attentionNames],
  ['42123', attention({ heads: 4, keyValueHeads: 2, qkNorm: false }), attentionNames],
  ['12223', attention({ heads: 2, window: 3, qkNorm: false }), attentionNames],
  ['12153', linearAttention({ heads: 4 }), attentionNames],
  [
    '73111',
    shortConv({ kernel: 3 }),
    { b_proj: ['in_proj', 0], c_proj: ['in_proj', 16], v_proj: ['in_proj', 32], kernel: 'conv', out_proj: 'out_proj' },
  ],
  ['91142', swiglu({ intermediateSize: 24 }), { c_proj: 'w1', v_proj: 'w3', out_proj: 'w2' }],
  ['91132', mlp({ intermediateSize: 24, activation: 'relu', gated: true }), mlpNames],
];

function randomParameters(operator: Operator): Record<string, Stored> {
  const random = new Random(6);
  return Object.fromEntries(
    Object.entries(operator.parameters({ hiddenSize })).map(([key, { shape }]) => {
      const data = new Float32Array(shape.reduce((product, size) => product * size, 1));
      random.fillNormal(data, 0.4);
      return [key, { shape, data: Array.from(data) }];
    }),
  );
}

describeOnEngines('named points', (engine) => {
  it.each(named.map((one) => [...one, one[1].name] as const))('%s is %4$s', async (genome, operator, names) => {
    const parts = partsOf(operator, { hiddenSize });
    if (!parts) throw new Error('it has no parts');
    expect(operatorGenome(parts)).toBe(genome);
    const point = liv(parts);
    const theirs = randomParameters(operator);
    const mine = Object.fromEntries(
      Object.entries(point.parameters({ hiddenSize })).map(([key, { shape }]): [string, Stored] => {
        const from = names[key.replace('.weight', '')];
        const [name = '', row = 0] = typeof from === 'string' ? [from] : (from ?? []);
        const { data = [] } = theirs[`${name}.weight`] ?? {};
        const count = shape.reduce((product, size) => product * size, 1);
        return [key, { shape, data: data.slice(row * hiddenSize, row * hiddenSize + count) }];
      }),
    );
    const count = (all: Readonly<Record<string, Stored>>) =>
      Object.values(all).reduce((sum, { data }) => sum + data.length, 0);
    expect(count(mine)).toBe(count(theirs));
    const x = float32(
      [2, 7, hiddenSize],
      Array.from({ length: 14 * hiddenSize }, (_, i) => Math.sin(i * i)),
    );
    const output = async (one: Operator, parameters: Readonly<Record<string, Stored>>) => {
      const inputs = Object.entries(parameters).map(([key, { shape, data }]): [string, Host] => [
        key,
        float32(shape, data),
      ]);
      const program = operatorProgram(one, parameters, [2, 7, hiddenSize]);
      return (await run(engine, program, { ...Object.fromEntries(inputs), x }))['y'];
    };
    expect(difference(await output(point, mine), await output(operator, theirs))).toBeLessThan(1e-6);
  });
});

it('does not take an operator for what it is not', () => {
  const others = [
    attention({ heads: 4 }),
    attention({ heads: 4, headDim: 8, qkNorm: false }),
    shortConv({ bias: true }),
  ];
  for (const one of [...others, mlp({ intermediateSize: 8 }), mamba2({ headDim: 8 })])
    expect(partsOf(one, { hiddenSize })).toBeUndefined();
});
