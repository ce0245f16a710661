// Which engine runs where nobody chose one, on Node: the best that is present.
import { LfmError } from '../tensor/index.ts';
import type { Engine } from './engine.ts';

export interface EngineChoice {
  /** 'onnx' (the default), 'xla' or 'reference'. */
  readonly name?: string;
  readonly threads?: number;
  /** For 'xla': a plug-in's name or the path of its library. Default: the best that is found. */
  readonly plugin?: string;
  /** For 'xla': devices to divide training over, by axis, as `{ data: 2, fsdp: 4 }`. */
  readonly mesh?: Readonly<Record<string, number>> | undefined;
  /** For 'xla': the same bits on every run, also on GPUs. */
  readonly deterministic?: boolean;
}

/** Names that `openEngine` knows. */
export const engineNames = ['onnx', 'xla', 'reference'] as const;

/** Opens an engine by name; libraries load only when their engine is asked for. Errors: `unknown-engine`, and the engine's own. */
export async function openEngine(choice: EngineChoice = {}): Promise<Engine> {
  const { name = 'onnx', threads, plugin, mesh, deterministic = false } = choice;
  if (mesh && name !== 'xla')
    throw new LfmError('bad-mesh', `The engine ${name} computes on one device: leave the mesh out, or choose xla.`);
  if (name === 'onnx') {
    const { onnxEngine } = await import('./onnx/engine.node.ts');
    return onnxEngine(threads === undefined ? {} : { threads });
  }
  if (name === 'xla') {
    const { xlaEngine } = await import('./xla/engine.node.ts');
    return xlaEngine({ deterministic, ...(plugin !== undefined && { plugin }), ...(mesh && { mesh }) });
  }
  if (name === 'reference') {
    const { referenceEngine } = await import('./reference/engine.ts');
    return referenceEngine();
  }
  throw new LfmError('unknown-engine', `Expected an engine named ${engineNames.join(', ')}; found "${name}".`);
}
