// npm run bench -- generate --long: time of a token and memory of a process from 1K to 32K tokens, LFM2-350M's shape with random
// weights in Q4_0, beside what the accounting of lfm inspect predicts: state bytes, and time by the bytes that a token moves.
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { formatLength, lineChart } from '../src/liquid/index.ts';
import type { Clock } from './generate-side.ts';
import { median } from './median.ts';

const LENGTHS = [1024, 2048, 4096, 8192, 16_384, 32_768] as const;

export interface LongPoint {
  readonly length: number;
  /** The median of a token's times. */
  readonly tokenMs: number;
  /** By bytes moved, from the first length's time. */
  readonly predictedMs: number;
  /** What no file stands behind. */
  readonly anonymousBytes: number;
  /** The first length's and the state's growth since. */
  readonly predictedBytes: number;
}

interface Run {
  readonly length: number;
  readonly anonymous: number;
  readonly stateBytes: number;
  readonly bytesPerToken: number;
  readonly wallMs: readonly number[];
  readonly cpuMs: readonly number[];
}

export interface LongOptions {
  readonly threads: number;
  readonly numerics: string;
  readonly clock: Clock;
  readonly rounds: number;
}

/** Rounds go over the lengths in turn, each in a process of its own; a length's time is the least of its rounds'. */
export async function measureLong(path: string, options: LongOptions): Promise<LongPoint[]> {
  const script = fileURLToPath(new URL('generate-long-run.ts', import.meta.url));
  const words = ['--expose-gc', '--conditions=lfm-source', '--import', 'tsx', script, path];
  const runs: Run[] = [];
  for (let round = 0; round < options.rounds; round++)
    for (const length of LENGTHS) {
      console.error(`${length} tokens …`);
      const { stdout } = await promisify(execFile)(process.execPath, [
        ...words,
        String(length),
        String(options.threads),
        options.numerics,
      ]);
      runs.push(JSON.parse(stdout) as Run);
    }
  const points = LENGTHS.map((length) => {
    const own = runs.filter((run) => run.length === length);
    return {
      length,
      tokenMs: Math.min(...own.map((run) => median(options.clock === 'cpu' ? run.cpuMs : run.wallMs))),
      anonymousBytes: Math.min(...own.map((run) => run.anonymous)),
      stateBytes: own[0]?.stateBytes ?? NaN,
      bytesPerToken: own[0]?.bytesPerToken ?? NaN,
    };
  });
  const [first] = points;
  return points.map(({ stateBytes, bytesPerToken, ...point }) => ({
    ...point,
    predictedMs: ((first?.tokenMs ?? NaN) * bytesPerToken) / (first?.bytesPerToken ?? NaN),
    predictedBytes: (first?.anonymousBytes ?? NaN) + stateBytes - (first?.stateBytes ?? NaN),
  }));
}

/** Bytes a token, measured over predicted, between 4K and the last length. */
export function slopeRatio(points: readonly LongPoint[]): number {
  const [from, to] = [points.find(({ length }) => length === 4096), points.at(-1)];
  if (!from || !to) return NaN;
  return (to.anonymousBytes - from.anonymousBytes) / (to.predictedBytes - from.predictedBytes);
}

/** Two charts, one above the other. */
export async function drawLong(file: string, points: readonly LongPoint[], clock: Clock): Promise<void> {
  const x = { name: 'tokens', scale: 'logarithmic', format: formatLength } as const;
  const chart = (
    title: string,
    name: string,
    of: (point: LongPoint) => readonly [measured: number, predicted: number],
  ) =>
    lineChart(
      [
        { name: 'measured', points: points.map((point) => [point.length, of(point)[0]]) },
        { name: 'predicted', points: points.map((point) => [point.length, of(point)[1]]), dottedAfter: 0 },
      ],
      { title, x, y: { name, from: 0 }, marks: true, note: 'dotted: predicted' },
    );
  const times = chart(
    `A token of LFM2-350M's shape, int4${clock === 'cpu' ? ', one core' : ''}`,
    'ms',
    ({ tokenMs, predictedMs }) => [tokenMs, predictedMs],
  );
  const memory = chart('Memory of the process', 'GiB', ({ anonymousBytes, predictedBytes }) => [
    anonymousBytes / 2 ** 30,
    predictedBytes / 2 ** 30,
  ]);
  const height = Number(/height="(\d+)"/.exec(times)?.[1]);
  const width = Number(/width="(\d+)"/.exec(times)?.[1]);
  const below = memory.replace('<svg ', `<svg y="${height}" `);
  await writeFile(
    file,
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${2 * height}" viewBox="0 0 ${width} ${2 * height}">\n${times}\n${below}\n</svg>\n`,
  );
}
