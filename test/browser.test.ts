// The entry point `.` as a browser gets it: one bundle without Node, within a size that a page can afford.
import { builtinModules } from 'node:module';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { describe, expect, it } from 'vitest';
import { ROOT } from './root.ts';

/** Bytes after gzip. Raise it knowingly: the change that does says what a page gets for it. Of late: lowering to ONNX, GGUF files; grammars, adapters. */
const BUDGET = 210_000;

const NATIVE = ['koffi', 'onnxruntime-node'];

describe('the bundle for a browser', () => {
  it('holds nothing of Node and stays within its budget', async () => {
    const result = await build({
      entryPoints: [join(ROOT, 'src/index.ts')],
      absWorkingDir: ROOT,
      bundle: true,
      write: false,
      minify: true,
      metafile: true,
      format: 'esm',
      platform: 'neutral',
      conditions: ['lfm-source', 'browser', 'import'],
      mainFields: ['module', 'main'],
      external: [...NATIVE, 'node:*', ...builtinModules],
      logLevel: 'silent',
    });
    const inputs = Object.entries(result.metafile.inputs);
    const outside = inputs.flatMap(([file, { imports }]) =>
      imports.filter(({ external }) => external).map(({ path }) => `${file} imports ${path}`),
    );
    expect(outside).toEqual([]);
    expect(inputs.map(([file]) => file).filter((file) => file.endsWith('.node.ts'))).toEqual([]);
    expect(inputs.map(([file]) => file)).not.toContain('src/host/node.ts');

    const size = result.outputFiles.reduce((sum, { contents }) => sum + gzipSync(contents).length, 0);
    const largest = inputs.toSorted(([, a], [, b]) => b.bytes - a.bytes).slice(0, 5);
    const blame = largest.map(([file, { bytes }]) => `${file} ${bytes}`).join(', ');
    expect(size, `gzip bytes; the largest sources are ${blame}`).toBeLessThan(BUDGET);
  });
});
