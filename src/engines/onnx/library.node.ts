// Loads the ONNX Runtime library that ships inside onnxruntime-node and names the C functions we call, through koffi.
// Pointers are BigInts. Nothing here knows sessions or tensors.

import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import koffi, { type LibraryHandle, stackSize } from '../koffi.node.ts';
import { LfmError } from '../../tensor/error.ts';
import { mapLargeBlocks } from './memory.node.ts';
import { renameLibrary } from './soname.node.ts';

const expectedVersion = '1.30.0';
const apiVersion = 30;

/** Only linux-x64 has been run; the other paths are where the package keeps their libraries. */
const libraryFiles: Readonly<Record<string, string>> = {
  'linux-x64': 'linux/x64/libonnxruntime.so.1',
  'linux-arm64': 'linux/arm64/libonnxruntime.so.1',
  'darwin-arm64': 'darwin/arm64/libonnxruntime.1.dylib',
  'win32-x64': 'win32/x64/onnxruntime.dll',
  'win32-arm64': 'win32/arm64/onnxruntime.dll',
};

/** A path is a wide string on Windows. */
const path = process.platform === 'win32' ? 'const char16_t *' : 'const char *';

/**
 * Positions in struct OrtApi (onnxruntime_c_api.h), which is only ever appended to, and the arguments.
 * Each of these returns an OrtStatus*, null for success.
 */
const statusCalls = {
  createEnv: [3, ['int', 'const char *', 'void *']],
  run: [9, ['void *', 'void *', 'void *', 'void *', 'size_t', 'void *', 'size_t', 'void *']],
  createSessionOptions: [10, ['void *']],
  setOptimizedModelFilePath: [11, ['void *', path]],
  setSessionExecutionMode: [13, ['void *', 'int']],
  enableProfiling: [14, ['void *', path]],
  enableMemPattern: [16, ['void *']],
  disableMemPattern: [17, ['void *']],
  enableCpuMemArena: [18, ['void *']],
  disableCpuMemArena: [19, ['void *']],
  setSessionGraphOptimizationLevel: [23, ['void *', 'int']],
  setIntraOpNumThreads: [24, ['void *', 'int']],
  setInterOpNumThreads: [25, ['void *', 'int']],
  createRunOptions: [39, ['void *']],
  createTensorWithData: [49, ['void *', 'void *', 'size_t', 'void *', 'size_t', 'int', 'void *']],
  getTensorMutableData: [51, ['void *', 'void *']],
  getTensorElementType: [60, ['void *', 'void *']],
  getDimensionsCount: [61, ['void *', 'void *']],
  getDimensions: [62, ['void *', 'void *', 'size_t']],
  getTensorTypeAndShape: [65, ['void *', 'void *']],
  createCpuMemoryInfo: [69, ['int', 'int', 'void *']],
  allocatorFree: [76, ['void *', 'void *']],
  getAllocatorWithDefaultOptions: [78, ['void *']],
  sessionEndProfiling: [110, ['void *', 'void *', 'void *']],
  getAvailableProviders: [125, ['void *', 'void *']],
  releaseAvailableProviders: [126, ['void *', 'int']],
  addSessionConfigEntry: [130, ['void *', 'const char *', 'const char *']],
  createAndRegisterAllocator: [144, ['void *', 'void *', 'void *']],
  addInitializer: [150, ['void *', 'const char *', 'void *']],
  addRunConfigEntry: [165, ['void *', 'const char *', 'const char *']],
  createPrepackedWeightsContainer: [166, ['void *']],
  createSessionFromArray: [8, ['void *', 'void *', 'size_t', 'void *', 'void *']],
  createSessionFromArrayWithPrepackedWeights: [169, ['void *', 'void *', 'size_t', 'void *', 'void *', 'void *']],
  addExternalInitializers: [210, ['void *', 'const char **', 'void *', 'size_t']],
  appendExecutionProvider: [216, ['void *', 'const char *', 'const char **', 'const char **', 'size_t']],
} as const;

/** Each of these takes the pointer to release and returns nothing. */
const releaseCalls = {
  releaseStatus: 93,
  releaseSession: 95,
  releaseValue: 96,
  releaseTensorTypeAndShapeInfo: 99,
  releaseSessionOptions: 100,
  releasePrepackedWeightsContainer: 167,
} as const;

export type Pointer = bigint;
/** Out-parameters are passed as typed arrays that the function writes into. */
export type Argument = Pointer | number | string | null | ArrayBufferView | readonly string[];
type Callback = (error: Error | null, result: unknown) => void;
export interface NativeFunction<Result> {
  (...args: readonly Argument[]): Result;
  async(...args: readonly [...Argument[], Callback]): void;
}
export type Status = Pointer | null;
type Calls = { readonly [Name in keyof typeof statusCalls]: NativeFunction<Status> };
type Releases = { readonly [Name in keyof typeof releaseCalls]: (pointer: Pointer) => void };

/** The order of OrtErrorCode. */
const errorCodes = [
  'ok',
  'failed',
  'invalid-argument',
  'no-such-file',
  'no-model',
  'engine-error',
  'runtime-exception',
  'invalid-protobuf',
  'model-loaded',
  'not-implemented',
  'invalid-graph',
  'provider-failed',
  'load-canceled',
  'requires-compile',
  'not-found',
  'device-reset',
];

/** The library, loaded, with one environment. */
export class Library {
  readonly version = expectedVersion;
  readonly calls: Calls;
  readonly releases: Releases;
  /** OrtEnv: lives as long as the process, as the library asks. */
  readonly environment: Pointer;
  /** OrtMemoryInfo of ordinary host memory. */
  readonly hostMemory: Pointer;
  /** The library's own allocator, which frees what it hands out. */
  readonly allocator: Pointer;
  readonly #errorCode: (status: Pointer) => number;
  readonly #errorMessage: (status: Pointer) => string;

  constructor(file: string) {
    checkStacks();
    const loaded = load(file);
    const base = koffi.decode(loaded.func('void *OrtGetApiBase()')(), koffi.array('void *', 2)) as Pointer[];
    renameLibrary(base[0] ?? 0n);
    const method = (pointer: Pointer | undefined, result: string, args: readonly string[]): unknown =>
      koffi.decode(pointer, koffi.proto(result, [...args]));
    const version = (method(base[1], 'const char *', []) as () => string)();
    if (version !== expectedVersion) {
      const found = `found ${version}: ${file}`;
      throw new LfmError(
        'onnx-library-version',
        `Expected ONNX Runtime ${expectedVersion}, ${found}. Install onnxruntime-node ${expectedVersion}.`,
      );
    }
    const api = (method(base[0], 'void *', ['uint32_t']) as (version: number) => Pointer)(apiVersion);
    const at = (index: number): Pointer => koffi.decode(api, index * 8, 'void *') as Pointer;
    this.calls = Object.fromEntries(
      Object.entries(statusCalls).map(([name, [index, args]]) => [name, method(at(index), 'void *', args)]),
    ) as Calls;
    this.releases = Object.fromEntries(
      Object.entries(releaseCalls).map(([name, index]) => [name, method(at(index), 'void', ['void *'])]),
    ) as Releases;
    this.#errorCode = method(at(1), 'int', ['void *']) as (status: Pointer) => number;
    this.#errorMessage = method(at(2), 'const char *', ['void *']) as (status: Pointer) => string;

    // Level 4 prints fatal messages only: every lesser error comes back as a status, and becomes an LfmError.
    this.environment = this.pointer('create its environment', (out) => this.calls.createEnv(4, 'lfm', out));
    this.hostMemory = this.pointer('describe host memory', (out) => this.calls.createCpuMemoryInfo(1, 0, out));
    this.allocator = this.pointer('find its allocator', (out) => this.calls.getAllocatorWithDefaultOptions(out));
  }

  /** Throws what went wrong, if anything; `task` completes the sentence "ONNX Runtime could not …". */
  check(status: Status, task: string): void {
    if (status !== null) throw this.error(status, task);
  }

  /** The error a status holds; the status is released. */
  error(status: Pointer, task: string): LfmError {
    const code = errorCodes[this.#errorCode(status)] ?? 'failed';
    const message = this.#errorMessage(status);
    this.releases.releaseStatus(status);
    return new LfmError(`onnx-${code}`, `ONNX Runtime could not ${task}: ${message}`);
  }

  /** Calls a function whose last parameter is a pointer to write, and returns what it wrote. */
  pointer(task: string, call: (out: BigUint64Array) => Status): Pointer {
    const out = new BigUint64Array(1);
    this.check(call(out), task);
    return out[0] ?? 0n;
  }

  /** Execution providers compiled into the library, by ONNX Runtime's names, preferred ones first. */
  availableProviders(): string[] {
    const names = new BigUint64Array(1);
    const count = new Int32Array(1);
    this.check(this.calls.getAvailableProviders(names, count), 'list its providers');
    const [list = 0n] = names;
    const [length = 0] = count;
    const providers = koffi.decode(list, koffi.array('const char *', length)) as string[];
    this.check(this.calls.releaseAvailableProviders(list, length), 'release its list of providers');
    return providers;
  }

  /** Reads a string that the library allocated, and frees it. */
  takeString(pointer: Pointer): string {
    const text = koffi.decode.string(pointer);
    this.check(this.calls.allocatorFree(this.allocator, pointer), 'free a string');
    return text;
  }
}

/** What calls in flight use, out of the garbage collector's reach. */
const inFlight = new Set<object>();

/**
 * Makes a call on a thread of libuv's pool (four of them, unless UV_THREADPOOL_SIZE says otherwise; more calls wait).
 * `args`, and whatever `keep` refers to, stay alive until it has ended.
 */
export function callAsync(call: NativeFunction<Status>, args: readonly Argument[], keep?: object): Promise<Status> {
  return new Promise((resolve, reject) => {
    const token = { args, keep };
    call.async(...args, (error, status) => {
      inFlight.delete(token);
      if (error) reject(error);
      else resolve(status as Status);
    });
    inFlight.add(token);
  });
}

let opened: Library | undefined;

/**
 * The library of this platform, loaded on first use and kept for the life of the process.
 * @throws LfmError onnx-library-platform, onnx-library-missing, onnx-library-load, onnx-library-version
 */
export function library(): Library {
  if (!opened) {
    mapLargeBlocks();
    opened = new Library(locateLibrary());
  }
  return opened;
}

/** Path of the shared library for a platform, within the installed onnxruntime-node. */
export function locateLibrary(platform: string = process.platform, arch: string = process.arch): string {
  const file = libraryFiles[`${platform}-${arch}`];
  if (file === undefined) {
    const expected = Object.keys(libraryFiles).join(', ');
    throw new LfmError(
      'onnx-library-platform',
      `Expected one of ${expected} for ONNX Runtime's library, found ${platform}-${arch}. Use the WASM engine there.`,
    );
  }
  let manifest: string;
  try {
    manifest = createRequire(import.meta.url).resolve('onnxruntime-node/package.json');
  } catch (cause) {
    const message =
      'Expected the package onnxruntime-node to be installed, found none. Run npm install onnxruntime-node.';
    throw new LfmError('onnx-library-missing', message, { cause });
  }
  return join(dirname(manifest), 'bin', 'napi-v6', file);
}

/** koffi unloads a library when its handle is collected, whatever pointers into it are still in use. */
const handles: LibraryHandle[] = [];

function load(file: string): LibraryHandle {
  try {
    const handle = koffi.load(file);
    handles.push(handle);
    return handle;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const remedy = 'Reinstall onnxruntime-node, or on an older or musl-based Linux use the WASM engine';
    throw new LfmError('onnx-library-load', `Expected to load ${file}, found: ${reason}. ${remedy}.`, { cause });
  }
}

function checkStacks(): void {
  const { async_stack_size: present = 0 } = koffi.config();
  if (present >= stackSize) return;
  const message =
    `Expected koffi's async_stack_size to be at least ${stackSize}, found ${present}, and another module has already ` +
    'loaded a library through koffi. Import the onnx engine first, or set koffi.config before that.';
  throw new LfmError('onnx-library-stack', message);
}
