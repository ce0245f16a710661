// What every conversion of a stored model needs: its tensors checked against its configuration, read one at a time.
import { float32ToBfloat16, float32ToFloat16 } from '../files/floats.ts';
import type { Model } from '../liquid/index.ts';
import { checkpointNames, modelFromConfig } from '../models/index.ts';
import { LfmError } from '../tensor/index.ts';
import { requireWeights } from './load.ts';
import type { ModelSource, StoredTensor } from './source.ts';

export interface ConvertProgress {
  /** Elements written so far, and in all. */
  readonly done: number;
  readonly total: number;
}

export interface ConvertOptions {
  readonly onProgress?: ((progress: ConvertProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface CheckedModel {
  readonly model: Model;
  /** The checkpoint's name of each parameter. */
  readonly nameOf: (parameter: string) => string;
  /** Exactly the tensors that the model is made of, by the checkpoint's names, in the model's order. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Reads one of them, telling progress. Errors: those of the format, the reason of the signal. */
  readonly read: (name: string) => Promise<Float32Array>;
}

/** Errors: those of `modelFromConfig`, `weights-mismatch`. */
export function checkedModel(source: ModelSource, { onProgress, signal }: ConvertOptions = {}): CheckedModel {
  const { config, weights, name } = source;
  const model = modelFromConfig(
    config,
    Object.fromEntries([...weights.tensors].map(([key, { shape }]) => [key, shape])),
  );
  const nameOf = checkpointNames(config);
  requireWeights(model, weights, nameOf, name);
  const tensors = new Map(
    Object.keys(model.parameters).flatMap((parameter) => {
      const key = nameOf(parameter);
      const found = weights.tensors.get(key);
      return found ? [[key, found] as const] : [];
    }),
  );
  const sizeOf = ({ shape }: StoredTensor) => shape.reduce((product, size) => product * size, 1);
  const total = [...tensors.values()].reduce((sum, tensor) => sum + sizeOf(tensor), 0);
  let done = 0;
  return {
    model,
    nameOf,
    tensors,
    async read(key) {
      signal?.throwIfAborted();
      const values = await weights.readFloat32(key);
      done += values.length;
      onProgress?.({ done, total });
      return values;
    },
  };
}

export type FloatType = 'float32' | 'float16' | 'bfloat16';

/** The type of a stored tensor where a file of floats can keep it: what is quantised is float32 once it is read. */
export function floatTypeOf({ dtype }: StoredTensor): FloatType {
  const name = dtype.toLowerCase();
  if (name === 'float16' || name === 'f16') return 'float16';
  return name === 'bfloat16' || name === 'bf16' ? 'bfloat16' : 'float32';
}

/** Values in a type, rounded to nearest. Errors: `not-finite` for what float16 would make infinite, naming the tensor. */
export function packFloats(values: Float32Array, dtype: FloatType, name: string): Float32Array | Uint16Array {
  if (dtype === 'float32') return values;
  if (dtype === 'bfloat16') return float32ToBfloat16(values);
  requireHalf(values, name);
  return float32ToFloat16(values);
}

/** Errors: `not-finite`. */
export function requireHalf(values: Float32Array, name: string): void {
  const large = values.find((value) => Math.abs(value) >= 65_520 && Math.abs(value) < Infinity);
  if (large === undefined) return;
  throw new LfmError('not-finite', `The tensor ${name} holds ${large}, which float16 cannot: use bf16 or f32.`);
}
