// Stored weights on an engine: checked against the model, held as floats or packed, read one tensor at a time.
import type { Buffer, Buffers, Engine } from '../engines/engine.ts';
import type { QuantizedMatrix } from '../files/quantized.ts';
import type { Model, OperatorConstructor } from '../liquid/index.ts';
import { packable, withQuantized } from '../liquid/index.ts';
import type { ParameterReader } from '../models/index.ts';
import { modelFromConfig, parametersOf } from '../models/index.ts';
import type { Activations, HostArray, QuantizedForm } from '../tensor/index.ts';
import { LfmError, quantizedTypes } from '../tensor/index.ts';
import type { ModelSource, StoredWeights } from './source.ts';
import { disposeBuffers } from './state.ts';

export interface LoadProgress {
  /**
   * Bytes of the checkpoint read so far, and in all. After the last the programs are compiled. Of what the engine kept when the model
   * was loaded before, nothing is read.
   */
  readonly loadedBytes: number;
  readonly totalBytes: number;
}

/**
 * What the arithmetic of weights that are stored packed (4 or 8 bits) promises. No mode has a scale that spans rows.
 * - `exact`: they are dequantised to float32, and all is float32: transformers' numbers on the dequantised weights.
 * - `stable`: they stay packed, and meet float32 activations on one kernel and in one form, whatever the number of rows. A
 *   prompt taken in at once, token by token or beside others gives the same logits but for the order of float32 sums, and so
 *   does `exact`.
 * - `fast`: they meet activations that are rounded to int8, each row's block of 32 or 128 by its own scale. On the engine onnx what has
 *   minimums or 8 bits becomes bytes in blocks of 128, both sides turned first so that large elements are spread; the rest stays packed.
 *   Steps of 8 rows or more (prompts, batches, guesses) take a second form of the weights, on the engine onnx: whole rows of int8
 *   that meet whole rows of int8, turned alike. It takes a byte a weight more.
 *   Attention's keys and values are held as int8 there too, unless `keyValueDtype` says otherwise.
 *   About as far from `exact` as 8-bit activations are; a number that falls on the other side of a rounding step may move
 *   logits by far more than the order of sums does, so that a prompt in other portions may give another text.
 * Models that are stored as floats are `exact` by any name.
 */
export type Numerics = 'exact' | 'stable' | 'fast';

export const numericsNames: readonly Numerics[] = ['exact', 'stable', 'fast'];

/** A model, and where each of its parameters lies in the checkpoint. */
export interface HeldModel {
  readonly model: Model;
  readonly parameters: ParameterReader;
}

/** The model of a source, all of its weights floats. Errors: `unknown-operator`, `weights-mismatch`, `bad-config`. */
export function definedModel(
  { config, weights, name }: ModelSource,
  operators: readonly OperatorConstructor[] = [],
): HeldModel {
  const shapes = Object.fromEntries([...weights.tensors].map(([key, { shape }]) => [key, shape]));
  const model = modelFromConfig(config, shapes, operators);
  return { model, parameters: parametersOf(model, config, weights, name) };
}

/** The same with what is stored packed held as `numerics` says. Errors: as it, `bad-numerics`. */
export function heldModel(
  source: ModelSource,
  numerics: Numerics,
  operators: readonly OperatorConstructor[] = [],
): HeldModel {
  if (!numericsNames.includes(numerics))
    throw new LfmError(
      'bad-numerics',
      `numerics: expected one of ${numericsNames.join(', ')}; found ${String(numerics)}.`,
    );
  const defined = definedModel(source, operators);
  const { model, parameters } = defined;
  if (numerics === 'exact') return defined;
  const stored = Object.keys(model.parameters).flatMap((key): [string, QuantizedForm][] => {
    const form = source.weights.tensors.get(parameters.whole(key) ?? '')?.quantized;
    return form ? [[key, form]] : [];
  });
  if (stored.length === 0) return defined;
  const activations: Activations = numerics === 'fast' ? 'int8' : 'float32';
  return { model: withQuantized(model, packable(model, Object.fromEntries(stored)), activations), parameters };
}

/**
 * A buffer for each of the model's `parameterTypes`; a tensor at a time, so that only one is held twice. An engine may read some
 * when it needs them, and again, as long as the buffers live: `stored` stays open until then.
 */
export async function uploadWeights(
  engine: Engine,
  { model, parameters }: HeldModel,
  stored: StoredWeights,
  onProgress?: (progress: LoadProgress) => void,
  signal?: AbortSignal,
): Promise<Buffers> {
  const names = Object.keys(model.parameters);
  const bytesOf = (key: string) => parameters.tensors.get(key)?.byteLength ?? 0;
  const totalBytes = names.reduce((sum, key) => sum + bytesOf(key), 0);
  // What floats become is as large as they are: not worth keeping.
  const isPacked = Object.values(model.parameters).some(({ quantized }) => quantized !== undefined);
  const identity = isPacked ? stored.identity : undefined;
  const loaded = new Set<string>();
  let loadedBytes = 0;
  const tell = (key: string) => {
    if (loaded.has(key)) return;
    loaded.add(key);
    loadedBytes += bytesOf(key);
    onProgress?.({ loadedBytes, totalBytes });
  };
  const buffers: Record<string, Buffer> = {};
  try {
    for (const [key, { shape, quantized }] of Object.entries(model.parameters)) {
      signal?.throwIfAborted();
      const types = quantized ? quantizedTypes(shape, quantized.form) : { '': { dtype: 'float32', shape } as const };
      const read = async (): Promise<Readonly<Record<string, HostArray>>> => {
        signal?.throwIfAborted();
        const arrays = quantized
          ? partsOf(await stored.readQuantized(parameters.whole(key) ?? key))
          : { '': await parameters.readFloat32(key) };
        tell(key);
        return arrays;
      };
      const named = (part: string) => (part ? `${key}.${part}` : key);
      if (engine.uploadStored) {
        const own = identity === undefined ? undefined : JSON.stringify([identity, key]);
        for (const [part, buffer] of Object.entries(await engine.uploadStored(types, { read, identity: own })))
          buffers[named(part)] = buffer;
        continue;
      }
      const arrays = await read();
      for (const [part, type] of Object.entries(types)) {
        const data = arrays[part];
        if (!data) throw new LfmError('no-result', `A packed matrix came without its ${part}.`);
        buffers[named(part)] = await engine.upload(type.dtype, type.shape.map(Number), data);
      }
    }
    return buffers;
  } catch (error) {
    disposeBuffers(buffers);
    throw error;
  }
}

const partsOf = ({ packed, scales, minimums }: QuantizedMatrix): Readonly<Record<string, HostArray>> => ({
  packed,
  scales,
  ...(minimums && { minimums }),
});
