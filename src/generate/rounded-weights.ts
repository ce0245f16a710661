// The second form of packed weights: rounded by whole rows, for steps over many rows at once.
import type { Buffer, Buffers, Engine, Executable } from '../engines/engine.ts';
import type { Model } from '../liquid/index.ts';
import { parameterTypes, roundedProgram } from '../liquid/index.ts';
import { disposeBuffers } from './state.ts';

/** Of a model `withRoundedRows`: what its programs take, and which of that was made for it. */
export interface RoundedWeights {
  readonly all: Buffers;
  readonly made: Buffers;
}

/** Makes them of the packed ones on their engine, a matrix at a time. */
export async function roundWeights(engine: Engine, model: Model, weights: Buffers): Promise<RoundedWeights> {
  const made: Record<string, Buffer> = {};
  const programs = new Map<string, Executable>();
  try {
    for (const [name, parameter] of Object.entries(model.parameters)) {
      if (!parameter.isRounded) continue;
      // One program for all matrices of a kind.
      const kind = JSON.stringify([parameter.shape, parameter.quantized]);
      const executable = programs.get(kind) ?? (await engine.compile(roundedProgram('w', parameter)));
      programs.set(kind, executable);
      const parts = Object.entries(weights).filter(([key]) => key.startsWith(`${name}.`));
      const found = await executable.run(
        Object.fromEntries(parts.map(([key, buffer]) => [`w${key.slice(name.length)}`, buffer])),
      );
      for (const [key, buffer] of Object.entries(found)) made[`${name}${key.slice(1)}`] = buffer;
    }
  } catch (error) {
    disposeBuffers(made);
    throw error;
  } finally {
    for (const executable of programs.values()) executable.release();
  }
  const all = Object.keys(parameterTypes(model)).map((name) => [name, made[name] ?? weights[name]] as const);
  return { made, all: Object.fromEntries(all.flatMap(([name, buffer]) => (buffer ? [[name, buffer]] : []))) };
}
