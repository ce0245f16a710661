// npm run bench -- serve: texts over HTTP beside the engine's own in the same process, many streams at once, node-llama-cpp behind
// a route on the same weights; --soak MINUTES: mixed load. Exits with 1 where a request fails or the soak does not hold.
import { parseArgs } from 'node:util';
import { hasRealModel, REAL_MODEL } from '../test/real-model.ts';
import { describeRun } from './machine.ts';
import { prepareLlama } from './rivals.ts';
import { freshPrompt, quantile, Served, stream } from './serve-client.ts';
import { soak } from './serve-soak.ts';

const CONTEXT = 512;
const SOAK_CACHE = 32 * 2 ** 20;
const CACHE = 256 * 2 ** 20;
const usage = `npm run bench -- serve [OPTION...]
  --model NAME      a shipped name, a folder, a GGUF (default: the real model where it is, else brook-7m)
  --numerics MODE   (default stable)
  --tokens N        of each text (default 64)
  --streams A,B     texts at once (default 1,8,32)
  --rounds N        of HTTP beside the engine (default 5)
  --threads N       of each side (default 2)
  --soak MINUTES    only mixed load, for so long
  --json            all of it as JSON`;

export async function benchServe(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      model: { type: 'string', default: hasRealModel ? REAL_MODEL : 'brook-7m' },
      numerics: { type: 'string', default: 'stable' },
      tokens: { type: 'string', default: '64' },
      streams: { type: 'string', default: '1,8,32' },
      rounds: { type: 'string', default: '5' },
      threads: { type: 'string', default: '2' },
      soak: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return console.log(usage);
  const counts = values.streams.split(',').map(Number);
  const threads = Number(values.threads);
  const maxBatch = Math.max(...counts);
  const settings = { threads, contextLength: CONTEXT, numerics: values.numerics, maxBatch };
  const start = (cacheBytes: number) =>
    Served.start([
      // What is garbage is not held: memory is read without it.
      '--expose-gc',
      '--import',
      'tsx',
      '--conditions=lfm-source',
      'bench/serve-lfm.ts',
      values.model,
      JSON.stringify({ ...settings, cacheBytes }),
    ]);
  const served = await start(values.soak === undefined ? CACHE : SOAK_CACHE);
  const record = {
    ...(await describeRun('serve')),
    command: `npm run bench -- serve ${argv.join(' ')}`.trim(),
    engine: served.version,
  };
  try {
    if (values.soak !== undefined) {
      const found = await soak(served, Number(values.soak));
      console.log(JSON.stringify({ ...record, soak: found }, undefined, 2));
      if (!found.holds) process.exitCode = 1;
      return;
    }
    const tokens = Number(values.tokens);
    const bias = { [served.end]: -100 };
    const beside = await besideEngine(served, tokens, Number(values.rounds), bias);
    const rows = [];
    for (const count of counts) rows.push({ server: 'lfm', ...(await atOnce(served.url, count, tokens, bias)) });
    served.stop();
    const llama = values.model.endsWith('.gguf') ? await prepareLlama() : { skipped: 'it reads GGUF files only' };
    if (llama.skipped === undefined) {
      const options = { threads, contextLength: CONTEXT, sequences: maxBatch };
      const route = ['bench/rivals/node-llama-cpp/route.mjs', values.model, JSON.stringify(options)];
      const rival = await Served.start(route);
      await stream(rival.url, { prompt: freshPrompt(9999), max_tokens: 4 });
      for (const count of counts)
        rows.push({ server: `node-llama-cpp ${rival.version}`, ...(await atOnce(rival.url, count, tokens, {})) });
      rival.stop();
    }
    const all = { ...record, beside, rows, rival: llama.skipped };
    if (values.json) console.log(JSON.stringify(all, undefined, 2));
    else {
      console.log(beside);
      console.table(rows);
    }
    if (rows.some(({ errors }) => errors > 0)) process.exitCode = 1;
  } finally {
    served.stop();
  }
}

/** In turns, so that whatever else the machine does meets both alike. Times in milliseconds; ratios above 1: HTTP takes longer. */
async function besideEngine(served: Served, tokens: number, rounds: number, bias: object) {
  const ask = {
    engine: async (prompt: string) =>
      (await served.ask<{ times: readonly number[] }>({ name: 'engine', prompt, count: tokens })).times,
    http: async (prompt: string) =>
      (await stream(served.url, { prompt, max_tokens: tokens, temperature: 0, logit_bias: bias })).times,
  };
  const found = { engine: [] as Round[], http: [] as Round[] };
  for (let round = 0; round <= rounds; round++) {
    const order = round % 2 === 0 ? (['engine', 'http'] as const) : (['http', 'engine'] as const);
    for (const [i, name] of order.entries()) {
      const before = await served.ask<number>({ name: 'cpu' });
      const times = await ask[name](freshPrompt(1000 + 2 * round + i));
      const cpuMs = (await served.ask<number>({ name: 'cpu' })) - before;
      // The first round compiles.
      if (round > 0) found[name].push({ times, cpuMs });
    }
  }
  const first = ({ times }: Round) => times[0] ?? NaN;
  const each = (round: Round) => ((round.times.at(-1) ?? NaN) - first(round)) / (round.times.length - 1);
  const cpu = ({ times, cpuMs }: Round) => cpuMs / times.length;
  const middle = (name: 'engine' | 'http', of: (round: Round) => number) => quantile(found[name].map(of), 0.5);
  const ratio = (of: (round: Round) => number) => Number((middle('http', of) / middle('engine', of)).toFixed(3));
  return {
    rounds,
    firstTokenMs: { engine: middle('engine', first), http: middle('http', first), ratio: ratio(first) },
    tokensPerSecond: { engine: 1000 / middle('engine', each), http: 1000 / middle('http', each), ratio: ratio(each) },
    /** Of the server's process, all its threads: a client on the same cores is not in it. */
    cpuMsPerPiece: { engine: middle('engine', cpu), http: middle('http', cpu), ratio: ratio(cpu) },
  };
}

interface Round {
  readonly times: readonly number[];
  readonly cpuMs: number;
}

let prompts = 0;

async function atOnce(url: string, count: number, tokens: number, bias: object) {
  const started = performance.now();
  const streams = await Promise.all(
    Array.from({ length: count }, async () => {
      const body = { prompt: freshPrompt(prompts++), max_tokens: tokens, temperature: 0, logit_bias: bias };
      return stream(url, body).catch(() => ({ times: [], ended: false, status: 0 }));
    }),
  );
  const seconds = (performance.now() - started) / 1000;
  const whole = streams.filter(({ ended }) => ended);
  const gaps = whole.flatMap(({ times }) => times.slice(1).map((time, i) => time - (times[i] ?? time)));
  const pieces = whole.reduce((sum, { times }) => sum + times.length, 0);
  const firstEnd = Math.min(...whole.map(({ times }) => times.at(-1) ?? Infinity));
  const reached = whole.map(({ times }) => times.filter((time) => time <= firstEnd).length / times.length);
  const round = (value: number) => Number(value.toFixed(1));
  return {
    streams: count,
    errors: count - whole.length,
    piecesPerSecond: round(pieces / seconds),
    firstMs: round(
      quantile(
        whole.map(({ times }) => times[0] ?? NaN),
        0.5,
      ),
    ),
    lastFirstMs: round(Math.max(...whole.map(({ times }) => times[0] ?? NaN))),
    p50Ms: round(quantile(gaps, 0.5)),
    p99Ms: round(quantile(gaps, 0.99)),
    /** Of its text, what the slowest stream had when the first had ended. */
    slowestShare: Number(Math.min(...reached).toFixed(2)),
  };
}
