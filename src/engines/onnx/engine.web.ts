// The onnx engine in a browser (or any thread that may wait): ONNX Runtime's WebAssembly module.
import { host } from '#host';
import type { Engine } from '../engine.ts';
import { engineOver } from './engine.ts';
import { heap, loadModule } from './wasm-module.ts';
import { turnTaker, wasmRuntime } from './wasm-runtime.ts';

export interface WebOptions {
  /** URL of the folder with ort-wasm-simd-threaded.mjs and .wasm. Default: where the code itself comes from. */
  readonly files?: string | undefined;
  /** Default: one for each core, up to 8, where the page is isolated; else one, which is all that such a page may have. */
  readonly threads?: number | undefined;
  /** False: composites are expanded even where a kernel is mapped (to compare the two). */
  readonly mapped?: boolean;
}

export interface WebEngine extends Engine {
  /** The module's memory in bytes: it grows and never shrinks. */
  readonly heapBytes: number;
}

const MOST_THREADS = 8;

/** Whether threads may share memory here. */
export function mayShareMemory(): boolean {
  return host.name === 'node' || globalThis.crossOriginIsolated;
}

/** Loads ONNX Runtime. Runs hold the thread: use it in a worker. Errors: `onnx-library-missing`, `onnx-library-load`. */
export async function onnxWebEngine({ files, threads, mapped = true }: WebOptions = {}): Promise<WebEngine> {
  const wanted = threads ?? Math.min(MOST_THREADS, host.coreCount());
  const count = mayShareMemory() ? wanted : 1;
  const module = await loadModule(files ?? new URL('.', import.meta.url).href, count);
  const turns = turnTaker();
  const why = count < wanted ? ', since the page is not cross-origin isolated' : '';
  const description = `1.30.0, WebAssembly, ${count} ${count === 1 ? 'thread' : 'threads'}${why}`;
  const engine = engineOver(wasmRuntime(module, description, turns.take), { mapped, onClose: turns.close });
  return {
    ...engine,
    // Packed weights are bytes by rows already, and a second form would double their memory and the time of loading.
    keepsOneForm: true,
    get heapBytes() {
      return heap(module).byteLength;
    },
  };
}
