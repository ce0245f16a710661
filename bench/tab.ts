// npm run bench -- tab: tokens a second in a browser tab, lfm beside wllama (llama.cpp in WebAssembly) in the same Chromium and run, and
// beside lfm on Node. --model PATH, a .gguf file or a folder, may be given several times: rounds of the models alternate.
import { execFileSync } from 'node:child_process';
import { createReadStream, existsSync } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, extname, join, normalize } from 'node:path';
import { parseArgs } from 'node:util';
import type { Page } from 'playwright-core';
import { load } from '../src/generate/load.ts';
import { findChromium, openChromium } from '../test/chromium.ts';
import { REAL_MODEL } from '../test/real-model.ts';
import { ROOT } from '../test/root.ts';
import { buildTab } from '../test/tab-files.ts';
import { describeRun } from './machine.ts';

const PROMPT = 'Once upon a time, in a village by the sea, there lived an old man who built boats. One morning he';
const RIVAL = join(ROOT, 'bench/rivals/wllama');
const types: Readonly<Record<string, string>> = {
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
};

interface Timing {
  readonly text: string;
  readonly firstMs: number;
  readonly tokenMs: number;
}

/** The page's part (tab-page.js). */
interface Bench {
  load(name: string, what: object): Promise<number>;
  run(name: string, prompt: string, tokens: number): Promise<Timing>;
  end(name: string): Promise<{ readonly heapBytes: number } | undefined>;
}

const sides = {
  'tab, fast': { side: 'lfm', numerics: 'fast' },
  'tab, stable': { side: 'lfm', numerics: 'stable' },
  wllama: { side: 'wllama' },
} as const;

/** Errors where there is no Chromium, no model or no rival: they are asked for by name. */
export async function benchTab(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      json: { type: 'boolean', default: false },
      threads: { type: 'string', default: '2' },
      rounds: { type: 'string', default: '3' },
      tokens: { type: 'string', default: '64' },
      sides: { type: 'string' },
      model: { type: 'string', multiple: true, default: [REAL_MODEL] },
    },
  });
  const [threads, rounds, tokens] = [values.threads, values.rounds, values.tokens].map(Number);
  const wanted = values.sides?.split(';') ?? [...Object.keys(sides), 'Node, fast', 'Node, stable'];
  const chromium = findChromium();
  const models = values.model.map((path, index) => ({
    path,
    url: `/model-${index}${extname(path)}`,
    name: basename(path),
  }));
  const missing = models.find(({ path }) => !existsSync(path));
  if (!chromium || missing) throw new Error(`Expected a Chromium and the model ${missing?.path}.`);
  if (!existsSync(join(RIVAL, 'node_modules'))) execFileSync('npm', ['ci'], { cwd: RIVAL, stdio: 'ignore' });
  const folder = await mkdtemp(join(tmpdir(), 'lfm-bench-tab-'));
  await buildTab(folder);
  const server = await serveFiles(folder, models);
  const browser = await openChromium(chromium);
  try {
    const page = await browser.newPage();
    await page.goto(server.url);
    await page.waitForFunction(() => 'bench' in globalThis);
    const found = new Map<string, { loadMs: number; timings: Timing[]; heapBytes?: number }>();
    // One side at a time: engines of others in memory would take the caches.
    for (const [side, what] of Object.entries(sides)) {
      if (!wanted.includes(side)) continue;
      const runs = models
        .filter(({ path }) => what.side === 'lfm' || path.endsWith('.gguf'))
        .map(({ url, name }) => ({
          url,
          name: models.length > 1 ? `${side}, ${name}` : side,
          timings: [] as Timing[],
        }));
      for (const { name, url, timings } of runs) {
        console.error(`${name} …`);
        found.set(name, { loadMs: await inPage(page, name, { ...what, url, threads }), timings });
      }
      for (let round = 0; round < (rounds ?? 3); round++)
        for (const { name, timings } of runs) timings.push(await runIn(page, name, PROMPT, tokens ?? 64));
      for (const { name } of runs) Object.assign(found.get(name) ?? {}, await endIn(page, name));
    }
    for (const numerics of ['fast', 'stable'] as const) {
      if (!wanted.includes(`Node, ${numerics}`)) continue;
      for (const { path, name } of models)
        found.set(
          models.length > 1 ? `Node, ${numerics}, ${name}` : `Node, ${numerics}`,
          await onNode(path, numerics, threads ?? 2, rounds ?? 3, tokens ?? 64),
        );
    }
    report(found, values.json ? await describeRun('tab') : undefined, browser.version());
  } finally {
    await browser.close();
    server.close();
    await rm(folder, { recursive: true, force: true });
  }
}

// The functions below run in the page: they name nothing from outside.
const inPage = (page: Page, name: string, what: object) =>
  page.evaluate(([name, what]) => (globalThis as unknown as { bench: Bench }).bench.load(name, what), [
    name,
    what,
  ] as const);
const runIn = (page: Page, name: string, prompt: string, tokens: number) =>
  page.evaluate(
    ([name, prompt, tokens]) => (globalThis as unknown as { bench: Bench }).bench.run(name, prompt, tokens),
    [name, prompt, tokens] as const,
  );
const endIn = (page: Page, name: string) =>
  page.evaluate((name) => (globalThis as unknown as { bench: Bench }).bench.end(name), name);

async function onNode(path: string, numerics: 'fast' | 'stable', threads: number, rounds: number, maxTokens: number) {
  const begin = performance.now();
  await using model = await load(path, { numerics, engine: { name: 'onnx', threads }, contextLength: 1024 });
  const loadMs = performance.now() - begin;
  const timings: Timing[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    let [text, first, last] = ['', 0, 0];
    for await (const piece of model.generate(PROMPT, { maxTokens, temperature: 0 })) {
      last = performance.now();
      first ||= last;
      text += piece;
    }
    timings.push({ text, firstMs: first - start, tokenMs: (last - first) / (maxTokens - 1) });
  }
  return { loadMs, timings };
}

function report(
  found: ReadonlyMap<string, { loadMs: number; timings: Timing[]; heapBytes?: number }>,
  run: object | undefined,
  chromium: string,
): void {
  const best = (name: string) => Math.min(...(found.get(name)?.timings ?? []).map(({ tokenMs }) => tokenMs));
  const rows = [...found].map(([name, { loadMs, timings, heapBytes }]) => ({
    name,
    'load s': (loadMs / 1000).toFixed(1),
    'first token ms': Math.min(...timings.map(({ firstMs }) => firstMs)).toFixed(0),
    'tokens/s, best': (1000 / best(name)).toFixed(2),
    'of wllama': (best('wllama') / best(name)).toFixed(2),
    'of Node, stable': (best('Node, stable') / best(name)).toFixed(2),
    'heap MB': heapBytes === undefined ? '' : (heapBytes / 1e6).toFixed(0),
    text: JSON.stringify(timings[0]?.text.slice(0, 50)),
  }));
  if (run) console.log(JSON.stringify({ ...run, chromium, rows }, undefined, 2));
  else console.table(rows);
}

/** The page, lfm's files, wllama's and the model, with the headers that let threads share memory. */
async function serveFiles(tab: string, models: readonly { readonly path: string; readonly url: string }[]) {
  const page =
    '<!doctype html><title>bench</title><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>';
  const pathOf = (url: string): string => {
    const model = models.find((one) => url === one.url || url.startsWith(`${one.url}/`));
    if (model) return join(model.path, normalize(url.slice(model.url.length)));
    if (url === '/page.js') return join(ROOT, 'bench/tab-page.js');
    if (url.startsWith('/tab/')) return join(tab, normalize(url.slice(5)));
    return join(RIVAL, 'node_modules/@wllama/wllama/esm', normalize(url.replace('/wllama/', '/')));
  };
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://localhost').pathname;
    response.setHeader('cross-origin-opener-policy', 'same-origin');
    response.setHeader('cross-origin-embedder-policy', 'require-corp');
    if (url === '/') return void response.setHeader('content-type', 'text/html').end(page);
    const path = pathOf(url);
    stat(path).then(
      ({ size }) => {
        response.setHeader('content-type', types[extname(path)] ?? 'application/octet-stream');
        response.setHeader('content-length', size);
        if (request.method === 'HEAD') response.end();
        else createReadStream(path).pipe(response);
      },
      () => response.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/`, close: () => server.close() };
}
