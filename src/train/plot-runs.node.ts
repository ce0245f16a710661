// The losses of several runs on one picture.
import { stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { ChartLine } from '../liquid/index.ts';
import { lineChart } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import { readMetrics } from './metrics.node.ts';
import { curvesOf } from './plot.ts';

export interface RunLosses {
  /** The last part of the folder's name; where that would stand twice, as much of the path as tells them apart. */
  readonly name: string;
  readonly steps: readonly number[];
  /** Nats a token: of each step, and their running mean. */
  readonly loss: readonly number[];
  readonly smoothed: readonly number[];
}

/** Reads metrics.jsonl of each run's folder. Errors: `no-metrics` naming the folder and what it should hold. */
export async function readLosses(folders: readonly string[]): Promise<RunLosses[]> {
  const names = distinctNames(folders);
  return Promise.all(
    folders.map(async (folder, index) => {
      const lines = await readMetrics(join(folder, 'metrics.jsonl'));
      const { steps, loss, smoothed } = curvesOf(lines);
      if (steps.length > 0) return { name: names[index] ?? folder, steps, loss, smoothed };
      const there = await stat(folder).then(
        (found) => found.isDirectory(),
        () => false,
      );
      throw new LfmError(
        'no-metrics',
        `${folder}: expected the folder of a training run, with steps in its metrics.jsonl; found ${there ? 'no steps there' : 'no such folder'}.`,
      );
    }),
  );
}

/** One line a run: `smoothed` draws running means, which show more of long runs. */
export function lossPicture(runs: readonly RunLosses[], title: string, smoothed: boolean): string {
  const lines = runs.map(({ name, steps, ...curves }): ChartLine => {
    const values = smoothed ? curves.smoothed : curves.loss;
    return { name, points: steps.map((step, index) => [step, values[index] ?? 0] as const) };
  });
  return lineChart(lines, {
    title,
    x: { name: 'step', scale: 'linear', format: String },
    y: { name: 'nats' },
    ...(smoothed && { note: 'running means' }),
  });
}

function distinctNames(folders: readonly string[]): string[] {
  const paths = folders.map((folder) => resolve(folder));
  const short = paths.map((path) => basename(path));
  return short.map((name, index) =>
    short.indexOf(name) === short.lastIndexOf(name) ? name : `${basename(dirname(paths[index] ?? name))}/${name}`,
  );
}
