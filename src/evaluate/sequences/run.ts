// A small Liquid hybrid, a linear and a convolutional rival on one sequence task, trained alike.
import type { Engine } from '../../engines/engine.ts';
import type { Model } from '../../liquid/index.ts';
import { attention, defineModel, layer, shortConv, swiglu, valueEncoder } from '../../liquid/index.ts';
import { countOf } from '../../tensor/index.ts';
import type { Examples } from '../../train/examples.ts';
import { fit } from '../../train/fit.ts';
import { convolutionalRival, linearRival } from './rivals.ts';
import type { SequenceTask } from './tasks.ts';
import { steppedExamples, wholeExamples } from './tasks.ts';

const HIDDEN = 64;

/** Two gated convolutions around one attention; with `timed`, the encoder takes the time steps. */
export function hybrid({ channels, head }: SequenceTask, timed: boolean): Model {
  const mlp = swiglu({ intermediateSize: 2 * HIDDEN });
  const [convolving, attending] = [layer(shortConv(), mlp), layer(attention({ heads: 4, theta: 100 }), mlp)];
  return defineModel({
    encoder: valueEncoder({ channels, timeSteps: timed ? 'channel' : 'none' }),
    head,
    hiddenSize: HIDDEN,
    layers: [convolving, attending, convolving],
    initializerRange: HIDDEN ** -0.5,
  });
}

export interface SequenceOptions {
  readonly engine: Engine;
  readonly steps: number;
  readonly batch: number;
  readonly seed: number;
}

export interface SequenceResult {
  readonly model: string;
  /** Accuracy, or mean squared error where the task asks for a number. */
  readonly score: number;
  readonly parameters: number;
  readonly seconds: number;
}

interface Contender {
  readonly name: string;
  readonly model: Model;
  readonly length: number;
  readonly learningRate: number;
  readonly examples: { readonly train: Examples; readonly test: Examples };
}

function contenders(task: SequenceTask): Contender[] {
  const { length, head, train, test } = task;
  const timed = train.timeSteps !== undefined;
  const stepped = { train: steppedExamples(task, train, 'train'), test: steppedExamples(task, test, 'test') };
  const whole = { train: wholeExamples(task, train), test: wholeExamples(task, test) };
  const series = { length, channels: task.channels + (timed ? 1 : 0) };
  const liquid = { length, learningRate: 3e-3, examples: stepped };
  const rival = { length: 1, examples: whole };
  return [
    { name: 'linear', model: linearRival(series, head), learningRate: 1e-3, ...rival },
    { name: 'convolutional', model: convolutionalRival(series, HIDDEN, 4, head), learningRate: 3e-3, ...rival },
    { name: 'liquid hybrid', model: hybrid(task, timed), ...liquid },
    ...(timed ? [{ name: 'liquid hybrid without time steps', model: hybrid(task, false), ...liquid }] : []),
  ];
}

export async function* runSequences(task: SequenceTask, options: SequenceOptions): AsyncGenerator<SequenceResult> {
  const { engine, steps, batch, seed } = options;
  for (const { name, model, length, learningRate, examples } of contenders(task)) {
    const { score, seconds } = await fit({
      engine,
      model,
      ...examples,
      batch: { size: batch, length },
      steps,
      learningRate,
      weightDecay: 0.1,
      seed,
    });
    const parameters = Object.values(model.parameters).reduce((sum, { shape }) => sum + countOf(shape), 0);
    yield { model: name, score, parameters, seconds };
  }
}
