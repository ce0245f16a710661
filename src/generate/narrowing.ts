// Weights in half the memory on an engine whose products take them so.
import type { Buffer, Buffers, Engine, Executable } from '../engines/engine.ts';
import { cast, LfmError, trace } from '../tensor/index.ts';
import { disposeBuffers } from './state.ts';

export interface Narrowing {
  /** Float32 as bfloat16; what was given is disposed. */
  narrow(wide: Buffer): Promise<Buffer>;
  dispose(): void;
}

/** One program for all arrays of a shape. */
export function narrowing(engine: Engine): Narrowing {
  const programs = new Map<string, Executable>();
  return {
    async narrow(wide) {
      const { shape } = wide;
      const known = programs.get(shape.join());
      const program =
        known ??
        (await engine.compile(
          trace('narrow', { x: { dtype: 'float32', shape } }, ({ x }) => ({ y: cast(x, 'bfloat16') })),
        ));
      programs.set(shape.join(), program);
      const { y } = await program.run({ x: wide });
      wide.dispose();
      if (y) return y;
      throw new LfmError('no-result', 'An array could not be made narrower.');
    },
    dispose() {
      for (const program of programs.values()) program.release();
    },
  };
}

/** Takes over float32 weights, and gives them as bfloat16. */
export async function narrowWeights(engine: Engine, weights: Buffers): Promise<Buffers> {
  const narrower = narrowing(engine);
  const stored = { ...weights };
  try {
    for (const [name, wide] of Object.entries(weights)) stored[name] = await narrower.narrow(wide);
    return stored;
  } catch (error) {
    disposeBuffers(stored);
    throw error;
  } finally {
    narrower.dispose();
  }
}
