// The playground as tests and screenshots open it: built from its sources, served with real models, shown by the Chromium that is installed.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { build } from 'vite';
import { pageAssets } from '../src/cli/page.node.ts';
import { load } from '../src/generate/load.ts';
import { resolveModel } from '../src/generate/source.node.ts';
import type { RunningServer } from '../src/serve/index.ts';
import { serve } from '../src/serve/index.ts';
import { openChromium } from './chromium.ts';
import { ROOT } from './root.ts';
import { buildTab } from './tab-files.ts';

/** Windows that the page is looked at in. */
export const desktop = { viewport: { width: 1280, height: 800 } } as const;
export const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, colorScheme: 'dark' } as const;

export interface Playground extends AsyncDisposable {
  readonly server: RunningServer;
  readonly browser: Browser;
  /** Where the page was built into. */
  readonly folder: string;
}

/** `models`: names and what `load` takes for them; `adapters`: folders by name, of models by name. */
export async function openPlayground(
  executablePath: string,
  models: Readonly<Record<string, string>>,
  adapters: Readonly<Record<string, Readonly<Record<string, string>>>> = {},
): Promise<Playground> {
  const folder = await mkdtemp(join(tmpdir(), 'lfm-page-'));
  const tabFolder = join(folder, 'tab');
  await Promise.all([buildTab(tabFolder), buildPage(folder)]);
  const paths = await Promise.all(Object.values(models).map(pathOf));
  const server = await serve({
    models: Object.entries(models).map(([name, source], index) => ({
      name,
      path: paths[index],
      adapters: adapters[name],
      load: (signal) => load(source, { engine: { name: 'onnx', threads: 1 }, signal }),
    })),
    port: 0,
    assets: await pageAssets(folder),
    tabFolder,
  });
  await server.ready;
  const browser = await openChromium(executablePath);
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

async function buildPage(outDir: string): Promise<void> {
  // The folder of the tab's code lies in it.
  const options = { outDir, emptyOutDir: false };
  await build({ configFile: join(ROOT, 'web/vite.config.ts'), build: options, logLevel: 'error' });
}

async function pathOf(name: string): Promise<string | undefined> {
  const found = await resolveModel(name);
  return found.kind === 'definition' ? undefined : found.path;
}
