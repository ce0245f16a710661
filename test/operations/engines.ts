// Which engines the operations are tested on. One that is not present answers undefined, and its tests are skipped loudly.
import { existsSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Engine } from '../../src/engines/engine.ts';
import { referenceEngine } from '../../src/engines/reference/engine.ts';

export interface EngineEntry {
  readonly name: string;
  readonly load: () => Promise<Engine | undefined>;
}

/**
 * The engine that `src/engines/NAME/engine.node.ts` makes with its exported function NAMEEngine. Undefined, with a line
 * that says why, where the file does not exist or the native library is absent, which errors of these codes tell. An engine
 * that is there and does not start is an error.
 */
async function fromFolder(
  name: string,
  absentCodes: readonly string[],
  options: object = {},
): Promise<Engine | undefined> {
  const path = fileURLToPath(new URL(`../../src/engines/${name}/engine.node.ts`, import.meta.url));
  const absent = (why: string) =>
    console.warn(`!!! ENGINE ${name.toUpperCase()} IS ABSENT, ITS TESTS ARE SKIPPED: ${why}`);
  if (!existsSync(path)) {
    absent(`there is no src/engines/${name}/engine.node.ts`);
    return undefined;
  }
  const module: Record<string, unknown> = await import(pathToFileURL(path).href);
  const make = module[`${name}Engine`];
  if (typeof make !== 'function')
    throw new Error(`src/engines/${name}/engine.node.ts should export a function ${name}Engine.`);
  try {
    return (await make(options)) as Engine;
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && absentCodes.includes(String(error.code)))) throw error;
    absent(error.message);
    return undefined;
  }
}

/** The same lowering on ONNX Runtime's WebAssembly module, which Node runs too; its files come with onnxruntime-web. */
async function inWebAssembly(): Promise<Engine | undefined> {
  if (process.env['LFM_FULL'] !== '1') return undefined;
  const { onnxWebEngine } = await import('../../src/engines/onnx/engine.web.ts');
  return onnxWebEngine({ files: new URL('.', import.meta.resolve('onnxruntime-web/wasm')).href, threads: 1 });
}

export const engines: readonly EngineEntry[] = [
  { name: 'reference', load: () => Promise.resolve(referenceEngine()) },
  // One thread: starting a pool for each of two thousand small programs takes as long as running them.
  { name: 'onnx', load: () => fromFolder('onnx', ['onnx-library-missing'], { threads: 1 }) },
  { name: 'onnx-web', load: inWebAssembly },
  { name: 'xla', load: () => fromFolder('xla', ['plugin-missing', 'engine-absent']) },
];
