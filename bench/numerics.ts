// npm run bench -- decode --model FILE: the three modes of a packed model in one process, token by token in turn, so that
// whatever else the machine does meets them alike; bytes a token against what a plain product reads.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { openEngine } from '#engine';
import type { Engine } from '../src/engines/engine.ts';
import { load } from '../src/generate/load.ts';
import type { LanguageModel } from '../src/generate/model.ts';
import type { Numerics } from '../src/generate/weights.ts';
import { numericsNames } from '../src/generate/weights.ts';
import { decodeBytes, weightBytes } from '../src/liquid/index.ts';
import { linear, Random, trace } from '../src/tensor/index.ts';
import { median } from './median.ts';

const CONTEXTS = [32, 512] as const;
const TOKENS = 64;
const PREFILLS = 3;

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');

function residentBytes(): number {
  collect();
  return process.memoryUsage().rss;
}

/** Bytes a second at which a product of one row reads a float32 matrix that no cache holds: the best of many. */
export async function readBandwidth(engine: Engine): Promise<number> {
  const [rows, columns] = [16_384, 4096];
  const program = trace(
    'read',
    { x: { dtype: 'float32', shape: [1, columns] }, w: { dtype: 'float32', shape: [rows, columns] } },
    ({ x, w }) => ({ y: linear(x, w) }),
  );
  const w = await engine.zeros('float32', [rows, columns]);
  const x = await engine.zeros('float32', [1, columns]);
  const executable = await engine.compile(program, { bind: { w } });
  let best = Infinity;
  for (let turn = 0; turn < 30; turn++) {
    const start = performance.now();
    const { y } = await executable.run({ x });
    best = Math.min(best, performance.now() - start);
    y?.dispose();
  }
  executable.release();
  for (const buffer of [w, x]) buffer.dispose();
  return (rows * columns * 4 * 1000) / best;
}

interface Opened {
  readonly numerics: Numerics;
  readonly model: LanguageModel;
  readonly loadSeconds: number;
  readonly residentBytes: number;
}

async function open(path: string, engine: Engine, numerics: Numerics): Promise<Opened> {
  const [before, start] = [residentBytes(), performance.now()];
  const model = await load(path, { engine, numerics });
  const loadSeconds = (performance.now() - start) / 1000;
  return { numerics, model, loadSeconds, residentBytes: residentBytes() - before };
}

export async function benchNumerics(path: string, threads: number, json: boolean): Promise<void> {
  const engine = await openEngine({ name: 'onnx', threads });
  const bandwidth = await readBandwidth(engine);
  const opened: Opened[] = [];
  for (const numerics of numericsNames) opened.push(await open(path, engine, numerics));
  const rows = [];
  for (const context of CONTEXTS) rows.push(...(await measure(opened, context, bandwidth)));
  const { description } = engine;
  if (json) console.log(JSON.stringify({ engine: description, model: path, bandwidth, rows }, undefined, 2));
  else {
    console.log(`${path} on ${description}; a product of one row reads ${(bandwidth / 1e9).toFixed(1)} GB/s`);
    console.table(rows);
  }
  for (const { model } of opened) await model[Symbol.asyncDispose]();
  await engine.close();
}

async function measure(opened: readonly Opened[], context: number, bandwidth: number) {
  const random = new Random(0);
  const running = await Promise.all(
    opened.map(async (one) => {
      const { generator } = one.model;
      return {
        ...one,
        generator,
        state: await generator.open(context + TOKENS),
        tokens: [] as number[],
        prefills: [] as number[],
      };
    }),
  );
  const id = () => random.bits() % (opened[0]?.model.generator.model.head.classes ?? 1);
  const prompt = Array.from({ length: context }, id);
  for (let turn = 0; turn < PREFILLS; turn++)
    for (const one of running) {
      one.generator.release(one.state);
      one.state = await one.generator.open(context + TOKENS);
      const start = performance.now();
      await one.generator.feed(one.state, [prompt]);
      one.prefills.push(performance.now() - start);
    }
  for (let count = 0; count < TOKENS; count++) {
    const next = id();
    for (const one of running) {
      const start = performance.now();
      await one.generator.feed(one.state, [[next]]);
      one.tokens.push(performance.now() - start);
    }
  }
  return running.map(({ numerics, generator, state, tokens, prefills, loadSeconds, residentBytes: resident }) => {
    generator.release(state);
    const traffic = Object.values(decodeBytes(generator.model, context + 1, 'float32')).reduce((a, b) => a + b, 0);
    const [usual, best] = [median(tokens), Math.min(...tokens)];
    return {
      numerics,
      context,
      'prefill tok/s': Math.round((1000 * context) / Math.min(...prefills)),
      'tok/s median': Number((1000 / usual).toFixed(1)),
      'tok/s best': Number((1000 / best).toFixed(1)),
      'MB/token': Number((traffic / 1e6).toFixed(1)),
      'share of bandwidth, best': Number((traffic / (best / 1000) / bandwidth).toFixed(2)),
      'weights MB': Number((weightBytes(generator.model, 'float32') / 1e6).toFixed(0)),
      'resident MB': Number((resident / 1e6).toFixed(0)),
      'load s': Number(loadSeconds.toFixed(1)),
    };
  });
}
