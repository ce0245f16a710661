// From a name to a language model: files read and checked against each other, weights on the engine, programs compiled.
import type { EngineChoice } from '#engine';
import { openEngine } from '#engine';
import { openSource } from '#source';
import type { Buffer, Buffers, Engine } from '../engines/engine.ts';
import type { Model, OperatorConstructor } from '../liquid/index.ts';
import { packable, withQuantized } from '../liquid/index.ts';
import { checkpointNames, modelFromConfig } from '../models/index.ts';
import type { Activations, QuantizedForm } from '../tensor/index.ts';
import { LfmError, quantizedTypes } from '../tensor/index.ts';
import { readTokenizerJson } from '../text/tokenizer-json.ts';
import type { Tokenizer } from '../text/tokenizer.ts';
import { readChatTemplate } from './chat.ts';
import { Generator } from './generator.ts';
import { LanguageModel, requireFit } from './model.ts';
import { readGenerationSettings } from './settings.ts';
import type { ModelSource, StoredWeights } from './source.ts';
import { disposeBuffers } from './state.ts';

export interface LoadProgress {
  /** Bytes of the checkpoint read so far, and in all. After the last the programs are compiled. */
  readonly loadedBytes: number;
  readonly totalBytes: number;
}

/**
 * What the arithmetic of weights that are stored packed (4 or 8 bits) promises. No mode has a scale that spans rows.
 * - `exact`: they are dequantised to float32, and all is float32: transformers' numbers on the dequantised weights.
 * - `stable`: they stay packed, and meet float32 activations on one kernel and in one form, whatever the number of rows. A
 *   prompt taken in at once, token by token or beside others gives the same logits but for the order of float32 sums, and so
 *   does `exact`.
 * - `fast`: they stay packed, and meet activations that are rounded to int8, each row's block of 32 (or 128) by its own scale.
 *   About as far from `exact` as 8-bit activations are; a number that falls on the other side of a rounding step may move
 *   logits by far more than the order of sums does, so that a prompt in other portions may give another text.
 * Models that are stored as floats are `exact` by any name.
 */
export type Numerics = 'exact' | 'stable' | 'fast';

export interface LoadOptions {
  /** An engine, which stays the caller's, or the name of one, with its settings if need be. Default: the best present. */
  readonly engine?: Engine | EngineChoice | string | undefined;
  /** Operators that the model names and lfm does not have, as `operator(name, define)` answers them. */
  readonly operators?: readonly OperatorConstructor[] | undefined;
  /** Default 'stable'. */
  readonly numerics?: Numerics | undefined;
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Loads a model by the name of a shipped one, by its folder or by a GGUF file (in a browser, by the folder's URL). Dispose it,
 * or hold it with `await using`. Weights of any floating-point type are computed in float32, packed ones as `numerics` says.
 * Errors: `model-missing`, `model-file-missing`, `unknown-operator`, `weights-mismatch`, `tokenizer-missing`,
 * `vocabulary-mismatch`, `bad-numerics` and what readers say of files that are damaged; the reason of `signal`. Nothing stays allocated then.
 */
export async function load(name: string, options: LoadOptions = {}): Promise<LanguageModel> {
  const source = await openSource(name);
  try {
    options.signal?.throwIfAborted();
    return await loadSource(source, options);
  } finally {
    await source.weights.close();
  }
}

async function loadSource(
  source: ModelSource,
  { engine: wanted = {}, operators = [], numerics = 'stable', onProgress, signal }: LoadOptions,
): Promise<LanguageModel> {
  if (!isNumerics(numerics))
    throw new LfmError(
      'bad-numerics',
      `numerics: expected one of ${numericsNames.join(', ')}; found ${String(numerics)}.`,
    );
  const defined = modelFromConfig(
    source.config,
    Object.fromEntries([...source.weights.tensors].map(([key, { shape }]) => [key, shape])),
    operators,
  );
  const nameOf = checkpointNames(source.config);
  requireWeights(defined, source.weights, nameOf, source.name);
  const model =
    numerics === 'exact'
      ? defined
      : heldPacked(defined, source.weights, nameOf, numerics === 'fast' ? 'int8' : 'float32');
  const tokenizer = readTokenizer(source);
  requireFit(tokenizer, model);
  const chatTemplate = readChatTemplate(tokenizer, source.tokenizerConfig ?? {}, source.chatTemplate);
  const settings = readGenerationSettings(source.generationConfig, source.config);
  const given = typeof wanted === 'object' && 'compile' in wanted ? wanted : undefined;
  const engine = given ?? (await openEngine(typeof wanted === 'string' ? { name: wanted } : wanted));
  try {
    const weights = await uploadWeights(engine, model, source.weights, nameOf, onProgress, signal);
    const generator = new Generator(engine, model, weights);
    try {
      await generator.prepare();
      signal?.throwIfAborted();
    } catch (error) {
      await generator.close();
      throw error;
    }
    return new LanguageModel({
      name: source.name,
      generator,
      tokenizer,
      chatTemplate,
      ...settings,
      engine,
      ownsEngine: !given,
    });
  } catch (error) {
    if (!given) await engine.close();
    throw error;
  }
}

function readTokenizer({ tokenizer, name }: ModelSource): Tokenizer {
  if (tokenizer !== undefined) return readTokenizerJson(tokenizer);
  throw new LfmError(
    'tokenizer-missing',
    `${name}: expected a tokenizer.json beside config.json; without it there is no text.`,
  );
}

/** Every parameter must be there in its shape, before memory is asked for. */
function requireWeights(model: Model, { tensors }: StoredWeights, nameOf: (key: string) => string, name: string): void {
  for (const [parameter, { shape }] of Object.entries(model.parameters)) {
    const key = nameOf(parameter);
    const found = tensors.get(key)?.shape;
    if (found?.length === shape.length && shape.every((size, axis) => size === found[axis])) continue;
    const what = found ? `[${found.join(', ')}]` : 'none';
    throw new LfmError(
      'weights-mismatch',
      `${name}: config.json asks for the tensor ${key} of [${shape.join(', ')}]; found ${what} in the checkpoint.`,
    );
  }
}

export const numericsNames: readonly Numerics[] = ['exact', 'stable', 'fast'];

function isNumerics(value: unknown): value is Numerics {
  return numericsNames.some((name) => name === value);
}

/** The model with what is stored packed held so, as far as its programs only multiply by it and look it up. */
function heldPacked(
  model: Model,
  { tensors }: StoredWeights,
  nameOf: (key: string) => string,
  activations: Activations,
): Model {
  const stored = Object.keys(model.parameters).flatMap((name): [string, QuantizedForm][] => {
    const form = tensors.get(nameOf(name))?.quantized;
    return form ? [[name, form]] : [];
  });
  if (stored.length === 0) return model;
  return withQuantized(model, packable(model, Object.fromEntries(stored)), activations);
}

/** Reads a tensor at a time, so that only one is held twice. */
async function uploadWeights(
  engine: Engine,
  model: Model,
  stored: StoredWeights,
  nameOf: (key: string) => string,
  onProgress: LoadOptions['onProgress'],
  signal: AbortSignal | undefined,
): Promise<Buffers> {
  const names = Object.keys(model.parameters);
  const bytesOf = (key: string) => stored.tensors.get(nameOf(key))?.byteLength ?? 0;
  const totalBytes = names.reduce((sum, key) => sum + bytesOf(key), 0);
  let loadedBytes = 0;
  const buffers: Record<string, Buffer> = {};
  try {
    for (const [key, { shape, quantized }] of Object.entries(model.parameters)) {
      signal?.throwIfAborted();
      if (quantized) {
        const types = quantizedTypes(shape, quantized.form);
        for (const [part, data] of Object.entries(await stored.readQuantized(nameOf(key)))) {
          const type = types[part];
          if (type) buffers[`${key}.${part}`] = await engine.upload(type.dtype, type.shape.map(Number), data);
        }
      } else buffers[key] = await engine.upload('float32', shape, await stored.readFloat32(nameOf(key)));
      loadedBytes += bytesOf(key);
      onProgress?.({ loadedBytes, totalBytes });
    }
    return buffers;
  } catch (error) {
    disposeBuffers(buffers);
    throw error;
  }
}
