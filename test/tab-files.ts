// The code that a tab runs models with, bundled from source into a folder, as the build does it into dist/tab.
import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { ROOT } from './root.ts';

export async function buildTab(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await build({
    entryPoints: { worker: join(ROOT, 'src/web/worker.ts'), client: join(ROOT, 'src/web/client.ts') },
    absWorkingDir: ROOT,
    outdir: folder,
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'neutral',
    conditions: ['lfm-source', 'browser', 'import'],
    mainFields: ['module', 'main'],
    logLevel: 'warning',
  });
  const engine = fileURLToPath(new URL('.', import.meta.resolve('onnxruntime-web/wasm')));
  for (const kind of ['', '.asyncify'])
    for (const end of ['mjs', 'wasm']) {
      const file = `ort-wasm-simd-threaded${kind}.${end}`;
      await copyFile(join(engine, file), join(folder, file));
    }
}
