// Where a run starts: a fresh model of the recipe's sizes, or the weights and vocabulary of a model that is there, under its
// own names, with operators of it replaced where the recipe says so.
import { readTextIfPresent } from '../files/json.node.ts';
import { hashing } from '../files/manifest.node.ts';
import type { Model } from '../liquid/index.ts';
import { withRounding } from '../liquid/index.ts';
import type { ParameterReader } from '../models/index.ts';
import { LfmError } from '../tensor/error.ts';
import type { Part } from '../tensor/part.ts';
import { adaptedModel } from './adapter.ts';
import type { Companions } from './model-folder.node.ts';
import type { Recipe } from './recipe.ts';
import { isStoredModel, modelOf } from './recipe-model.ts';
import { withNarrowStored } from './narrow.ts';
import type { Stored } from './stored.node.ts';
import { hybridOf, openFolder, openStored, readerOf, withoutStored } from './stored.node.ts';
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
  const whole = await ('from' in spec ? openStored(spec.from, endOfText) : openFolder(spec.folder, endOfText, file));
  try {
    const changes: Partial<Extract<typeof spec, { readonly from: string }>> = 'from' in spec ? spec : {};
    const left = changes.drop ? withoutStored(whole, changes.drop) : whole;
    const stored = changes.intermediateSize === undefined ? left : withNarrowStored(left, changes.intermediateSize);
    const { adapter } = recipe;
    const model = adapter
      ? adaptedModel(stored.model, stored.parameters, adapter, changes.from ?? stored.name)
      : changes.replace
        ? hybridOf(stored.model, changes.replace)
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

async function digestOf({ model, parameters }: Stored): Promise<string> {
  const hash = hashing();
  for (const name of Object.keys(model.parameters)) {
    const { buffer, byteOffset, byteLength } = await parameters.readFloat32(name);
    hash.update(name).update(new Uint8Array(buffer, byteOffset, byteLength));
  }
  return hash.digest('hex');
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
