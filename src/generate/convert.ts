// What every conversion of a stored model needs: its tensors checked against its configuration, read one at a time.
import { float32ToBfloat16, float32ToFloat16 } from '../files/floats.ts';
import type { Model } from '../liquid/index.ts';
import { checkpointNames } from '../models/index.ts';
import { LfmError } from '../tensor/index.ts';
import type { ModelSource, StoredTensor } from './source.ts';
import { definedModel } from './weights.ts';

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
  const { config, weights } = source;
  const { model, parameters } = definedModel(source);
  const spelt = checkpointNames(config);
  const nameOf = (parameter: string) => parameters.whole(parameter) ?? spelt(parameter);
  const parameterOf = new Map(Object.keys(model.parameters).map((parameter) => [nameOf(parameter), parameter]));
  const tensors = new Map(
    [...parameterOf].map(([key, parameter]): [string, StoredTensor] => {
      const { shape, byteLength } = parameters.tensors.get(parameter) ?? { shape: [], byteLength: 0 };
      // Cut out of a larger tensor, it is written as floats of their own.
      return [key, weights.tensors.get(key) ?? { shape, byteLength, dtype: 'float32' }];
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
      const values = await parameters.readFloat32(parameterOf.get(key) ?? key);
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
