// A model in a browser tab: the same tokens as on Node, weights from the browser's own cache the second time, texts that end.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { load } from '../src/generate/load.ts';
import type { LanguageModel } from '../src/generate/model.ts';
import type { RunningServer } from '../src/serve/index.ts';
import { serve } from '../src/serve/index.ts';
import type { loadInTab, TabModel, TabProgress } from '../src/web/client.ts';
import { findChromium, openChromium } from './chromium.ts';
import { ROOT } from './root.ts';
import { buildTab } from './tab-files.ts';

const chromium = findChromium();
const PROMPTS = ['Once upon a time', 'The cat sat on the', 'Lily and Ben went to the park. They'];
const PATIENCE = 120_000;
const greedy = { maxTokens: 64, temperature: 0 };
const headers = { authorization: 'Bearer a-key-of-ours' };

/** What the page has at hand, on its globalThis: the client's code, and a model once it is loaded. */
interface Tab {
  readonly loadInTab: typeof loadInTab;
  model: TabModel;
}

describe.skipIf(!chromium)('a model in the tab', () => {
  let folder: string;
  let model: LanguageModel;
  let server: RunningServer;
  let browser: Browser;
  let page: Page;
  const asked: string[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lfm-tab-'));
    const path = join(ROOT, 'weights/brook-7m');
    [, model, browser] = await Promise.all([buildTab(folder), load(path), openChromium(chromium ?? '')]);
    const html =
      '<!doctype html><title>tab</title><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>';
    const script = "import * as client from '/tab/client.js'; globalThis.tab = { ...client };";
    server = await serve({
      models: [{ name: 'brook-7m', load: () => load(path), path }],
      port: 0,
      apiKeys: ['a-key-of-ours'],
      assets: new Map([
        ['/', { type: 'text/html; charset=utf-8', body: html }],
        ['/page.js', { type: 'text/javascript', body: script }],
      ]),
      tabFolder: folder,
    });
    await server.ready;
    page = await browser.newPage();
    page.on('request', (request) => asked.push(`${request.method()} ${new URL(request.url()).pathname}`));
    page.on('console', (message) => console.log(`[page] ${message.text()}`));
  });
  afterAll(async () => {
    await browser?.close();
    await server?.close(0);
    await model?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  /** Opens the page anew and loads the model there. */
  async function visit(threads: number): Promise<{
    readonly engine: string;
    readonly isolated: boolean;
    readonly progress: TabProgress[];
  }> {
    asked.length = 0;
    await page.goto(server.url);
    await page.waitForFunction(() => 'tab' in globalThis);
    return page.evaluate(
      async ({ threads, headers }) => {
        const { tab } = globalThis as unknown as { tab: Tab };
        const { data } = await (await fetch('/tab/models', { headers })).json();
        const progress: TabProgress[] = [];
        tab.model = await tab.loadInTab(data[0].url, { threads, headers, onProgress: (told) => progress.push(told) });
        return { engine: tab.model.info.engine, isolated: crossOriginIsolated, progress };
      },
      { threads, headers },
    );
  }

  // One thread: two that must wait for each other take ten times as long on a machine that others use.
  it('writes the same greedy tokens as on Node', { timeout: PATIENCE }, async () => {
    const { engine, isolated, progress } = await visit(1);
    expect(isolated).toBe(true);
    expect(engine).toContain('WebAssembly, 1 thread');
    expect(progress.some(({ stage }) => stage === 'download')).toBe(true);
    expect(progress.at(-1)).toMatchObject({ stage: 'weights' });
    const found = await page.evaluate(
      async ({ prompts, greedy }) => {
        const { tab } = globalThis as unknown as { tab: Tab };
        const texts: { ids: number[]; text: string; pieces: string[] }[] = [];
        for (const prompt of prompts) {
          const pieces: string[] = [];
          const reply = tab.model.generate(prompt, greedy);
          for await (const piece of reply) pieces.push(piece);
          const { text, tokens } = await reply;
          texts.push({ ids: tokens.map(({ id }) => id), text, pieces });
        }
        return texts;
      },
      { prompts: PROMPTS, greedy },
    );
    for (const [index, { ids, text, pieces }] of found.entries()) {
      const expected = await model.generate(PROMPTS[index] ?? '', greedy);
      expect(ids).toEqual(expected.tokens.map(({ id }) => id));
      expect(text).toBe(expected.text);
      expect(pieces.length).toBeGreaterThan(10);
      expect(pieces.join('')).toBe(text);
    }
  });

  it('keeps the state of texts that begin alike, as on Node', async () => {
    const story =
      'Once upon a time there was a little girl who had a red ball. She liked to play with it in the park. ';
    const texts = [story.repeat(3), `${story.repeat(3)}One day`];
    const cached = await page.evaluate(async (texts) => {
      const { tab } = globalThis as unknown as { tab: Tab };
      const found: number[] = [];
      for (const text of texts) found.push((await tab.model.generate(text, { maxTokens: 1 })).usage.cachedTokens);
      return found;
    }, texts);
    const expected: number[] = [];
    for (const text of texts) expected.push((await model.generate(text, { maxTokens: 1 })).usage.cachedTokens);
    expect(cached).toEqual(expected);
    expect(cached[1]).toBeGreaterThan(50);
  });

  it('ends a text that nobody reads on, and frees its place', async () => {
    const { seen, before, after } = await page.evaluate(async () => {
      const { tab } = globalThis as unknown as { tab: Tab };
      const ending = new AbortController();
      const pieces: string[] = [];
      const reply = tab.model.generate('One day', { maxTokens: 4000, temperature: 1, seed: 1, signal: ending.signal });
      let before = 0;
      try {
        for await (const piece of reply) {
          pieces.push(piece);
          if (pieces.length === 1) before = (await tab.model.status()).running;
          if (pieces.length === 3) ending.abort(new Error('enough'));
        }
      } catch (error) {
        pieces.push(String(error));
      }
      let after = (await tab.model.status()).running;
      for (let turn = 0; after > 0 && turn < 100; turn++) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        after = (await tab.model.status()).running;
      }
      return { seen: pieces, before, after };
    });
    expect(before).toBe(1);
    expect(after).toBe(0);
    expect(seen.at(-1)).toBe('Error: enough');
    expect(seen.length).toBeLessThan(10);
  });

  it('speaks the protocol of the server, whose answers end with their readers', async () => {
    const found = await page.evaluate(async () => {
      const { tab } = globalThis as unknown as { tab: Tab };
      const ask = (body: object, signal?: AbortSignal) =>
        tab.model.fetch('/v1/completions', {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(body),
          ...(signal && { signal }),
        });
      const whole = await (await ask({ prompt: 'Once', max_tokens: 4, temperature: 0, logprobs: 2 })).json();
      const form = await (await ask({ prompt: 'It', max_tokens: 60, regex: 'down(, down){2}\\.' })).json();
      const refused = (await ask({ prompt: 'It', regex: '(' })).status;
      const long = { prompt: 'One day', max_tokens: 400, stream: true };
      const running = async () => (await tab.model.status()).running;
      const ends: number[] = [];
      for (const leave of ['reader', 'signal']) {
        const ending = new AbortController();
        const reader = (await ask(long, ending.signal)).body?.getReader();
        await reader?.read();
        ends.push(await running());
        if (leave === 'reader') await reader?.cancel();
        else ending.abort();
        for (let turn = 0; (await running()) > 0 && turn < 20; turn++) await new Promise((r) => setTimeout(r, 10));
        ends.push(await running());
      }
      return { logprobs: whole.choices[0].logprobs, form: form.choices[0].text, refused, ends };
    });
    const expected = await model.generate('Once', { maxTokens: 4, temperature: 0 });
    expect(found.logprobs.tokens).toEqual(expected.tokens.map(({ id }) => model.tokenizer.decode([id])));
    for (const [i, { logprob }] of expected.tokens.entries())
      expect(found.logprobs.token_logprobs[i]).toBeCloseTo(logprob, 3);
    expect(found).toMatchObject({ form: 'down, down, down.', refused: 400, ends: [1, 0, 1, 0] });
  });

  it('takes the weights from the browser on a second visit, and has threads', { timeout: PATIENCE }, async () => {
    expect(asked).toContain('GET /tab/models/brook-7m/model.safetensors');
    const { engine, progress } = await visit(2);
    expect(engine).toContain('WebAssembly, 2 threads');
    expect(asked).toContain('HEAD /tab/models/brook-7m/model.safetensors');
    expect(asked).not.toContain('GET /tab/models/brook-7m/model.safetensors');
    expect(progress.filter(({ stage }) => stage === 'download')).toHaveLength(1);
    const short = { maxTokens: 8, temperature: 0 };
    const { text } = await model.generate('Once upon a time', short);
    const again = await page.evaluate(async (short) => {
      const { tab } = globalThis as unknown as { tab: Tab };
      return (await tab.model.generate('Once upon a time', short)).text;
    }, short);
    expect(again).toBe(text);
  });

  it('says what is wrong', async () => {
    const codes = await page.evaluate(async (headers) => {
      const { tab } = globalThis as unknown as { tab: Tab };
      const codeOf = (work: PromiseLike<unknown>) =>
        work.then(
          () => 'nothing',
          (error: unknown) => (error instanceof Error && 'code' in error ? String(error.code) : String(error)),
        );
      const missing = await codeOf(tab.loadInTab('/tab/models/none', { headers }));
      const noKey = await codeOf(tab.loadInTab('/tab/models/brook-7m'));
      const noScript = await codeOf(tab.loadInTab('/tab/models/brook-7m', { worker: '/tab/none.js' }));
      const full = await codeOf(tab.model.generate('a '.repeat(20_000)));
      const open = tab.model.generate('One day', { maxTokens: 2000 })[Symbol.asyncIterator]();
      await open.next();
      await tab.model[Symbol.asyncDispose]();
      const closed = await codeOf(open.next().then(() => open.next()));
      return { missing, noKey, noScript, full, closed };
    }, headers);
    expect(codes).toEqual({
      missing: 'model-file-missing',
      noKey: 'file-unreadable',
      noScript: 'tab-failed',
      full: 'context-full',
      closed: 'model-closed',
    });
  });
});
