// One cell of MAD's table: a stack trained on a task's examples, and its accuracy on new ones.
import type { Engine } from '../../engines/engine.ts';
import type { Operator } from '../../liquid/index.ts';
import { countOf, Random } from '../../tensor/index.ts';
import type { Examples } from '../../train/examples.ts';
import { fit } from '../../train/fit.ts';
import { madModel } from './models.ts';
import type { MadTask, Split } from './tasks.ts';

export interface MadOptions {
  readonly engine: Engine;
  /** Examples that are trained on; a task never takes more than the paper does. */
  readonly examples: number;
  readonly testExamples: number;
  /** Rows of 128 tokens of a step; as many tokens of longer or shorter rows. */
  readonly batch: number;
  readonly learningRate: number;
  readonly steps: number;
  readonly seed: number;
}

export interface MadResult {
  /** Share of the asked positions of the test examples at which the likeliest token is right. */
  readonly accuracy: number;
  readonly loss: number;
  readonly parameters: number;
  readonly seconds: number;
}

/** Examples of a task as arrays; the same seed gives the same. */
export function madExamples(task: MadTask, split: Split, count: number, random: Random): Examples {
  const inputs = new Int32Array(count * task.length);
  const labels = new Int32Array(count * task.length);
  const weights = new Float32Array(count * task.length);
  for (let row = 0; row < count; row++) {
    const example = task.example(random, split);
    inputs.set(example.inputs, row * task.length);
    example.targets.forEach((target, at) => {
      labels[row * task.length + at] = target ?? 0;
      weights[row * task.length + at] = target === undefined ? 0 : 1;
    });
  }
  return { count, arrays: { tokens: inputs, labels, weights } };
}

export async function runMad(task: MadTask, mixers: readonly Operator[], options: MadOptions): Promise<MadResult> {
  const { engine, examples, testExamples, batch, learningRate, steps, seed } = options;
  const model = madModel(mixers, task);
  const count = Math.min(examples, task.trainExamples);
  const result = await fit({
    engine,
    model,
    train: madExamples(task, 'train', count, new Random(seed, 1)),
    test: madExamples(task, 'test', testExamples, new Random(seed, 2)),
    batch: { size: Math.round((batch * 128) / task.length), length: task.length },
    steps,
    learningRate,
    seed,
  });
  const parameters = Object.values(model.parameters).reduce((sum, { shape }) => sum + countOf(shape), 0);
  return { accuracy: result.score, loss: result.loss, parameters, seconds: result.seconds };
}
