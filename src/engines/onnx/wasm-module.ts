// ONNX Runtime as a WebAssembly module: the two files ort-wasm-simd-threaded.mjs and .wasm of onnxruntime-web, whose exported
// functions are called directly, since the package's own interface copies every input and output of every run.
// Written for 1.30; the calls are those of its wasm-types.ts. Pointers are numbers, places in the module's memory.
import { LfmError } from '../../tensor/error.ts';

export type Pointer = number;

/** What is used of the module. Calls answer 0 for success where they answer a status, 0 for failure where they make something. */
export interface OrtModule {
  readonly HEAPU8: Uint8Array;
  _malloc(bytes: number): Pointer;
  _free(pointer: Pointer): void;
  getValue(pointer: Pointer, type: 'i8' | 'i32' | '*'): number;
  setValue(pointer: Pointer, value: number, type: 'i32' | '*'): void;
  _OrtInit(threads: number, logLevel: number): number;
  _OrtGetLastError(code: Pointer, message: Pointer): number;
  _OrtCreateSessionOptions(
    optimization: number,
    cpuArena: boolean,
    memoryPattern: boolean,
    executionMode: number,
    profiling: boolean,
    profilePrefix: Pointer,
    logId: Pointer,
    logLevel: number,
    logVerbosity: number,
    optimizedModelPath: Pointer,
  ): Pointer;
  _OrtAddSessionConfigEntry(options: Pointer, key: Pointer, value: Pointer): number;
  _OrtReleaseSessionOptions(options: Pointer): number;
  _OrtCreateSession(model: Pointer, bytes: number, options: Pointer): Pointer | Promise<Pointer>;
  _OrtReleaseSession(session: Pointer): number;
  /** Where there is the provider. */
  webgpuOnReleaseSession?(session: Pointer): void;
  _OrtCreateTensor(type: number, data: Pointer, bytes: number, dims: Pointer, rank: number, location: number): Pointer;
  _OrtReleaseTensor(tensor: Pointer): number;
  _OrtRun(
    session: Pointer,
    inputNames: Pointer,
    inputs: Pointer,
    inputCount: number,
    outputNames: Pointer,
    outputCount: number,
    outputs: Pointer,
    runOptions: Pointer,
  ): number | Promise<number>;
}

/** Of the module with the WebGPU provider (its post-webgpu.js). Calls that may wait for the GPU answer promises. */
export interface GpuModule extends OrtModule {
  asyncInit?(): void;
  webgpuInit(onDevice: (device: GPUDevice) => void): void;
  /** Of the session that is made next: what the provider knows the device by. */
  webgpuRegisterDevice(device: GPUDevice): readonly [id: number, instance: Pointer, device: Pointer];
  webgpuOnCreateSession(session: Pointer): void;
  webgpuRegisterBuffer(buffer: GPUBuffer, session: Pointer): Pointer;
  webgpuUnregisterBuffer(buffer: GPUBuffer): void;
  _OrtAppendExecutionProvider(
    options: Pointer,
    name: Pointer,
    keys: Pointer,
    values: Pointer,
    count: number,
  ): number | Promise<number>;
}

type Factory<M> = (settings: {
  readonly numThreads: number;
  readonly locateFile: (file: string) => string;
}) => Promise<M>;

const CPU_LOADER = 'ort-wasm-simd-threaded.mjs';
const GPU_LOADER = 'ort-wasm-simd-threaded.asyncify.mjs';
const WARNINGS = 2;

/**
 * Loads the module from a folder's URL and starts `threads` threads, this one among them.
 * Errors: `onnx-library-missing` where the files are not there, `onnx-library-load` where they do not run.
 */
export const loadModule = (folder: string, threads: number): Promise<OrtModule> =>
  start<OrtModule>(CPU_LOADER, folder, threads);

/** The same of the module with the WebGPU provider. */
export const loadGpuModule = (folder: string): Promise<GpuModule> => start<GpuModule>(GPU_LOADER, folder, 1);

async function start<M extends OrtModule>(loader: string, folder: string, threads: number): Promise<M> {
  const base = folder.endsWith('/') ? folder : `${folder}/`;
  let factory: Factory<M>;
  try {
    const loaded: { readonly default: Factory<M> } = await import(/* @vite-ignore */ `${base}${loader}`);
    factory = loaded.default;
  } catch (cause) {
    throw new LfmError(
      'onnx-library-missing',
      `Expected ${loader} and its .wasm file, of onnxruntime-web 1.30, at ${base}: serve the two files there.`,
      { cause },
    );
  }
  let module: M;
  try {
    module = await factory({ numThreads: threads, locateFile: (file) => `${base}${file}` });
  } catch (cause) {
    throw new LfmError('onnx-library-load', `The WebAssembly module of ${base} did not start: ${String(cause)}`, {
      cause,
    });
  }
  check(module, module._OrtInit(threads, WARNINGS), 'start');
  return module;
}

/** The module's memory. It may move whenever something is allocated: ask for it anew. */
export function heap(module: OrtModule): Uint8Array {
  // Reading a value renews the views, which are stale once another thread has made the memory grow.
  module.getValue(0, 'i8');
  return module.HEAPU8;
}

/** Errors: `onnx-out-of-memory`. */
export function allocate(module: OrtModule, bytes: number): Pointer {
  const pointer = module._malloc(Math.max(1, bytes));
  if (pointer !== 0) return pointer >>> 0;
  throw new LfmError(
    'onnx-out-of-memory',
    `The tab has no ${bytes} bytes more for the model, which has at most 4 GB in all: take a smaller one.`,
  );
}

/** A text in the module's memory, for the length of a call. */
export function withText<R>(module: OrtModule, text: string, use: (pointer: Pointer) => R): R {
  const pointer = placeText(module, text);
  try {
    return use(pointer);
  } finally {
    module._free(pointer);
  }
}

/** The same, to be freed by the caller. */
export function placeText(module: OrtModule, text: string): Pointer {
  const bytes = new TextEncoder().encode(`${text}\0`);
  const pointer = allocate(module, bytes.length);
  heap(module).set(bytes, pointer);
  return pointer;
}

/** Errors: `onnx-failed` with what the runtime says, where a status is not 0. */
export function check(module: OrtModule, status: number, task: string): void {
  if (status === 0) return;
  throw lastError(module, task);
}

/** The runtime's account of what went wrong last. */
export function lastError(module: OrtModule, task: string): LfmError {
  const place = allocate(module, 8);
  try {
    module._OrtGetLastError(place, place + 4);
    const start = module.getValue(place + 4, '*') >>> 0;
    const memory = heap(module);
    const end = start === 0 ? 0 : memory.indexOf(0, start);
    // A copy: shared memory cannot be decoded.
    const message = new TextDecoder().decode(memory.slice(start, end));
    return new LfmError('onnx-failed', `ONNX Runtime could not ${task}: ${message || 'it does not say why'}`);
  } finally {
    module._free(place);
  }
}
