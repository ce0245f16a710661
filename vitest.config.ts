// Tests run from source: the `lfm-source` condition makes `lfm/...` and `#host` name files under src/.
import { fileURLToPath } from 'node:url';
import { defaultServerConditions } from 'vite';
import { defineConfig } from 'vitest/config';

const source = fileURLToPath(new URL('src', import.meta.url));
const conditions = ['lfm-source', ...defaultServerConditions];

export default defineConfig({
  // For examples/, which have a package.json of their own and so do not see this package by its name.
  resolve: { alias: [{ find: /^lfm\/(liquid|tensor)$/, replacement: `${source}/$1/index.ts` }] },
  ssr: { resolve: { conditions } },
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts', 'web/**/*.test.ts'],
    execArgv: ['--conditions=lfm-source'],
    reporters: ['default', './test/reporter.ts'],
    testTimeout: 30_000,
  },
});
