// The playground as tests and screenshots open it: built from its sources, served with real models, shown by the Chromium that is installed.
import { accessSync, constants } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Browser } from 'playwright-core';
import { chromium } from 'playwright-core';
import { build } from 'vite';
import { pageAssets } from '../src/cli/page.node.ts';
import { load } from '../src/generate/load.ts';
import type { RunningServer } from '../src/serve/index.ts';
import { serve } from '../src/serve/index.ts';
import { ROOT } from './root.ts';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome', 'microsoft-edge'];
const PLACES = [
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe',
];

/** Windows that the page is looked at in. */
export const desktop = { viewport: { width: 1280, height: 800 } } as const;
export const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, colorScheme: 'dark' } as const;

/** A browser of Chromium's kind, where one is installed. */
export function findChromium(): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const candidates = [...folders.flatMap((folder) => NAMES.map((name) => join(folder, name))), ...PLACES];
  return candidates.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

export interface Playground extends AsyncDisposable {
  readonly server: RunningServer;
  readonly browser: Browser;
  /** Where the page was built into. */
  readonly folder: string;
}

/** `models`: names and what `load` takes for them. */
export async function openPlayground(
  executablePath: string,
  models: Readonly<Record<string, string>>,
): Promise<Playground> {
  const folder = await mkdtemp(join(tmpdir(), 'lfm-page-'));
  await build({ configFile: join(ROOT, 'web/vite.config.ts'), build: { outDir: folder }, logLevel: 'error' });
  const server = await serve({
    models: Object.entries(models).map(([name, source]) => ({
      name,
      load: (signal) => load(source, { engine: { name: 'onnx', threads: 1 }, signal }),
    })),
    port: 0,
    assets: await pageAssets(folder),
  });
  await server.ready;
  // Text in shades of grey makes smaller pictures. As root, which a container often is, the sandbox cannot start.
  const args = ['--disable-lcd-text', ...(process.getuid?.() === 0 ? ['--no-sandbox'] : [])];
  const browser = await chromium.launch({ executablePath, args });
  return {
    server,
    browser,
    folder,
    async [Symbol.asyncDispose]() {
      await browser.close();
      await server.close(0);
      await rm(folder, { recursive: true });
    },
  };
}
