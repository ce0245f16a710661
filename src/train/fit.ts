// A model trained on examples held in memory and scored on others: how small sequence tasks are run. Knows no files.
import type { Buffers, Engine } from '../engines/engine.ts';
import type { Model } from '../liquid/index.ts';
import { initialise, outputProgram } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import { adamWDefaults } from './adamw.ts';
import type { Examples } from './examples.ts';
import { batchOf, rowsOfBatch } from './examples.ts';
import { cosine, learningRateAt } from './schedule.ts';
import { createTrainer } from './trainer.ts';

export interface FitOptions {
  readonly engine: Engine;
  readonly model: Model;
  readonly train: Examples;
  readonly test: Examples;
  /** Rows of a step and their steps in time. */
  readonly batch: { readonly size: number; readonly length: number };
  readonly steps: number;
  /** Its peak, after a warm-up of a twentieth of the steps; a cosine takes it to 0. */
  readonly learningRate: number;
  readonly weightDecay?: number;
  readonly seed: number;
}

export interface FitResult {
  /** On the test examples: the share of counted positions whose class is right or, for numbers, the mean squared error. */
  readonly score: number;
  /** Mean training loss of the last twentieth of the steps. */
  readonly loss: number;
  /** Of training, without compilation. */
  readonly seconds: number;
}

/** Errors: those of the trainer; `not-finite` where the loss is no number any more. */
export async function fit(options: FitOptions): Promise<FitResult> {
  const { engine, model, train, test, batch, steps, learningRate, weightDecay = 0, seed } = options;
  const weights = initialise(model, seed);
  const trainer = await createTrainer({
    engine,
    model,
    batch,
    optimizer: { ...adamWDefaults, weightDecay },
    start: (key) => weights[key],
  });
  try {
    const schedule = cosine({ warmupSteps: Math.ceil(steps / 20), minimum: 0 });
    const losses: number[] = [];
    const begin = performance.now();
    for (let step = 1; step <= steps; step++) {
      const rate = learningRateAt(schedule, learningRate, step, steps);
      const rows = rowsOfBatch(train.count, batch.size, step - 1, seed);
      const { loss } = await (await trainer.step(batchOf(train, rows), step, rate)).result;
      if (!Number.isFinite(loss))
        throw new LfmError(
          'not-finite',
          `The loss of step ${step} is ${loss}: lower the learning rate of ${learningRate}.`,
        );
      losses.push(loss);
    }
    const seconds = (performance.now() - begin) / 1000;
    const last = losses.slice(-Math.ceil(steps / 20));
    const score = await scoreOf(engine, model, trainer.parameters, test, batch);
    return { score, loss: last.reduce((sum, loss) => sum + loss, 0) / last.length, seconds };
  } finally {
    trainer.dispose();
  }
}

/** See FitResult.score. */
export async function scoreOf(
  engine: Engine,
  model: Model,
  parameters: Buffers,
  examples: Examples,
  { size, length }: { readonly size: number; readonly length: number },
): Promise<number> {
  const program = outputProgram(model, { batch: size, length });
  const executable = await engine.compile(program);
  const perBatch = program.inputs.filter(({ name }) => !model.parameters[name]);
  const { classes, objective } = model.head;
  const [total, counted] = [{ value: 0 }, { value: 0 }];
  try {
    for (let first = 0; first < examples.count; first += size) {
      // The last batch begins again from the front; what is there twice counts once.
      const rows = Array.from({ length: size }, (_, at) => (first + at) % examples.count);
      const given = batchOf(examples, rows);
      const uploaded: Buffers = Object.fromEntries(
        await Promise.all(
          perBatch.map(async ({ name, value }) => {
            const values = given[name];
            if (!values) throw new LfmError('bad-input', `The examples have no "${name}", which the model takes.`);
            return [name, await engine.upload(value.dtype, value.shape.map(Number), values)] as const;
          }),
        ),
      );
      const { outputs } = await executable.run({ ...parameters, ...uploaded });
      for (const buffer of Object.values(uploaded)) buffer.dispose();
      if (!outputs) throw new LfmError('no-result', 'The model gave no outputs.');
      const found = await engine.download(outputs);
      outputs.dispose();
      const positions = Math.min(size, examples.count - first) * length;
      for (let at = 0; at < positions; at++) {
        if (given['weights'] && !given['weights'][at]) continue;
        counted.value++;
        total.value += objective
          ? squaredError(found, given['labels'], at * classes, classes)
          : Number(largest(found, at * classes, classes) === Number(given['labels']?.[at]));
      }
    }
  } finally {
    executable.release();
  }
  return total.value / counted.value;
}

/** Index of the largest of `count` numbers. */
function largest(values: ArrayLike<number | bigint>, from: number, count: number): number {
  let best = 0;
  for (let at = 1; at < count; at++) if (Number(values[from + at]) > Number(values[from + best])) best = at;
  return best;
}

/** Mean over `count` numbers. */
function squaredError(
  found: ArrayLike<number | bigint>,
  labels: ArrayLike<number | bigint> | undefined,
  from: number,
  count: number,
): number {
  let total = 0;
  for (let at = from; at < from + count; at++) total += (Number(found[at]) - Number(labels?.[at])) ** 2;
  return total / count;
}
