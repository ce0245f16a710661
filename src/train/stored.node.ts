// Any model that the code can load, as training takes it: its floats by parameter, its vocabulary and what else it came with;
// and as a teacher, held by an engine.
import { join } from 'node:path';
import type { Buffer, Buffers, Engine } from '../engines/engine.ts';
import { float32ToBfloat16 } from '../files/floats.ts';
import { openModelFolder } from '../files/folder.node.ts';
import { isJsonObject } from '../files/json.ts';
import type { TensorReader } from '../files/safetensors.node.ts';
import { openSource } from '../generate/source.node.ts';
import { requireTokenizer } from '../generate/source.ts';
import { disposeBuffers } from '../generate/state.ts';
import { definedModel } from '../generate/weights.ts';
import type { Model, TrainingObjective } from '../liquid/index.ts';
import { alignment, distillation, findOperator, teacherPrefix, withOperators, withoutLayers } from '../liquid/index.ts';
import type { ParameterReader } from '../models/index.ts';
import { modelFromConfig, parametersOf } from '../models/index.ts';
import { LfmError } from '../tensor/error.ts';
import { cutFloats } from '../tensor/part.ts';
import type { Part } from '../tensor/part.ts';
import type { Companions } from './model-folder.node.ts';
import type { Recipe } from './recipe.ts';
import { teacherOf } from './recipe.ts';
import type { Replacement } from './recipe-model.ts';
import { isStoredModel } from './recipe-model.ts';
import { requireSameVocabulary } from './same-vocabulary.ts';
import type { Vocabulary } from './vocabulary.node.ts';
import { makeVocabulary, readVocabulary, requireVocabulary } from './vocabulary.node.ts';

export interface Stored {
  readonly name: string;
  readonly model: Model;
  readonly parameters: ParameterReader;
  readonly vocabulary: Vocabulary;
  readonly companions: Companions;
  /** Reads tensors as they are stored, or blocks of them, where they need not be unpacked. */
  readonly tensors?: Pick<TensorReader, 'readFloat32'>;
  close(): Promise<void>;
}

/** A model by name; what it holds packed reads as floats. Errors: those of openSource, `tokenizer-missing`, `no-end-of-text`, `weights-mismatch`. */
export async function openStored(name: string, endOfText: string): Promise<Stored> {
  const source = await openSource(name);
  try {
    // The floats of packed weights: what is written from them is packed no more.
    const { quantization_config: _, ...config } = isJsonObject(source.config) ? source.config : {};
    const { model, parameters } = definedModel({ ...source, config });
    const vocabulary = makeVocabulary(JSON.stringify(requireTokenizer(source)), endOfText, name);
    requireVocabulary(model, vocabulary);
    const companions = {
      generationConfig: source.generationConfig,
      tokenizerConfig: source.tokenizerConfig,
      chatTemplate: source.chatTemplate,
    };
    return { name: source.name, model, parameters, vocabulary, companions, close: () => source.weights.close() };
  } catch (error) {
    await source.weights.close();
    throw error;
  }
}

/**
 * A model folder of floats, with another vocabulary where `tokenizerFile` names one. Every parameter must be there in its shape, be it as
 * rows of a tensor with others or expert by expert: a run that quietly began part of a model anew would be worse than none. So must
 * every tensor have a place. Errors: those of openModelFolder and of a damaged tokenizer, `tokenizer-missing`, `vocabulary-mismatch`,
 * `frozen-weight`, `weights-mismatch`.
 */
export async function openFolder(shown: string, endOfText: string, tokenizerFile?: string): Promise<Stored> {
  const folder = await openModelFolder(shown);
  const { config, weights } = folder;
  try {
    if (tokenizerFile === undefined && !folder.tokenizer)
      throw new LfmError(
        'tokenizer-missing',
        `${shown} has no tokenizer.json: name one as tokenizer.file in the recipe.`,
      );
    const vocabulary = await readVocabulary(tokenizerFile ?? join(folder.path, 'tokenizer.json'), endOfText);
    if (config['quantization_config'] !== undefined)
      throw new LfmError(
        'frozen-weight',
        `${shown} holds packed weights, which cannot be trained: start from the floats.`,
      );
    const shapes = Object.fromEntries([...weights.tensors].map(([name, { shape }]) => [name, shape]));
    const model = modelFromConfig(config, shapes);
    const parameters = parametersOf(model, config, weights, shown);
    requireVocabulary(model, vocabulary);
    return {
      name: shown,
      model,
      parameters,
      vocabulary,
      companions: folder,
      tensors: weights,
      close: () => weights.close(),
    };
  } catch (error) {
    await weights.close();
    throw error;
  }
}

/** Reads a parameter of `model` from the stored one, where that has it in the same shape. */
export function readerOf(
  { model: from, parameters, tensors }: Stored,
  model: Model,
  key: string,
): ((part?: Part) => Promise<Float32Array>) | undefined {
  const { shape } = model.parameters[key] ?? {};
  if (!shape || shape.join() !== from.parameters[key]?.shape.join()) return undefined;
  const whole = parameters.whole(key);
  if (tensors && whole !== undefined) return (part) => tensors.readFloat32(whole, part);
  return async (part) => cutFloats(await parameters.readFloat32(key), shape, part);
}

/** The stored model with some layers left out; what is read of it goes by its new names. Errors: `bad-layers`. */
export function withoutStored(stored: Stored, drop: readonly number[]): Stored {
  const depths = new Set(drop);
  const model = withoutLayers(stored.model, depths);
  const kept = stored.model.layers.flatMap((_, depth) => (depths.has(depth) ? [] : depth));
  const before = (key: string) =>
    key.replace(/(^|\.)layers\.(\d+)\./, (_, start: string, depth: string) => `${start}layers.${kept[Number(depth)]}.`);
  const { parameters } = stored;
  return {
    ...stored,
    model,
    parameters: {
      ...parameters,
      whole: (key) => parameters.whole(before(key)),
      rowsIn: (key) => parameters.rowsIn(before(key)),
      readFloat32: (key) => parameters.readFloat32(before(key)),
    },
  };
}

/** Errors: `bad-layers` for a layer that is not there or stands twice, `bad-recipe` with what an operator says of its options. */
export function hybridOf(model: Model, replace: readonly Replacement[]): Model {
  const entries = replace.flatMap(({ layers, operator, options }) => {
    const made = fitting(operator, () => findOperator(operator)(options));
    return layers.map((depth) => [depth, made] as const);
  });
  const depths = entries.map(([depth]) => depth);
  const twice = depths.find((depth, index) => depths.indexOf(depth) < index);
  if (twice !== undefined) throw new LfmError('bad-layers', `model.replace names layer ${twice} twice.`);
  return fitting('model.replace', () => withOperators(model, new Map(entries)));
}

/** Options are any operator's own: whatever it makes of wrong ones is an error of the recipe. */
function fitting<T>(what: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof LfmError && ['bad-layers', 'unknown-operator'].includes(error.code)) throw error;
    const message = error instanceof Error ? error.message : String(error);
    throw new LfmError('bad-recipe', `model.replace: ${what}: ${message}`, { cause: error });
  }
}

/** A recipe's objective over an open teacher. */
export interface Taught extends AsyncDisposable {
  readonly objective: TrainingObjective;
  readonly teacher: Stored;
  readonly stored: 'float32' | 'bfloat16';
}

/**
 * The objective that a recipe names, for its student; undefined for the next token. Errors: those of
 * openStored, `tokenizer-mismatch`, `bad-teacher`, `bad-layers`.
 */
export async function openObjective(
  recipe: Recipe,
  student: Model,
  vocabulary: Vocabulary,
): Promise<Taught | undefined> {
  const { model: spec, objective: given, tokenizer, engine } = recipe;
  const name = teacherOf(recipe);
  if (given.name === 'next-token' || name === undefined) return undefined;
  const teacher = await openStored(name, tokenizer.endOfText);
  try {
    requireSameVocabulary(vocabulary.tokenizer, teacher.vocabulary.tokenizer, name);
    const stored = given.teacherDtype ?? engine.dtype;
    const frozen = { model: teacher.model, stored };
    const replaced = isStoredModel(spec) && 'from' in spec ? (spec.replace ?? []) : [];
    const depths = replaced.flatMap(({ layers }) => layers);
    if (given.name === 'align' && isStoredModel(spec) && 'from' in spec && spec.drop)
      throw new LfmError('bad-layers', 'align compares layers by their depth: leave layers out in a later stage.');
    const objective =
      given.name === 'distill' ? distillation(student, frozen, given) : alignment(student, frozen, depths);
    return { objective, teacher, stored, [Symbol.asyncDispose]: () => teacher.close() };
  } catch (error) {
    await teacher.close();
    throw error;
  }
}

/** The teacher's parameters on an engine, as its objective's inputs. */
export async function uploadTeacher(
  engine: Engine,
  { teacher: { model, parameters }, stored }: Pick<Taught, 'teacher' | 'stored'>,
): Promise<Buffers> {
  const buffers: Record<string, Buffer> = {};
  try {
    for (const [name, { shape }] of Object.entries(model.parameters)) {
      const values = await parameters.readFloat32(name);
      const data = stored === 'bfloat16' ? float32ToBfloat16(values) : values;
      buffers[`${teacherPrefix}${name}`] = await engine.upload(stored, shape, data);
    }
    return buffers;
  } catch (error) {
    disposeBuffers(buffers);
    throw error;
  }
}

/** An objective's inputs by the names of the teacher's parameters. */
export function teacherBuffers(frozen: Buffers): Buffers {
  return Object.fromEntries(Object.entries(frozen).map(([name, buffer]) => [name.slice(teacherPrefix.length), buffer]));
}
