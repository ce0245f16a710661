// Builds the playground into dist/web, whence `lfm serve` reads it. `npx vite web` serves it from its sources, beside `lfm serve`.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const server = 'http://127.0.0.1:8080';

/** What the bundle is made of asks to be named in every copy. */
const licenses = ['preact', 'marked'].map((name) => {
  const license = readFileSync(at(`../node_modules/${name}/LICENSE`), 'utf8');
  return `${name}\n\n${license}`;
});

export default defineConfig({
  root: at('.'),
  esbuild: { jsx: 'automatic', jsxImportSource: 'preact' },
  plugins: [
    {
      name: 'licenses',
      generateBundle() {
        this.emitFile({ type: 'asset', fileName: 'licenses.txt', source: licenses.join('\n\n') });
      },
    },
  ],
  build: {
    outDir: at('../dist/web'),
    emptyOutDir: true,
    target: 'es2022',
    // It would be an inline script, which the page's policy forbids.
    modulePreload: { polyfill: false },
    rollupOptions: { output: { entryFileNames: 'playground.js', assetFileNames: 'playground[extname]' } },
  },
  // The server lets pages of its own origin ask, and no others.
  server: {
    proxy: Object.fromEntries(
      ['/v1', '/tab'].map((path) => [path, { target: server, changeOrigin: true, headers: { origin: server } }]),
    ),
  },
});
