// The files of a trained model, as transformers and the hub lay them out, and what a checkpoint adds to them.
import type { BufferPart } from '../engines/engine.ts';
import type { FolderWriter } from '../files/atomic.node.ts';
import { float32ToBfloat16 } from '../files/floats.ts';
import type { JsonObject } from '../files/json.ts';
import { isJsonObject } from '../files/json.ts';
import type { TensorInParts } from '../files/parts.node.ts';
import { writeParts } from '../files/parts.node.ts';
import { writeSafetensors } from '../files/safetensors-write.ts';
import type { TensorToWrite } from '../files/safetensors-write.ts';
import { addShards } from '../files/shards.ts';
import type { Model } from '../liquid/index.ts';
import { checkpointNames } from '../models/index.ts';
import { LfmError } from '../tensor/error.ts';
import type { HostArray } from '../tensor/dtype.ts';
import { configOf } from './model-config.ts';
import type { Vocabulary } from './vocabulary.node.ts';

/** What a model that training began from came with, and keeps. */
export interface Companions {
  readonly generationConfig?: unknown;
  readonly tokenizerConfig?: unknown;
  /** The text of chat_template.jinja. */
  readonly chatTemplate?: string | undefined;
}

export interface TrainedParts {
  readonly model: Model;
  readonly vocabulary: Vocabulary;
  readonly companions?: Companions | undefined;
  /** A tensor's values by key. */
  readonly read: (key: string) => Promise<Float32Array>;
}

/** Where devices share the tensors. */
export interface Division {
  /** What a tensor is made up of, by key. */
  readonly parts: (key: string) => readonly BufferPart[];
  /** Of this writing and no other. */
  readonly id: string;
}

/** Weights beyond this go into several files, in bytes: what the hub likes. */
const MOST_FILE_BYTES = 5e9;

function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

/**
 * Adds config.json, tokenizer.json and their companions, and the weights under the names that such checkpoints have:
 * model.safetensors; where they would pass `mostBytes`, model-0000x-of-0000y.safetensors and an index; with a division, in
 * parts as float32. Errors: `not-finite`, `no-config`.
 */
export async function addModelFiles(
  folder: FolderWriter,
  parts: TrainedParts,
  dtype: 'float32' | 'bfloat16',
  {
    division,
    mostBytes = MOST_FILE_BYTES,
  }: { readonly division?: Division | undefined; readonly mostBytes?: number } = {},
): Promise<void> {
  const { model, vocabulary, companions = {} } = parts;
  const { tokenizer, endOfText, pad } = vocabulary;
  const config = configOf(model, { pad, endOfText });
  await folder.file('config.json', json({ ...config, dtype }));
  const nameOf = checkpointNames(config);
  if (division) await writeParts(folder, 'model', division.id, inParts(parts, division, [''], nameOf));
  else await addShards(folder, tensorsOf(parts, [''], dtype, nameOf), { maxShardBytes: mostBytes });
  await folder.file('tokenizer.json', vocabulary.json);
  const spelt = (id: number | null): string | null => (id === null ? null : tokenizer.decode([id]));
  const [prefix = null] = tokenizer.definition.prefix;
  await folder.file(
    'tokenizer_config.json',
    json({
      tokenizer_class: 'PreTrainedTokenizerFast',
      bos_token: spelt(prefix),
      eos_token: spelt(endOfText),
      pad_token: spelt(pad),
      ...objectOf(companions.tokenizerConfig),
      model_max_length: model.contextLength,
    }),
  );
  if (companions.chatTemplate !== undefined) await folder.file('chat_template.jinja', companions.chatTemplate);
  const generation = {
    bos_token_id: prefix,
    eos_token_id: config.eos_token_id ?? endOfText,
    pad_token_id: pad,
    do_sample: true,
    temperature: 0.8,
    ...objectOf(companions.generationConfig),
  };
  await folder.file('generation_config.json', json(generation));
}

function objectOf(value: unknown): JsonObject {
  return isJsonObject(value) ? value : {};
}

const moments = ['first.', 'second.'];

/** Adds optimizer.safetensors, or its parts: `first.NAME` and `second.NAME` for each parameter, float32. Errors: `not-finite`. */
export async function addMoments(folder: FolderWriter, parts: TrainedParts, division?: Division): Promise<void> {
  if (division) return writeParts(folder, 'optimizer', division.id, inParts(parts, division, moments));
  return folder.file('optimizer.safetensors', (sink) => writeSafetensors(sink, tensorsOf(parts, moments, 'float32')));
}

const itself = (name: string): string => name;

/** Adds optimizer.safetensors with what an adapter trains and its moments, by the model's names. Errors: `not-finite`. */
export async function addAdapterMoments(folder: FolderWriter, { model, read }: TrainedParts): Promise<void> {
  const trained = Object.fromEntries(Object.entries(model.parameters).filter(([, { frozen }]) => !frozen));
  const parts = { model: { ...model, parameters: trained }, read };
  return folder.file('optimizer.safetensors', (sink) =>
    writeSafetensors(sink, tensorsOf(parts, ['', ...moments], 'float32')),
  );
}

function tensorsOf(
  { model, read }: Pick<TrainedParts, 'model' | 'read'>,
  prefixes: readonly string[],
  dtype: 'float32' | 'bfloat16',
  nameOf = itself,
): TensorToWrite[] {
  return keysOf(model, prefixes).map(({ key, shape }) => ({
    name: nameOf(key),
    dtype,
    shape,
    data: async () => {
      const values = requireFinite(await read(key), key);
      return dtype === 'bfloat16' ? float32ToBfloat16(values) : values;
    },
  }));
}

function inParts(
  { model }: TrainedParts,
  { parts }: Division,
  prefixes: readonly string[],
  nameOf = itself,
): TensorInParts[] {
  return keysOf(model, prefixes).map(({ key, shape }) => ({
    name: nameOf(key),
    dtype: 'float32',
    shape,
    parts: parts(key).map((part) => ({
      ...part,
      read: async (device: number) => requireFinite(await part.read(device), key),
    })),
  }));
}

function keysOf({ parameters }: Model, prefixes: readonly string[]): { key: string; shape: readonly number[] }[] {
  return Object.entries(parameters).flatMap(([name, { shape }]) =>
    prefixes.map((prefix) => ({ key: `${prefix}${name}`, shape })),
  );
}

function requireFinite(values: HostArray, key: string): Float32Array {
  if (!(values instanceof Float32Array))
    throw new LfmError('bad-input', `The engine gave "${key}" in another type than float32.`);
  // Not `every`: this runs over each value of a checkpoint, ten times as fast.
  for (let at = 0; at < values.length; at++) {
    if (!Number.isFinite(values[at]))
      throw new LfmError('not-finite', `${key} holds values that are not numbers, so it was not written.`);
  }
  return values;
}
