// The system's Chromium for tests in a real browser. Nothing is downloaded: where there is none, tests say so and are skipped.
import { existsSync } from 'node:fs';
import type { Browser } from 'playwright-core';
import { chromium } from 'playwright-core';

const places = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const { LFM_CHROMIUM: chosen } = process.env;

/** Its path; undefined, with a line that says so, where there is none. */
export function findChromium(): string | undefined {
  const found = [...(chosen ? [chosen] : []), ...places].find((path) => existsSync(path));
  if (!found)
    console.warn('!!! CHROMIUM IS ABSENT, TESTS IN A BROWSER ARE SKIPPED: install it, or name it in LFM_CHROMIUM');
  return found;
}

export function openChromium(executablePath: string, args: readonly string[] = []): Promise<Browser> {
  // Text in shades of grey makes smaller pictures.
  return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-lcd-text', ...args] });
}
