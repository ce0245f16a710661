// Turns a session's options into an OrtSessionOptions.

import { LfmError } from '../../tensor/error.ts';
import { ARENA_CONFIG, registerArena } from './arena.node.ts';
import type { Library, Pointer, Status } from './library.node.ts';
import type { PrepackedWeights } from './prepacked.node.ts';
import type { Value } from './value.node.ts';

/** How much of the graph the runtime may rewrite: `basic` keeps to standard operators, `all` also changes layouts. */
export type Optimization = 'none' | 'basic' | 'extended' | 'all';

export type ProviderName = 'cpu' | 'webgpu' | 'coreml' | 'dml';

export interface SessionOptions {
  /** Threads within one operator; default: one for each physical core. Operators themselves run one after another. */
  readonly intraOpThreads?: number;
  /** Default 'all'. */
  readonly optimization?: Optimization;
  /** Settings by ONNX Runtime's keys, such as 'session.intra_op.allow_spinning': '0'. */
  readonly config?: Readonly<Record<string, string>>;
  /** Plan memory once for repeated shapes; default true. */
  readonly memoryPattern?: boolean;
  /** Keep freed scratch memory for the next run; default true. */
  readonly cpuArena?: boolean;
  /** Take scratch memory from the one arena that all such sessions share, which gives back what it does not need for long. */
  readonly sharedArena?: boolean;
  /** Where operators run that this provider supports; the rest run on the CPU. Default 'cpu'. */
  readonly provider?: ProviderName;
  readonly providerOptions?: Readonly<Record<string, string>>;
  /**
   * The memory of initializers that the model declares without data. It is used in place, not copied, and kept as long
   * as the session; their values must not change once the session exists, since the runtime may repack them.
   */
  readonly initializers?: Readonly<Record<string, Value>>;
  /** Initializers that kernels lay out anew and do not read afterwards: the caller keeps them until the session is made. */
  readonly passing?: Readonly<Record<string, Value>>;
  /** Repacked weights shared between the sessions that are given the same `initializers`. */
  readonly prepackedWeights?: PrepackedWeights;
  /** Where to save the model as optimised. */
  readonly optimizedModelPath?: string;
  /** Measure every operator, into a JSON file whose name begins so; see Session.endProfiling. */
  readonly profilePrefix?: string;
}

const levels: Readonly<Record<Optimization, number>> = { none: 0, basic: 1, extended: 2, all: 99 };
const providers: Readonly<Record<Exclude<ProviderName, 'cpu'>, string>> = {
  webgpu: 'WebGpuExecutionProvider',
  coreml: 'CoreMLExecutionProvider',
  dml: 'DmlExecutionProvider',
};

/**
 * An OrtSessionOptions, which the caller releases.
 * @throws LfmError onnx-provider when this build of the library lacks the provider
 */
export function makeSessionOptions(library: Library, options: SessionOptions): Pointer {
  const { calls } = library;
  const pointer = library.pointer('make session options', (out) => calls.createSessionOptions(out));
  const set = (setting: string, status: Status) => library.check(status, `set ${setting}`);
  try {
    set('sequential execution', calls.setSessionExecutionMode(pointer, 0));
    set('interOpThreads to 1', calls.setInterOpNumThreads(pointer, 1));
    const { intraOpThreads = 0, optimization = 'all', memoryPattern = true, cpuArena = true } = options;
    set(`intraOpThreads to ${intraOpThreads}`, calls.setIntraOpNumThreads(pointer, intraOpThreads));
    set(`optimization ${optimization}`, calls.setSessionGraphOptimizationLevel(pointer, levels[optimization]));
    set('memoryPattern', memoryPattern ? calls.enableMemPattern(pointer) : calls.disableMemPattern(pointer));
    set('cpuArena', cpuArena ? calls.enableCpuMemArena(pointer) : calls.disableCpuMemArena(pointer));
    if (options.sharedArena) registerArena();
    const config = { ...options.config, ...(options.sharedArena && { [ARENA_CONFIG]: '1' }) };
    for (const [key, value] of Object.entries(config)) {
      set(`${key} to ${value}`, calls.addSessionConfigEntry(pointer, key, value));
    }
    if (options.optimizedModelPath !== undefined) {
      set('optimizedModelPath', calls.setOptimizedModelFilePath(pointer, options.optimizedModelPath));
    }
    if (options.profilePrefix !== undefined) {
      set('profilePrefix', calls.enableProfiling(pointer, options.profilePrefix));
    }
    appendProvider(library, pointer, options);
    addInitializers(library, pointer, options);
    return pointer;
  } catch (error) {
    library.releases.releaseSessionOptions(pointer);
    throw error;
  }
}

function appendProvider(library: Library, pointer: Pointer, options: SessionOptions): void {
  const { provider = 'cpu', providerOptions = {} } = options;
  if (provider === 'cpu') return;
  const name = providers[provider];
  const available = library.availableProviders();
  if (!available.includes(name)) {
    const found = `found only ${available.join(', ')}`;
    throw new LfmError(
      'onnx-provider',
      `Expected ONNX Runtime's library to have ${name}, ${found}. Use provider 'cpu'.`,
    );
  }
  const keys = Object.keys(providerOptions);
  const values = Object.values(providerOptions);
  const status = library.calls.appendExecutionProvider(pointer, name, keys, values, keys.length);
  library.check(status, `use provider '${provider}'`);
}

function addInitializers(library: Library, pointer: Pointer, options: SessionOptions): void {
  const entries = Object.entries({ ...options.initializers, ...options.passing });
  if (entries.length === 0) return;
  const names = entries.map(([name]) => name);
  const values = BigUint64Array.from(entries, ([, value]) => value.pointer);
  // Both calls are needed: the first alone copies the memory into the session and shares no repacked weights, the
  // second alone still looks for the external file that the model names.
  const status = library.calls.addExternalInitializers(pointer, names, values, names.length);
  library.check(status, 'use the given initializers');
  for (const [name, value] of entries) {
    library.check(library.calls.addInitializer(pointer, name, value.pointer), `use the given initializer '${name}'`);
  }
}
