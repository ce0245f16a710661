// The second form of packed weights: rounded by whole rows, for steps over many rows at once.
import type { Buffer, Buffers, Engine, Executable } from '../engines/engine.ts';
import type { Model, Parameter } from '../liquid/index.ts';
import { parameterTypes, roundedProgram } from '../liquid/index.ts';
import type { HostArray } from '../tensor/index.ts';
import { disposeBuffers } from './state.ts';

/** Of a model `withRoundedRows`: what its programs take. */
export interface RoundedWeights {
  readonly all: Buffers;
  /** Frees what was made for it. */
  readonly dispose: () => Promise<void>;
}

/**
 * They are made of the packed ones on their engine, a matrix at a time: at once, or when the engine needs them. `identity` tells the
 * packed ones from all others, where something does.
 */
export async function roundWeights(
  engine: Engine,
  model: Model,
  weights: Buffers,
  identity: string | undefined,
): Promise<RoundedWeights> {
  const made: Record<string, Buffer> = {};
  const programs = new Map<string, Promise<Executable>>();
  const round = async (name: string, parameter: Parameter): Promise<Record<string, Buffer>> => {
    // One program for all matrices of a kind.
    const kind = JSON.stringify([parameter.shape, parameter.quantized]);
    const compiling = programs.get(kind) ?? engine.compile(roundedProgram('w', parameter));
    programs.set(kind, compiling);
    const executable = await compiling;
    const parts = Object.entries(weights).filter(([key]) => key.startsWith(`${name}.`));
    const found = await executable.run(
      Object.fromEntries(parts.map(([key, buffer]) => [`w${key.slice(name.length)}`, buffer])),
    );
    return Object.fromEntries(Object.entries(found).map(([key, buffer]) => [`${name}${key.slice(1)}`, buffer]));
  };
  const dispose = async (): Promise<void> => {
    disposeBuffers(made);
    for (const compiling of programs.values()) (await compiling.catch(() => undefined))?.release();
  };
  const types = Object.entries(parameterTypes(model));
  try {
    for (const [name, parameter] of Object.entries(model.parameters)) {
      if (!parameter.isRounded) continue;
      const own = Object.fromEntries(types.filter(([key]) => key.startsWith(`${name}.`)));
      const stored = engine.uploadStored && {
        read: async () => readAll(engine, await round(name, parameter)),
        identity: identity === undefined ? undefined : JSON.stringify([identity, 'rounded', name]),
      };
      Object.assign(made, await (stored ? engine.uploadStored?.(own, stored) : round(name, parameter)));
    }
  } catch (error) {
    await dispose();
    throw error;
  }
  const all = types.map(([name]) => [name, made[name] ?? weights[name]] as const);
  return { dispose, all: Object.fromEntries(all.flatMap(([name, buffer]) => (buffer ? [[name, buffer]] : []))) };
}

/** Copies buffers out, and disposes them. */
async function readAll(engine: Engine, buffers: Buffers): Promise<Record<string, HostArray>> {
  try {
    const arrays: Record<string, HostArray> = {};
    for (const [name, buffer] of Object.entries(buffers)) arrays[name] = await engine.download(buffer);
    return arrays;
  } finally {
    disposeBuffers(buffers);
  }
}
