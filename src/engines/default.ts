// Which engine runs where nobody chose one, in a browser: ONNX Runtime's WebAssembly module.
import { LfmError } from '../tensor/index.ts';
import type { Engine } from './engine.ts';

export interface EngineChoice {
  /** 'onnx' (the default) or 'reference'. */
  readonly name?: string;
  readonly threads?: number;
}

export const engineNames = ['onnx', 'reference'] as const;

/** Errors: `unknown-engine`, and the engine's own. */
export async function openEngine({ name = 'onnx', threads }: EngineChoice = {}): Promise<Engine> {
  if (name === 'onnx') {
    const { onnxWebEngine } = await import('./onnx/engine.web.ts');
    return onnxWebEngine({ threads });
  }
  if (name === 'reference') {
    const { referenceEngine } = await import('./reference/engine.ts');
    return referenceEngine();
  }
  throw new LfmError('unknown-engine', `Expected an engine named ${engineNames.join(', ')}; found "${name}".`);
}
