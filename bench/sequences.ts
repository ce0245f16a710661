// npm run bench -- sequences: data that is not text, a small Liquid hybrid beside a linear and a convolutional rival.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { parseWav } from '../src/audio/wav.ts';
import { openEngine } from '../src/engines/default.node.ts';
import { runSequences } from '../src/evaluate/sequences/run.ts';
import type { SequenceTask, SpokenDigit } from '../src/evaluate/sequences/tasks.ts';
import { digitRows, irregularOscillators, spokenDigits } from '../src/evaluate/sequences/tasks.ts';
import { parseTar } from '../src/files/tar.ts';
import { parseIdx } from '../src/image/idx.ts';
import { chosen } from './options.ts';

async function mnist(folder: string): Promise<SequenceTask> {
  const read = async (name: string) =>
    parseIdx(gunzipSync(await readFile(join(folder, 'images/mnist', `${name}-ubyte.gz`))));
  const part = async (name: string) => ({
    images: await read(`${name}-images-idx3`),
    labels: await read(`${name}-labels-idx1`),
  });
  return digitRows(await part('train'), await part('t10k'));
}

async function clips(folder: string): Promise<SpokenDigit[]> {
  const archive = parseTar(await readFile(join(folder, 'audio/spoken-digits/spoken-digits.tar')));
  return [...archive].flatMap(([name, bytes]) => {
    const [, digit, index] = /(\d)_[^_]*_(\d+)\.wav$/.exec(name) ?? [];
    return digit === undefined ? [] : [{ ...parseWav(bytes), digit: Number(digit), index: Number(index) }];
  });
}

/** Tasks by name, each with as many steps as bring the hybrid to rest. */
const tasks: Readonly<
  Record<string, { steps: number; make: (folder: string, seed: number) => Promise<SequenceTask> }>
> = {
  digits: { steps: 1500, make: mnist },
  speech: { steps: 500, make: async (folder) => spokenDigits(await clips(folder), 'raw') },
  'speech-mel': { steps: 500, make: async (folder) => spokenDigits(await clips(folder), 'log-mel') },
  oscillators: { steps: 1500, make: async (_folder, seed) => irregularOscillators(4000, 500, seed) },
};

const help = `npm run bench -- sequences [--json] [--data ../shared/data] [--tasks ${Object.keys(tasks).join(',')}] [--scale 1]
                         [--threads 2] [--seed 1]

Trains each model on each task and prints its accuracy on the test set, or its mean squared error for oscillators.
--scale multiplies the steps of training.`;

export async function benchSequences(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      json: { type: 'boolean', default: false },
      data: { type: 'string', default: '../shared/data' },
      tasks: { type: 'string' },
      scale: { type: 'string', default: '1' },
      threads: { type: 'string', default: '2' },
      seed: { type: 'string', default: '1' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return console.log(help);
  const seed = Number(values.seed);
  const engine = await openEngine({ name: 'onnx', threads: Number(values.threads) });
  const rows = [];
  for (const name of chosen('task', values.tasks, Object.keys(tasks))) {
    const { steps, make } = tasks[name] ?? { steps: 0, make: mnist };
    const task = await make(values.data, seed);
    const options = { engine, steps: Math.ceil(steps * Number(values.scale)), batch: 32, seed };
    for await (const { model, score, parameters, seconds } of runSequences(task, options)) {
      const figure = task.head.objective
        ? { 'squared error': Number(score.toFixed(4)) }
        : { 'accuracy %': Number((100 * score).toFixed(1)) };
      rows.push({
        task: task.name,
        model,
        ...figure,
        parameters,
        steps: options.steps,
        seconds: Number(seconds.toFixed(1)),
      });
      if (!values.json) console.error(JSON.stringify(rows.at(-1)));
    }
  }
  if (values.json) console.log(JSON.stringify({ engine: engine.description, seed, rows }, undefined, 2));
  else console.table(rows);
  await engine.close();
}
