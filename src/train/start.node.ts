// Where a run starts: a fresh model of the recipe's sizes, or the weights and vocabulary of a model that is there, under its
// own names, with operators of it replaced where the recipe says so.
import { join } from 'node:path';
import type { ModelFolder } from '../files/folder.node.ts';
import { openModelFolder } from '../files/folder.node.ts';
import { readTextIfPresent } from '../files/json.node.ts';
import { hashing } from '../files/manifest.node.ts';
import type { Model } from '../liquid/index.ts';
import { withRounding } from '../liquid/index.ts';
import type { ParameterReader } from '../models/index.ts';
import { modelFromConfig, parametersOf } from '../models/index.ts';
import { LfmError } from '../tensor/error.ts';
import type { Part } from '../tensor/part.ts';
import { cutFloats } from '../tensor/part.ts';
import { adaptedModel } from './adapter.ts';
import type { Companions } from './model-folder.node.ts';
import type { Recipe } from './recipe.ts';
import { isStoredModel, modelOf } from './recipe-model.ts';
import { withNarrowStored } from './narrow.ts';
import type { Stored } from './stored.node.ts';
import { hybridOf, openStored, readerOf, withoutStored } from './stored.node.ts';
import type { Vocabulary } from './vocabulary.node.ts';
import { readVocabulary, requireVocabulary } from './vocabulary.node.ts';

export interface StartingPoint extends AsyncDisposable {
  /** The vocabulary that is there already; undefined where it is to be learned. */
  readonly vocabulary: Vocabulary | undefined;
  /** What the model came with besides and keeps: its chat template, and how it generates. */
  readonly companions?: Companions;
  /** Errors: `vocabulary-mismatch`, `bad-recipe`. */
  model(vocabulary: Vocabulary): Model;
  /** Of an adapter: what it changes. */
  readonly base?: Base;
  /** Reads a parameter's first values, or a block of them; undefined where it starts fresh, as moments always do. */
  reader(key: string): ((part?: Part) => Promise<Float32Array>) | undefined;
}

/** A model that stays as it is. */
export interface Base {
  readonly parameters: ParameterReader;
  /** SHA-256 of all its weights as floats, in hex. */
  digest(): Promise<string>;
}

/** With the recipe's own chat template, where it names one. Errors: `file-missing`; as openOwnStart. */
export async function openStart(recipe: Recipe): Promise<StartingPoint> {
  const start = await openRounded(recipe);
  const { chatTemplate: path } = recipe.tokenizer;
  if (path === undefined) return start;
  const chatTemplate = await readTextIfPresent(path);
  if (chatTemplate !== undefined) return { ...start, companions: { ...start.companions, chatTemplate } };
  await start[Symbol.asyncDispose]();
  throw new LfmError('file-missing', `There is no chat template at ${path}: expected a file of Jinja.`);
}

/** Errors: as openOwnStart, `nothing-to-quantize`. */
async function openRounded(recipe: Recipe): Promise<StartingPoint> {
  const start = await openOwnStart(recipe);
  const { quantize } = recipe;
  if (!quantize) return start;
  const model = (vocabulary: Vocabulary): Model => withRounding(start.model(vocabulary), quantize);
  try {
    if (start.vocabulary) model(start.vocabulary); // found before anything is written
    return { ...start, model };
  } catch (error) {
    await start[Symbol.asyncDispose]();
    throw error;
  }
}

/**
 * Errors: those of openModelFolder and openSource and of a damaged tokenizer, `vocabulary-mismatch`, `weights-mismatch`,
 * `frozen-weight`, `no-adaptable-weights`, `bad-layers`, `unknown-operator`, `bad-recipe`.
 */
async function openOwnStart(recipe: Recipe): Promise<StartingPoint> {
  const { model: spec, tokenizer, batch } = recipe;
  const { file, endOfText } = tokenizer;
  if (!isStoredModel(spec)) {
    const vocabulary = file === undefined ? undefined : await readVocabulary(file, endOfText);
    const model = (known: Vocabulary): Model => {
      const made = modelOf(spec, {
        vocabSize: tokenizer.train?.vocabSize ?? known.tokenizer.vocabSize,
        ids: known,
        length: batch.length,
      });
      return requireVocabulary(made, known);
    };
    if (vocabulary) model(vocabulary); // a mismatch is found before anything is written
    return { vocabulary, model, reader: () => undefined, [Symbol.asyncDispose]: async () => {} };
  }
  if ('from' in spec) {
    const whole = await openStored(spec.from, endOfText);
    try {
      const left = spec.drop ? withoutStored(whole, spec.drop) : whole;
      const stored = spec.intermediateSize === undefined ? left : withNarrowStored(left, spec.intermediateSize);
      const { adapter } = recipe;
      const model = adapter
        ? adaptedModel(stored.model, stored.parameters, adapter, spec.from)
        : spec.replace
          ? hybridOf(stored.model, spec.replace)
          : stored.model;
      return {
        vocabulary: stored.vocabulary,
        companions: stored.companions,
        model: () => model,
        ...(adapter && { base: { parameters: stored.parameters, digest: () => digestOf(stored) } }),
        reader: (key) => readerOf(stored, model, key),
        [Symbol.asyncDispose]: () => whole.close(),
      };
    } catch (error) {
      await whole.close();
      throw error;
    }
  }
  const folder = await openModelFolder(spec.folder);
  try {
    const own = file ?? join(folder.path, 'tokenizer.json');
    if (file === undefined && (await readTextIfPresent(own)) === undefined) {
      throw new LfmError(
        'tokenizer-missing',
        `${spec.folder} has no tokenizer.json: name one as tokenizer.file in the recipe.`,
      );
    }
    const vocabulary = await readVocabulary(own, endOfText);
    const { model, parameters } = readModel(folder, spec.folder);
    requireVocabulary(model, vocabulary);
    const { weights } = folder;
    const read = async (key: string, shape: readonly number[], part?: Part): Promise<Float32Array> => {
      const whole = parameters.whole(key);
      if (whole !== undefined) return weights.readFloat32(whole, part);
      return cutFloats(await parameters.readFloat32(key), shape, part);
    };
    return {
      vocabulary,
      companions: folder,
      model: () => model,
      reader(key) {
        const parameter = model.parameters[key];
        return parameter && ((part) => read(key, parameter.shape, part));
      },
      [Symbol.asyncDispose]: () => weights.close(),
    };
  } catch (error) {
    await folder.weights.close();
    throw error;
  }
}

async function digestOf({ model, parameters }: Stored): Promise<string> {
  const hash = hashing();
  for (const name of Object.keys(model.parameters)) {
    const { buffer, byteOffset, byteLength } = await parameters.readFloat32(name);
    hash.update(name).update(new Uint8Array(buffer, byteOffset, byteLength));
  }
  return hash.digest('hex');
}

/**
 * Every parameter must be there in its shape, be it as rows of a tensor with others or expert by expert: a run that quietly began
 * part of a model anew would be worse than none. So must every tensor have a place.
 */
function readModel(
  { config, weights }: ModelFolder,
  shown: string,
): { readonly model: Model; readonly parameters: ParameterReader } {
  if (config['quantization_config'] !== undefined)
    throw new LfmError(
      'frozen-weight',
      `${shown} holds packed weights, which cannot be trained: start from the floats.`,
    );
  const model = modelFromConfig(
    config,
    Object.fromEntries([...weights.tensors].map(([name, { shape }]) => [name, shape])),
  );
  return { model, parameters: parametersOf(model, config, weights, shown) };
}

/** `key: before -> now` for each key of two recipes that differs. */
export function changedKeys(before: unknown, now: unknown, path = ''): string[] {
  if (isRecord(before) && isRecord(now)) {
    const keys = new Set([...Object.keys(before), ...Object.keys(now)]);
    return [...keys].flatMap((key) => changedKeys(before[key], now[key], path ? `${path}.${key}` : key));
  }
  const [old, fresh] = [before, now].map((value) => JSON.stringify(value) ?? 'none');
  return old === fresh ? [] : [`${path}: ${old} -> ${fresh}`];
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
