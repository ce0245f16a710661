// The playground in a real browser with real models: what a user does with keyboard, mouse and phone, and what a screen reader is told.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import axe from 'axe-core';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeAdapterFolder } from '../src/generate/testing-adapter.node.ts';
import { writeModelFolder } from '../src/generate/testing.node.ts';
import { hostileTests } from './attacks/playground/hostile.ts';
import type { Playground } from './page.ts';
import { findChromium } from './chromium.ts';
import { desktop, openPlayground, phone } from './page.ts';
import { hasRealModel, REAL_MODEL, without } from './real-model.ts';

/** Bytes of script after gzip that the page may take, as the project promises. */
const BUDGET = 300_000;

const chromium = findChromium();
const isFull = process.env['LFM_FULL'] === '1';

describe.skipIf(!chromium)(`the playground${chromium ? '' : without('Chromium')}`, { timeout: 120_000 }, () => {
  let playground: Playground;
  /** The folder of a model of random numbers, which has an adapter. */
  let tiny: string;
  const faults: string[] = [];
  beforeAll(async () => {
    tiny = await mkdtemp(join(tmpdir(), 'lfm-page-tiny-'));
    await writeModelFolder(tiny, { chats: true });
    await writeAdapterFolder(join(tiny, 'poet'), tiny, 1);
    playground = await openPlayground(
      chromium ?? '',
      { 'brook-7m': 'brook-7m', tiny, ...(isFull && hasRealModel && { smollm2: REAL_MODEL }) },
      { tiny: { poet: join(tiny, 'poet') } },
    );
  }, 60_000);
  afterAll(async () => {
    await playground[Symbol.asyncDispose]();
    await rm(tiny, { recursive: true });
  });

  async function open(options: Parameters<Playground['browser']['newPage']>[0] = desktop): Promise<Page> {
    const page = await playground.browser.newPage(options);
    page.setDefaultTimeout(30_000);
    page.on('pageerror', ({ message }) => faults.push(message));
    page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
    await page.goto(playground.server.url);
    await page.getByText('brook-7m continues texts').waitFor();
    return page;
  }

  const textBox = (page: Page) => page.getByRole('textbox', { name: 'Your text' });
  const done = (page: Page) => page.getByText(/^Done: \d+ tokens/).waitFor();
  const lastText = (page: Page) => page.getByRole('article').last().locator('.text').textContent();

  it('answers, regenerates, branches, edits, and keeps all of it, by keyboard alone', async () => {
    const page = await open();
    const press = (...keys: string[]) =>
      keys.reduce((before, key) => before.then(() => page.keyboard.press(key)), Promise.resolve());
    await page.getByLabel('Most tokens').fill('8');
    await page.getByLabel('Most tokens').blur();
    await textBox(page).focus();
    await page.keyboard.type('One');
    await press('Shift+Enter');
    await page.keyboard.type('two');
    await press('Enter');
    await done(page);
    expect(await page.getByRole('article').first().locator('.text').textContent()).toBe('One\ntwo');
    const first = await lastText(page);
    expect(first).not.toBe('');
    expect(await page.getByText(/8 tokens, [\d.]+ a second/).count()).toBe(1);
    expect(await page.getByText(/^context \d+ of 512/).count()).toBe(1);

    await page.getByRole('button', { name: 'Regenerate' }).focus();
    await press('Enter');
    await page.getByText('2 of 2').waitFor();
    await done(page);
    await page.getByRole('button', { name: 'Previous version' }).focus();
    await press('Enter');
    await page.getByText('1 of 2').waitFor();
    expect(await lastText(page)).toBe(first);

    await page.getByRole('button', { name: 'Edit' }).first().focus();
    await press('Enter');
    await page.keyboard.press('End');
    await page.keyboard.type(' three');
    await press('Enter');
    await page.getByText('2 of 2').waitFor();
    await done(page);
    expect(await page.getByRole('article').count()).toBe(2);
    // The box is empty: it goes on.
    await textBox(page).focus();
    await press('Enter');
    await expect.poll(() => page.getByRole('article').count()).toBe(3);
    await done(page);

    const shown = await page.getByRole('log').textContent();
    await page.reload();
    await page.getByRole('button', { name: 'One two', exact: true }).click();
    expect(await page.getByRole('log').textContent()).toBe(shown);

    const downloading = page.waitForEvent('download');
    await page.getByRole('button', { name: 'Export' }).click();
    const file = (await (await downloading).path()) ?? '';
    await page.getByRole('button', { name: 'Delete One two' }).click();
    await expect.poll(() => page.getByRole('article').count()).toBe(0);
    await page
      .getByLabel('Import')
      .setInputFiles({ name: 'a.json', mimeType: 'application/json', buffer: await readFile(file) });
    await page.getByRole('button', { name: 'One two', exact: true }).click();
    expect(await page.getByRole('log').textContent()).toBe(shown);
    await page
      .getByLabel('Import')
      .setInputFiles({ name: 'b.json', mimeType: 'application/json', buffer: Buffer.from('[{"id": 1}]') });
    await page.getByText('The file holds no conversations').waitFor();
    await page.close();
  });

  it('stops at Escape, and keeps what was written', async () => {
    const page = await open();
    await page.getByLabel('Most tokens').fill('400');
    await textBox(page).fill('A long story');
    await page.keyboard.press('Enter');
    await expect.poll(() => lastText(page)).not.toBe('');
    await page.keyboard.press('Escape');
    await page.getByText('Stopped.').waitFor();
    expect((await lastText(page))?.length).toBeGreaterThan(0);
    expect(await page.getByRole('log').getAttribute('aria-busy')).toBe('false');
    const metrics = async () => (await fetch(`${playground.server.url}/metrics`)).text();
    await expect.poll(metrics).toContain('lfm_texts_pending 0');
    await page.close();
  });

  it('shows each token with what else was likely, and is fit for a screen reader', async () => {
    const page = await open();
    await page.getByLabel('Show tokens').check();
    await page.getByLabel('Most tokens').fill('6');
    await page.getByLabel('Seed').fill('1');
    await textBox(page).fill('Once upon a time');
    await page.keyboard.press('Enter');
    await done(page);
    const tokens = page.getByRole('listbox', { name: 'Tokens' });
    await tokens.focus();
    await page.keyboard.press('End');
    expect(await tokens.getByRole('option', { selected: true }).count()).toBe(1);
    const shares = (await page.locator('.others td').allTextContents()).map((share) =>
      Number.parseFloat(share.replace('<', '')),
    );
    expect(shares.length).toBeGreaterThanOrEqual(8);
    expect(shares).toEqual(shares.toSorted((a, b) => b - a));
    expect(shares.reduce((sum, share) => sum + share, 0)).toBeLessThanOrEqual(100.1);
    await tokens.getByRole('option').first().hover();
    await page.getByText(/^Token 1 of \d+:/).waitFor();
    expect(await seriousFaults(page)).toEqual([]);
    await page.close();
  });

  it('draws the model on a phone, no wider than it', async () => {
    const page = await open(phone);
    const overhang = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    await page.getByRole('button', { name: 'Settings' }).tap();
    await page.getByLabel('Temperature').waitFor();
    expect(await overhang()).toBeLessThanOrEqual(0);
    await page.keyboard.press('Escape');
    await page.setViewportSize({ width: 320, height: 640 });
    expect(await overhang()).toBeLessThanOrEqual(0);
    await page.setViewportSize(phone.viewport);
    await page.getByRole('button', { name: 'Model', exact: true }).tap();
    await page.getByRole('heading', { name: 'Memory' }).waitFor();
    expect(await page.getByText('7,202,432').count()).toBe(1);
    const widths = () =>
      page
        .locator('img')
        .evaluateAll((images) => images.map((image) => (image instanceof HTMLImageElement ? image.naturalWidth : 0)));
    await expect.poll(async () => (await widths()).filter((width) => width > 300).length).toBe(3);
    expect(await overhang()).toBeLessThanOrEqual(0);
    expect(await seriousFaults(page)).toEqual([]);
    await page.close();
  });

  it('runs the model in the tab where it is told to, and writes the same text', async () => {
    const page = await open();
    await page.getByLabel('Temperature').fill('0');
    await page.getByLabel('Most tokens').fill('12');
    await textBox(page).fill('Once upon a time');
    await page.keyboard.press('Enter');
    await done(page);
    const text = await lastText(page);
    await page.getByLabel('this tab').check();
    await page.getByText('comes into this tab').waitFor();
    await page.getByLabel('Show tokens').check();
    await page.getByRole('button', { name: 'Regenerate' }).click();
    await page.getByText('2 of 2').waitFor();
    await done(page);
    const tokens = page.getByRole('listbox', { name: 'Tokens' });
    expect((await tokens.getByRole('option').allTextContents()).length).toBe(12);
    await tokens.getByRole('option').first().hover();
    expect(await page.locator('.others td').count()).toBeGreaterThanOrEqual(8);
    await page.getByLabel('Show tokens').uncheck();
    expect(await lastText(page)).toBe(text);
    expect(await page.getByText(/12 tokens, [\d.]+ a second/).count()).toBe(1);
    await page.getByRole('button', { name: 'Model', exact: true }).click();
    await page.getByText('MiB of this tab’s memory').waitFor();
    await page.close();
  });

  it('lists adapters, and speaks under them from the server and in the tab', async () => {
    const page = await open();
    const texts: (string | null)[] = [];
    await page.getByLabel('Temperature').fill('0');
    await page.getByLabel('Most tokens').fill('8');
    for (const place of ['this machine’s server', 'this tab'])
      for (const name of ['tiny', 'poet (adapter of tiny)']) {
        await page.getByLabel(place).check();
        await page.getByLabel('Model', { exact: true }).selectOption(name);
        await page.getByRole('button', { name: 'New conversation' }).click();
        await page.getByRole('textbox', { name: 'Your message' }).fill('Where does the brook run?');
        await page.keyboard.press('Enter');
        await done(page);
        texts.push(await page.locator('.markdown').last().textContent());
      }
    expect(texts[1]).not.toBe(texts[0]);
    expect(texts.slice(2)).toEqual(texts.slice(0, 2));
    await page.getByText(/Now: onnx .*WebAssembly/).waitFor();
    await page.close();
  });

  it.skipIf(!isFull || !hasRealModel)(
    `chats with a real model${hasRealModel ? '' : without('SmolLM2')}`,
    async () => {
      const page = await open();
      await page.getByLabel('Model', { exact: true }).selectOption('smollm2');
      await page.getByText('smollm2 will be loaded').waitFor();
      await page.getByLabel('Temperature').fill('0');
      await page.getByLabel('Most tokens').fill('40');
      await page.getByRole('textbox', { name: 'Your message' }).fill('What is the capital of France?');
      await page.keyboard.press('Enter');
      await page.getByText(/^Done/).waitFor({ timeout: 60_000 });
      expect(await page.getByRole('article').last().textContent()).toContain('Paris');
      await page.close();
    },
    90_000,
  );

  describe('against what models say', () => hostileTests(() => playground));

  it('takes less script than it may, and no fault was logged', async () => {
    const script = await readFile(join(playground.folder, 'playground.js'));
    expect(gzipSync(script).length).toBeLessThan(BUDGET);
    expect(faults).toEqual([]);
  });
});

/** What axe finds of serious weight under WCAG 2.2 A and AA, in words. */
async function seriousFaults(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => {
    const { axe: tool } = globalThis as unknown as { axe: typeof axe };
    return tool.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] });
  });
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 200)).join(' | ')}`);
}
