// lfm as one file for a bare machine, which needs only node, and beside it koffi and the package.json of lfm:
//
//   npx tsx bench/bundle.ts lfm-bench.mjs                  # or another entry point: ... gpu.mjs bench/main.ts
//   node lfm-bench.mjs benchmark train --engine xla --shape 350m --batch 8 --length 2048 --mesh data=2
//   node lfm-bench.mjs evaluate ./model --tasks hellaswag,piqa --data data --engine xla --dtype bfloat16
//
// The plug-in and CUDA's libraries come from Python's packages there, or --plugin. ONNX Runtime stays behind.
import { bundled } from './bundled.ts';

const [outfile = 'lfm-bench.mjs', entry = 'src/cli/main.node.ts'] = process.argv.slice(2);
await bundled(entry, outfile, {
  external: ['koffi'],
  // commander is CommonJS and asks for Node's modules by require, which a module has not got.
  banner: {
    js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);",
  },
});
