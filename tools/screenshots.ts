// npm run screenshots: pictures of the playground with the shipped models, into docs/pictures, and how soon the page is drawn.
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Page } from 'playwright-core';
import { findChromium } from '../test/chromium.ts';
import { desktop, openPlayground, phone } from '../test/page.ts';
import { ROOT } from '../test/root.ts';

const MOST_BYTES = 150_000;
const PATIENCE_MS = 180_000;

const executable = findChromium();
if (executable === undefined)
  throw new Error('No Chromium is installed here: install one, as chromium or google-chrome.');
await using playground = await openPlayground(executable, {
  'brook-7m': 'brook-7m',
  'brook-123m': 'brook-123m',
});

async function open(options: typeof desktop | typeof phone, colorScheme: 'light' | 'dark'): Promise<Page> {
  const page = await playground.browser.newPage({ ...options, colorScheme });
  page.setDefaultTimeout(PATIENCE_MS);
  await page.goto(playground.server.url);
  await page.getByText('brook-7m continues texts').waitFor();
  return page;
}

async function take(page: Page, name: string): Promise<void> {
  // The pointer lies where it shows nothing.
  await page.mouse.move(0, 0);
  const path = join(ROOT, `docs/pictures/playground-${name}.png`);
  await page.screenshot({ path, animations: 'disabled' });
  const { size } = await stat(path);
  console.log(`${path}: ${(size / 1000).toFixed(0)} kB`);
  if (size > MOST_BYTES) throw new Error(`${path} has ${size} bytes, more than ${MOST_BYTES}.`);
}

/** In the settings, which a narrow window keeps in a drawer. */
async function set(page: Page, change: () => Promise<void>): Promise<void> {
  const drawer = page.getByRole('button', { name: 'Settings' });
  const isNarrow = await drawer.isVisible();
  if (isNarrow) await drawer.click();
  await change();
  if (isNarrow) await page.keyboard.press('Escape');
}

async function say(page: Page, text: string): Promise<void> {
  await page.locator('#text').fill(text);
  await page.keyboard.press('Enter');
  await page.getByText(/^Done/).waitFor();
}

async function converse(page: Page): Promise<void> {
  await set(page, async () => {
    await page.getByLabel('Temperature').fill('0');
    await page.getByLabel('Most tokens').fill('100');
  });
  await page.locator('header select').selectOption('brook-123m');
  await say(page, 'What is the capital of France?');
  await say(page, 'Write a list of three things to see there.');
}

for (const scheme of ['light', 'dark'] as const) {
  const wide = await open(desktop, scheme);
  await converse(wide);
  await take(wide, scheme === 'light' ? 'chat' : 'chat-dark');
  await wide.close();
}
const narrow = await open(phone, 'dark');
await converse(narrow);
await take(narrow, 'chat-phone');
await narrow.close();

for (const [options, scheme, suffix] of [
  [desktop, 'light', ''],
  [phone, 'dark', '-phone'],
] as const) {
  const page = await open(options, scheme);
  await set(page, async () => {
    await page.getByLabel('Show tokens').check();
    await page.getByLabel('Seed').fill('7');
    await page.getByLabel('Most tokens').fill('80');
  });
  await say(page, 'Once upon a time there was a little');
  const tokens = page.getByRole('listbox', { name: 'Tokens' });
  await tokens.focus();
  for (let step = 0; step < 12; step++) await page.keyboard.press('ArrowRight');
  await take(page, `tokens${suffix}`);
  await page.getByRole('button', { name: 'Model', exact: true }).click();
  await page.getByRole('heading', { name: 'Memory' }).waitFor();
  await page.waitForFunction(() => Array.from(document.images).every(({ complete }) => complete));
  await take(page, `model${suffix}`);
  await page.getByRole('heading', { name: 'State' }).evaluate((heading) => heading.scrollIntoView());
  await take(page, `memory${suffix}`);
  await page.close();
}

/** Milliseconds from asking for the page to its first words, on a machine so many times slower. */
async function firstPaint(slowdown: number): Promise<number> {
  const page = await playground.browser.newPage(desktop);
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('Emulation.setCPUThrottlingRate', { rate: slowdown });
  await page.goto(playground.server.url);
  await page.getByText('brook-7m continues texts').waitFor();
  const found = await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN);
  await page.close();
  return found;
}

const script = await readFile(join(playground.folder, 'playground.js'));
const paints: string[] = [];
for (const slowdown of [1, 4]) {
  const times: number[] = [];
  for (let run = 0; run < 5; run++) times.push(await firstPaint(slowdown));
  paints.push(`${times.toSorted((a, b) => a - b)[2]?.toFixed(0)} ms with the processor slowed ${slowdown} times`);
}
console.log(
  `script ${(gzipSync(script).length / 1000).toFixed(1)} kB compressed; first paint ${paints.join(', ')} (median of 5)`,
);
