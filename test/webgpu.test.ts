// A model in a browser tab on WebGPU: the same greedy tokens as on Node. The GPU is Chromium's imitation of one in software, so
// this says what is right, and nothing of how fast. (Whole with LFM_FULL=1; else a few tokens of one text.)
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, expect, it } from 'vitest';
import { load } from '../src/generate/load.ts';
import { serve } from '../src/serve/index.ts';
import type { loadInTab, TabEngine } from '../src/web/client.ts';
import { findChromium, openChromium } from './chromium.ts';
import { ROOT } from './root.ts';
import { buildTab } from './tab-files.ts';

const SOFTWARE = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'];
const isFull = process.env['LFM_FULL'] === '1';
const story =
  'Once upon a time there was a little girl who had a red ball. She liked to play with it in the park. '.repeat(
    isFull ? 3 : 2,
  );
/** As long as a prompt must be for the kernels of many rows; the second begins with what is kept of the first. */
const texts = [story, ...(isFull ? [`${story}One day`, 'The cat sat on the'] : [])];
const greedy = { maxTokens: isFull ? 12 : 2, temperature: 0 };

const chromium = findChromium();
const browser = chromium ? await openChromium(chromium, SOFTWARE) : undefined;
const hasGpu = browser !== undefined && (await offersGpu(browser));
if (browser && !hasGpu)
  console.warn('!!! THIS CHROMIUM OFFERS NO WEBGPU, NOT EVEN IN SOFTWARE: the model in the tab is not tested on it');
afterAll(() => browser?.close());

async function offersGpu(opened: Browser): Promise<boolean> {
  const server = await serve({
    models: [{ name: 'none', load: () => Promise.reject(new Error('it is not asked for')) }],
    port: 0,
    assets: new Map([['/', { type: 'text/html; charset=utf-8', body: '<!doctype html><title>gpu</title>' }]]),
  });
  const page = await opened.newPage();
  await page.goto(server.url);
  const found = await page.evaluate(async () => (await navigator.gpu?.requestAdapter()) !== null && 'gpu' in navigator);
  await page.close();
  await server.close(0);
  return found;
}

it.skipIf(!hasGpu)('writes the same greedy tokens on WebGPU as on Node', { timeout: 240_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'lfm-webgpu-'));
  const path = join(ROOT, 'weights/brook-7m');
  const [, model] = await Promise.all([buildTab(folder), load(path, { numerics: 'stable' })]);
  const server = await serve({
    models: [{ name: 'brook-7m', load: async () => model, path }],
    port: 0,
    assets: new Map([
      [
        '/',
        {
          type: 'text/html; charset=utf-8',
          body: '<!doctype html><title>gpu</title><script type="module" src="/page.js"></script>',
        },
      ],
      ['/page.js', { type: 'text/javascript', body: "import * as tab from '/tab/client.js'; globalThis.tab = tab;" }],
    ]),
    tabFolder: folder,
  });
  try {
    await server.ready;
    const page = await browser?.newPage();
    await page?.goto(server.url);
    await page?.waitForFunction(() => 'tab' in globalThis);
    const run = async (engine: TabEngine, given: readonly string[]) =>
      page?.evaluate(
        async ({ engine, texts, greedy }) => {
          const { tab: client } = globalThis as unknown as { tab: { loadInTab: typeof loadInTab } };
          const tab = await client.loadInTab('/tab/models/brook-7m', { engine, contextLength: 256 });
          const answers: { id: number; logprob: number }[][] = [];
          const cached: number[] = [];
          for (const text of texts) {
            const { tokens, usage } = await tab.generate(text, greedy);
            answers.push(tokens.map(({ id, logprob }) => ({ id, logprob })));
            cached.push(usage.cachedTokens);
          }
          await tab[Symbol.asyncDispose]();
          return { engine: tab.info.engine, answers, cached };
        },
        { engine, texts: given, greedy },
      );
    const found = await run('webgpu', texts);
    expect(found?.engine).toContain('WebGPU');
    for (const [index, text] of texts.entries()) {
      const { tokens, usage } = await model.generate(text, greedy);
      const answer = found?.answers[index] ?? [];
      expect(answer.map(({ id }) => id)).toEqual(tokens.map(({ id }) => id));
      for (const [i, { logprob }] of tokens.entries()) expect(answer[i]?.logprob).toBeCloseTo(logprob, 3);
      expect(found?.cached[index]).toBe(usage.cachedTokens);
    }
    if (isFull) expect(found?.cached[1]).toBeGreaterThan(40);
    // A GPU in software is slower than none.
    if (isFull) expect((await run('auto', texts.slice(0, 1)))?.engine).toContain('WebAssembly');
  } finally {
    await server.close(0);
    await rm(folder, { recursive: true, force: true });
  }
});
