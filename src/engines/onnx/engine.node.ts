// The onnx engine on Node: the C library of onnxruntime-node through koffi.
import { join } from 'node:path';
import { host } from '#host';
import type { Engine } from '../engine.ts';
import { BoundSessions } from './bound.node.ts';
import { engineOver } from './engine.ts';
import type { ProviderName, SessionOptions } from './runtime.node.ts';
import { library, Session, Value } from './runtime.node.ts';

export interface OnnxOptions {
  /** Threads within an operation; default: one for each physical core. */
  readonly threads?: number;
  readonly provider?: ProviderName;
  /** Further settings of every session, such as a profile's path. */
  readonly session?: SessionOptions;
  /** False: composites are expanded even where a kernel is mapped (to compare the two). */
  readonly mapped?: boolean;
  /** Folder for large packed weights as kernels take them, so that they are mapped when a model is loaded again. Default: in the cache. */
  readonly keep?: string;
}

const keptFolder = (): string => join(host.cacheFolder(), 'onnx');

/**
 * `basic`: what the higher levels would fuse, the lowering has already placed, and one of them would undo the explicit
 * transposes that make weight gradients faster. ReshapeFusion of 1.30 breaks models with the lowering's barriers.
 */
const sessionDefaults: SessionOptions = {
  optimization: 'basic',
  config: { 'optimization.disable_specified_optimizers': 'ReshapeFusion' },
  // Planned blocks come on top of what the first, unplanned run took: half as much memory again for a training step.
  memoryPattern: false,
};

/** Loads ONNX Runtime. Errors: `onnx-…` where the library is missing, of another version, or lacks the provider. */
export async function onnxEngine(options: OnnxOptions = {}): Promise<Engine> {
  const { threads = 0, provider = 'cpu', session: extra = {}, mapped = true, keep = keptFolder() } = options;
  const { version } = library();
  const settings: SessionOptions = { ...sessionDefaults, intraOpThreads: threads, provider, ...extra };
  const bound = new BoundSessions({ ...settings, sharedArena: provider === 'cpu' }, keep);
  return engineOver<Value>(
    {
      description: `${version}, ${provider}, ${threads || 'all'} ${threads === 1 ? 'thread' : 'threads'}`,
      weights: 'kept',
      zeros: (dtype, shape) => Value.zeros(dtype, shape),
      open: (model) => Session.open(model, settings),
      openBound: (lowered, bind) => bound.open(lowered, bind),
    },
    { mapped, prefersInt8Rows: mapped && provider === 'cpu' },
  );
}
