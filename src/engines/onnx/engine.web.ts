// The onnx engine in a browser (or any thread that may wait): ONNX Runtime's WebAssembly module, on its own or with the GPU.
import { host } from '#host';
import { LfmError } from '../../tensor/index.ts';
import type { Engine } from '../engine.ts';
import { engineOver } from './engine.ts';
import type { OrtModule } from './wasm-module.ts';
import { heap, loadGpuModule, loadModule } from './wasm-module.ts';
import { turnTaker, wasmRuntime } from './wasm-runtime.ts';
import { webgpuRuntime } from './webgpu-runtime.ts';

export interface WebOptions {
  /**
   * URL of the folder with ort-wasm-simd-threaded.mjs and .wasm, and for a GPU ort-wasm-simd-threaded.asyncify.mjs and .wasm.
   * Default: where the code itself comes from.
   */
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

const VERSION = '1.30.0';
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
  const description = `${VERSION}, WebAssembly, ${count} ${count === 1 ? 'thread' : 'threads'}${why}`;
  const engine = engineOver(wasmRuntime(module, description, turns.take), { mapped, onClose: turns.close });
  return withHeap({ ...engine, prefersOneToken: true }, module);
}

/** The GPU that a browser offers. Errors: `no-webgpu` where there is none. */
export async function requestGpu(): Promise<GPUAdapter> {
  const adapter = await globalThis.navigator?.gpu?.requestAdapter({ powerPreference: 'high-performance' });
  if (adapter) return adapter;
  throw new LfmError('no-webgpu', 'This browser offers no GPU to pages: run the model in WebAssembly.');
}

/** Loads ONNX Runtime with its WebGPU provider. Errors: those of `onnxWebEngine`, `onnx-failed`. */
export async function onnxGpuEngine(
  adapter: GPUAdapter,
  { files, mapped = true }: Omit<WebOptions, 'threads'> = {},
): Promise<WebEngine> {
  const { maxBufferSize, maxStorageBufferBindingSize, maxComputeWorkgroupStorageSize } = adapter.limits;
  const { maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupSizeX } = adapter.limits;
  // Without `subgroups`: the provider's attention over them is wrong where a subgroup is small (4 in Chromium's software adapter).
  const device = await adapter.requestDevice({
    requiredLimits: {
      maxBufferSize,
      maxStorageBufferBindingSize,
      maxComputeWorkgroupStorageSize,
      maxComputeInvocationsPerWorkgroup,
      maxComputeWorkgroupSizeX,
    },
  });
  const module = await loadGpuModule(files ?? new URL('.', import.meta.url).href);
  const turns = turnTaker();
  const { description: name, vendor, architecture } = adapter.info;
  const description = `${VERSION}, WebGPU, ${name || [vendor, architecture].filter(Boolean).join(' ') || 'a GPU without a name'}`;
  const onClose = () => {
    turns.close();
    device.destroy();
  };
  const engine = engineOver(await webgpuRuntime(module, device, description, turns.take), { mapped, onClose });
  return withHeap(engine, module);
}

function withHeap(engine: Engine, module: OrtModule): WebEngine {
  return {
    ...engine,
    // Weights have one form there already, and a second would double their memory and the time of loading.
    keepsOneForm: true,
    get heapBytes() {
      return heap(module).byteLength;
    },
  };
}
