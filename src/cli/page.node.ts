// The playground for a server: its built files, and a browser that opens it.
import { spawn } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { findPackage } from '../host/package.node.ts';
import type { Asset } from '../serve/index.ts';
import { LfmError } from '../tensor/error.ts';

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.txt': 'text/plain; charset=utf-8',
};

/** What is served at / and beside it: the files that `vite build web` wrote. Errors: `package-broken`. */
export async function pageAssets(folder?: string): Promise<Map<string, Asset>> {
  const from = folder ?? join((await findPackage()).folder, 'dist/web');
  const files = await readdir(from).catch(() => []);
  const assets = new Map<string, Asset>();
  for (const file of files) {
    const type = types[extname(file)];
    const path = file === 'index.html' ? '/' : `/${file}`;
    if (type !== undefined) assets.set(path, { type, body: await readFile(join(from, file), 'utf8') });
  }
  if (!assets.has('/'))
    throw new LfmError(
      'package-broken',
      `The playground is not at ${from}: in a checkout of lfm, npm run build makes it.`,
    );
  return assets;
}

/** Whether a browser could show itself here: not in a bare terminal or over ssh. */
export function hasDisplay(): boolean {
  const { DISPLAY, WAYLAND_DISPLAY, SSH_CONNECTION } = process.env;
  if (process.platform === 'darwin' || process.platform === 'win32') return !SSH_CONNECTION;
  return Boolean(DISPLAY || WAYLAND_DISPLAY);
}

/** Where there is no browser, the address has been said. */
export function openBrowser(url: string): void {
  const [command = '', ...words] =
    process.platform === 'darwin' ? ['open'] : process.platform === 'win32' ? ['cmd', '/c', 'start', ''] : ['xdg-open'];
  const child = spawn(command, [...words, url], { stdio: 'ignore', detached: true });
  child.on('error', () => undefined);
  child.unref();
}
