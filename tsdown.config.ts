// The build: one ES module a package entry point, shared chunks between them, declarations beside them.
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
  'engines/reference/index': 'src/engines/reference/index.ts',
  'engines/onnx/index': 'src/engines/onnx/index.ts',
  'engines/xla/index': 'src/engines/xla/index.ts',
};

export default defineConfig({
  entry: entries,
  format: 'esm',
  target: 'node20',
  platform: 'neutral',
  dts: true,
  fixedExtension: false,
  checks: { pluginTimings: false },
  deps: { neverBundle: [/^#(host|engine|source)$/, /^node:/] },
});
