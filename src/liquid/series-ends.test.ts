// Models of numbers: what their ends take and give, gradients of a least-squares head, and the stream against the whole.
import { expect, it } from 'vitest';
import { Random } from '../tensor/index.ts';
import type { Model } from './index.ts';
import {
  attention,
  cfc,
  classHead,
  defineModel,
  gradientProgram,
  initialise,
  layer,
  lossProgram,
  ltc,
  outputProgram,
  regressionHead,
  shortConv,
  stateTypes,
  stepProgram,
  swiglu,
  valueEncoder,
} from './index.ts';
import type { Host } from './testing.ts';
import { describeOnEngines, difference, float32, int32, numbers, run } from './testing.ts';

const [B, T, C, K] = [2, 9, 3, 2];
const mlp = swiglu({ intermediateSize: 12 });
const layers = [
  layer(shortConv(), mlp),
  layer(attention({ heads: 2 }), mlp),
  layer(attention({ heads: 2, window: 4 }), mlp),
];
const body = {
  encoder: valueEncoder({ channels: C, timeSteps: 'channel' }),
  hiddenSize: 8,
  initializerRange: 0.3,
  layers,
};
/** Operators that read the time between steps themselves. */
const timed = defineModel({
  ...body,
  encoder: valueEncoder({ channels: C, timeSteps: 'operators' }),
  layers: [layer(ltc({ unfolds: 2 }), mlp), layer(cfc({ backboneUnits: 6 }), mlp)],
  head: regressionHead({ outputs: K }),
});
const predictor = defineModel({ ...body, head: regressionHead({ outputs: K }) });

function random(shape: readonly number[], seed: number): Host {
  const source = new Random(seed);
  return float32(
    shape,
    Array.from({ length: shape.reduce((a, b) => a * b) }, () => source.normal()),
  );
}

function weightsOf(model: Model): Record<string, Host> {
  const arrays = initialise(model, 5);
  return Object.fromEntries(
    Object.entries(model.parameters).map(([name, { shape }]) => [name, float32(shape, arrays[name] ?? [])]),
  );
}

const own = weightsOf(predictor);
const values = random([B, T, C], 1);
const steps = float32([B, T], numbers(random([B, T], 2)).map(Math.abs));
const labels = random([B, T, K], 3);

/** Steps [from, to) of rows. */
function stepsOf({ shape: [rows = 0, length = 0, ...rest], data }: Host, from: number, to: number): Host {
  const size = rest.reduce((a, b) => a * b, 1);
  const cut = Array.from({ length: rows }, (_, row) =>
    Array.from(data.slice((row * length + from) * size, (row * length + to) * size), Number),
  );
  return float32([rows, to - from, ...rest], cut.flat());
}

it('an encoder declares its inputs as it is told', () => {
  const inputs = (timeSteps: 'none' | 'operators' | 'channel') =>
    Object.keys(valueEncoder({ channels: 4, timeSteps }).inputs('B', 'T'));
  expect(inputs('none')).toEqual(['values']);
  expect(inputs('operators')).toEqual(['values', 'time_steps']);
  expect(valueEncoder({ channels: 4, timeSteps: 'operators' }).parameters({ hiddenSize: 8 })).toMatchObject({
    'model.encoder.weight': { shape: [8, 4] },
  });
  expect(predictor.parameters['model.encoder.weight']?.shape).toEqual([8, C + 1]);
});

describeOnEngines('a model of numbers', (engine) => {
  it('has the squared error of its outputs as its loss', async () => {
    const weights = float32(
      [B, T],
      Array.from({ length: B * T }, (_, at) => at % 3),
    );
    const given = { ...own, values, time_steps: steps };
    const { outputs } = await run(engine, outputProgram(predictor, { batch: B, length: T }), given);
    const { loss } = await run(engine, lossProgram(predictor, { batch: B, length: T }), { ...given, labels, weights });
    const [found, wanted] = [numbers(outputs), numbers(labels)];
    const expected = found.reduce(
      (total, value, at) => total + ((Math.floor(at / K) % 3) * (value - (wanted[at] ?? 0)) ** 2) / K,
      0,
    );
    expect(numbers(loss)[0]).toBeCloseTo(expected, 4);
    expect(expected).toBeGreaterThan(1);
  });

  it('has gradients that foretell how the loss moves', async () => {
    const weights = float32([B, T], new Array<number>(B * T).fill(1 / (B * T)));
    const given = { ...own, values, time_steps: steps, labels, weights };
    const { loss, ...gradients } = await run(engine, gradientProgram(predictor, { batch: B, length: T }), given);
    const step = 2e-3;
    const along = (sign: number) =>
      Object.fromEntries(
        Object.entries(own).map(([name, host]) => {
          const slope = numbers(gradients[`gradient.${name}`]);
          return [
            name,
            float32(
              host.shape,
              numbers(host).map((value, at) => value + sign * step * (slope[at] ?? 0)),
            ),
          ];
        }),
      );
    const square = Object.values(gradients)
      .flatMap(numbers)
      .reduce((total, value) => total + value * value, 0);
    const program = lossProgram(predictor, { batch: B, length: T });
    const [up, down] = [
      await run(engine, program, { ...given, ...along(1) }),
      await run(engine, program, { ...given, ...along(-1) }),
    ];
    const slope = ((numbers(up.loss)[0] ?? 0) - (numbers(down.loss)[0] ?? 0)) / (2 * step);
    expect(slope / square).toBeCloseTo(1, 2);
    expect(numbers(loss)[0]).toBeGreaterThan(0);
  });

  it.each([
    ['numbers', predictor],
    ['classes', defineModel({ ...body, head: classHead({ classes: 5 }) })],
    ['numbers, by cells in irregular time,', timed],
  ])('gives as a stream the %s that it gives of the whole sequence', async (_, model) => {
    const weights = weightsOf(model);
    const given = { ...weights, values, time_steps: steps };
    const { outputs } = await run(engine, outputProgram(model, { batch: B, length: T }), given);
    const classes = model.head.classes;
    let state: Record<string, Host> = Object.fromEntries(
      Object.entries(stateTypes(model, { batch: B, capacity: T })).map(([name, { shape }]) => {
        const sizes = shape.map(Number);
        return [`state.${name}`, float32(sizes, new Float32Array(sizes.reduce((a, b) => a * b)))];
      }),
    );
    let at = 0;
    for (const length of [4, 1, 1, 3]) {
      const { logits, ...next } = await run(
        engine,
        stepProgram(model, { batch: B, capacity: T, length, allLogits: true }),
        {
          ...weights,
          ...state,
          values: stepsOf(values, at, at + length),
          time_steps: stepsOf(steps, at, at + length),
          starts: int32([B], [at, at]),
          lengths: int32([B], [length, length]),
        },
      );
      expect(logits?.shape).toEqual([B, length, classes]);
      expect(difference(logits, outputs && stepsOf(outputs, at, at + length))).toBeLessThan(1e-4);
      state = next;
      at += length;
    }
    expect(at).toBe(T);
  });

  it('depends on the time between steps where an operator reads it', async () => {
    const program = outputProgram(timed, { batch: B, length: T });
    const given = { ...weightsOf(timed), values };
    const { outputs } = await run(engine, program, { ...given, time_steps: steps });
    const slower = float32(
      [B, T],
      numbers(steps).map((step, at) => (at % T === 3 ? 4 * step : step)),
    );
    const { outputs: other } = await run(engine, program, { ...given, time_steps: slower });
    const part = (host: Host | undefined, from: number, to: number) => host && stepsOf(host, from, to);
    expect(difference(part(other, 0, 3), part(outputs, 0, 3))).toBe(0);
    expect(difference(part(other, 3, T), part(outputs, 3, T))).toBeGreaterThan(1e-3);
  });
});
