// The memory that a real run needs against what lfm inspect predicts, at growing lengths: a hybrid, and a twin whose every
// layer attends (figure 2 of the announcement, measured). On a GPU each length is generated to its end, token by token, and the
// device tells the most that it held; on a CPU, in a process for each length, the state's rows are filled and tokens decoded
// after them, and the system tells what the process holds.
//
//   npm run bench -- memory --engine onnx --model lfm2-350m --lengths 1024,2048,4096,8192,16384,32768 --svg memory.svg
import { writeFile } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import type { Buffer } from '../src/engines/engine.ts';
import type { XlaEngine } from '../src/engines/xla/engine.node.ts';
import { xlaEngine } from '../src/engines/xla/engine.node.ts';
import { rolloutProgram } from '../src/generate/rollout.ts';
import type { Model } from '../src/liquid/index.ts';
import { lineChart, memoryAt, stateTypes } from '../src/liquid/index.ts';
import { formatLength } from '../src/liquid/index.ts';
import type { Lfm2Config } from '../src/models/lfm2.ts';
import { lfm2 } from '../src/models/lfm2.ts';

import { lfm2Configs } from '../src/models/lfm2-sizes.ts';
import { formatBytes, formatTable } from '../src/cli/format.node.ts';
import { randomWeights } from './random-weights.ts';

/** Tokens a launch. */
const STEPS = 128;

interface Point {
  readonly length: number;
  readonly predicted: number;
  readonly measured: number;
  readonly seconds: number;
}

export async function benchMemory(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      model: { type: 'string', default: 'lfm2-350m' },
      lengths: { type: 'string', default: '1024,2048,4096,8192,16384,32768' },
      engine: { type: 'string', default: 'xla' },
      plugin: { type: 'string' },
      svg: { type: 'string' },
      json: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  });
  if (values.help) {
    console.log(
      'npm run bench -- memory [--engine xla|onnx] [--model lfm2-350m] [--lengths 1024,32768] [--plugin PATH] [--svg FILE] [--json]',
    );
    return;
  }
  const config = Object.entries(lfm2Configs).find(([name]) => name === values.model)?.[1];
  if (!config)
    throw new Error(`--model: expected one of ${Object.keys(lfm2Configs).join(', ')}; found ${values.model}.`);
  const configs: Readonly<Record<string, Lfm2Config>> = {
    [values.model]: config,
    'attention alone': { ...config, layerTypes: config.layerTypes.map(() => 'full_attention' as const) },
  };
  const lengths = values.lengths.split(',').map(Number);
  const found: Record<string, Point[]> = {};
  for (const [name, shape] of Object.entries(configs)) {
    if (values.engine === 'onnx') {
      found[name] = await measureProcesses(shape, lengths);
      continue;
    }
    // A client of its own, whose peak is this model's.
    const engine = await xlaEngine(values.plugin === undefined ? {} : { plugin: values.plugin });
    try {
      found[name] = await measure(engine, lfm2(shape), lengths);
    } finally {
      await engine.close();
    }
  }
  if (values.svg !== undefined) await writeFile(values.svg, pictureOf(found));
  if (values.json) console.log(JSON.stringify(found, undefined, 2));
  else for (const [name, points] of Object.entries(found)) console.log(textOf(name, points));
}

async function measureProcesses(config: Lfm2Config, lengths: readonly number[]): Promise<Point[]> {
  const script = fileURLToPath(new URL('memory-run.ts', import.meta.url));
  const points: Point[] = [];
  for (const length of lengths) {
    const start = performance.now();
    const args = ['--expose-gc', '--conditions=lfm-source', '--import', 'tsx', script, JSON.stringify(config)];
    const { stdout } = await promisify(execFile)(process.execPath, [...args, String(length)]);
    const { anonymous } = JSON.parse(stdout) as { anonymous: number };
    const predicted = memoryAt(lfm2(config), length, { dtype: 'float32', chunk: 1 }).total;
    points.push({ length, predicted, measured: anonymous, seconds: (performance.now() - start) / 1000 });
  }
  return points;
}

async function measure(engine: XlaEngine, model: Model, lengths: readonly number[]): Promise<Point[]> {
  const weights = await randomWeights(engine, model, 'bfloat16');
  const points: Point[] = [];
  for (const length of lengths.toSorted((a, b) => a - b)) {
    const start = performance.now();
    const sizes = { batch: 1, capacity: length, dtype: 'bfloat16' } as const;
    const rollout = await engine.compile(rolloutProgram(model, { ...sizes, steps: STEPS }));
    let carried: Record<string, Buffer> = {
      token: await engine.upload('int32', [1], Int32Array.of(1)),
      starts: await engine.upload('int32', [1], Int32Array.of(0)),
    };
    for (const [name, { dtype, shape }] of Object.entries(stateTypes(model, sizes)))
      carried[`state.${name}`] = await engine.zeros(dtype, shape.map(Number));
    for (let done = 0; done < length; done += STEPS) {
      const { tokens, ...next } = await rollout.run({ ...weights, ...carried });
      carried = next;
      if (tokens) await engine.download(tokens);
      tokens?.dispose();
    }
    for (const buffer of Object.values(carried)) buffer.dispose();
    rollout.release();
    const measured = engine.memoryStats()?.[0]?.peakBytesInUse;
    if (measured === undefined)
      throw new Error(`${engine.description} does not tell what its device holds: take a GPU.`);
    const predicted = memoryAt(model, length, { dtype: 'bfloat16', chunk: 1 }).total;
    points.push({ length, predicted, measured, seconds: (performance.now() - start) / 1000 });
  }
  for (const buffer of Object.values(weights)) buffer.dispose();
  return points;
}

/** Bytes a token between the first and the last length. */
function slope(points: readonly Point[], of: 'predicted' | 'measured'): number {
  const [first, last] = [points[0], points.at(-1)];
  return first && last ? (last[of] - first[of]) / (last.length - first.length) : Number.NaN;
}

function textOf(name: string, points: readonly Point[]): string {
  const rows = points.map(({ length, predicted, measured, seconds }) => [
    formatLength(length),
    formatBytes(predicted),
    formatBytes(measured),
    seconds.toFixed(1),
  ]);
  const [predicted, measured] = [slope(points, 'predicted'), slope(points, 'measured')];
  return `${name}: ${predicted.toFixed(0)} bytes a token predicted, ${measured.toFixed(0)} measured (${(measured / predicted).toFixed(3)})\n${formatTable(['tokens', 'predicted', 'measured', 'seconds'], rows)}`;
}

function pictureOf(found: Readonly<Record<string, readonly Point[]>>): string {
  const lines = Object.entries(found).flatMap(([name, points]) => [
    { name: `${name}, measured`, points: points.map(({ length, measured }) => [length, measured / 2 ** 30] as const) },
    {
      name: `${name}, predicted`,
      points: points.map(({ length, predicted }) => [length, predicted / 2 ** 30] as const),
      dottedAfter: 0,
    },
  ]);
  return lineChart(lines, {
    title: 'Memory of one sequence to its end',
    x: { name: 'tokens', scale: 'logarithmic', format: formatLength },
    y: { name: 'GiB', from: 0 },
    marks: true,
    note: 'dotted: predicted',
  });
}
