// The build: one ES module a package entry point, shared chunks between them, declarations beside them; and dist/tab, what a
// browser loads without a bundler to run a model itself, with the engine's files of onnxruntime-web.
import { copyFile } from 'node:fs/promises';
import { defineConfig } from 'tsdown';

const entries = {
  index: 'src/index.ts',
  cli: 'src/cli/main.node.ts',
  'host/node': 'src/host/node.ts',
  'host/browser': 'src/host/browser.ts',
  'engines/default.node': 'src/engines/default.node.ts',
  'engines/default': 'src/engines/default.ts',
  'generate/source.node': 'src/generate/source.node.ts',
  'generate/source.browser': 'src/generate/source.browser.ts',
  'tensor/index': 'src/tensor/index.ts',
  'liquid/index': 'src/liquid/index.ts',
  'train/index': 'src/train/index.ts',
  'serve/index': 'src/serve/index.ts',
  'ai/index': 'src/ai/index.ts',
  'engines/reference/index': 'src/engines/reference/index.ts',
  'engines/onnx/index': 'src/engines/onnx/index.ts',
  'engines/xla/index': 'src/engines/xla/index.ts',
};

const library = defineConfig({
  entry: entries,
  format: 'esm',
  target: 'node20',
  platform: 'neutral',
  dts: true,
  fixedExtension: false,
  checks: { pluginTimings: false },
  deps: { neverBundle: [/^#(host|engine|source)$/, /^node:/] },
});

/** In WebAssembly alone, and with a GPU. */
const ENGINE_FILES = ['', '.asyncify'].flatMap((kind) =>
  ['mjs', 'wasm'].map((end) => `ort-wasm-simd-threaded${kind}.${end}`),
);

/** Each file whole in itself: a worker's script is loaded by its URL alone. */
const tab = ['client', 'worker'].map((name) =>
  defineConfig({
    entry: { [name]: `src/web/${name}.ts` },
    outDir: 'dist/tab',
    clean: false,
    format: 'esm',
    target: 'es2022',
    platform: 'browser',
    dts: name === 'client',
    fixedExtension: false,
    minify: true,
    checks: { pluginTimings: false },
    deps: { alwaysBundle: [/./] },
    inputOptions: { resolve: { conditionNames: ['lfm-source', 'browser', 'import'] } },
    outputOptions: { codeSplitting: false },
    hooks: {
      'build:done': async () => {
        for (const file of ENGINE_FILES)
          await copyFile(new URL(`node_modules/onnxruntime-web/dist/${file}`, import.meta.url), `dist/tab/${file}`);
      },
    },
  }),
);

export default [library, ...tab];
