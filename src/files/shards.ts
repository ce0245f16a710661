// Checkpoints in several safetensors files: which tensors go in which file, and the rules of the index that names them.
// Format: FILE-0000i-of-0000n.safetensors beside FILE.safetensors.index.json, as transformers writes them.

import { LfmError } from '../tensor/error.ts';
import { isJsonObject } from './json.ts';
import type { JsonObject } from './json.ts';
import { tensorBytes } from './safetensors.ts';
import type { SafetensorsHeader } from './safetensors.ts';
import { writeSafetensors } from './safetensors-write.ts';
import type { ByteSink, TensorToWrite } from './safetensors-write.ts';

/** More than any published model has; a bound on open files. */
export const MAX_SHARDS = 4096;
/** What a file may hold where the caller does not say: transformers' measure for many years. */
const DEFAULT_SHARD_BYTES = 5e9;

export interface ShardIndex {
  /** Names of the files beside the index, each once. */
  readonly files: readonly string[];
  /** The file of each tensor. */
  readonly fileOf: ReadonlyMap<string, string>;
  /** Bytes of all tensors, where the index tells them. */
  readonly totalBytes: number | undefined;
}

/**
 * Reads an index; `what` names it in messages.
 * Errors: `index-weight-map`, `index-empty`, `index-file-name` (not the name of a file beside the index), `index-shards`,
 * `index-total-size` (no whole number).
 */
export function parseShardIndex(json: JsonObject, what: string): ShardIndex {
  const weightMap = json['weight_map'];
  if (!isJsonObject(weightMap)) throw fail('weight-map', `${what}: expected an object "weight_map"`);
  const fileOf = new Map<string, string>();
  const files = new Set<string>();
  for (const [name, file] of Object.entries(weightMap)) {
    if (typeof file !== 'string' || !/^[^/\\:\0]+\.safetensors$/.test(file)) {
      const shown = JSON.stringify(file)?.slice(0, 200);
      throw fail('file-name', `${what}: ${shown} is not the name of a .safetensors file beside the index`);
    }
    files.add(file);
    if (files.size > MAX_SHARDS) throw fail('shards', `${what} names over ${MAX_SHARDS} files`);
    fileOf.set(name, file);
  }
  if (fileOf.size === 0) throw fail('empty', `${what}: its weight_map names no tensor`);
  const { metadata } = json;
  const totalBytes = isJsonObject(metadata) ? (metadata['total_size'] ?? undefined) : undefined;
  if (
    totalBytes !== undefined &&
    (typeof totalBytes !== 'number' || !Number.isSafeInteger(totalBytes) || totalBytes < 0)
  )
    throw fail('total-size', `${what}: metadata.total_size must be a number of bytes`);
  return { files: [...files], fileOf, totalBytes };
}

/**
 * Checks the index against the headers of its files and gives the metadata of all.
 * Errors: `index-tensor` (a tensor is not where it is said to be), `index-duplicate-tensor` (it is in two files),
 * `index-unlisted-tensor` (a file holds one that the index does not name), `index-metadata` (two files contradict each
 * other), `index-total-size`.
 */
export function checkShards(
  { fileOf, totalBytes }: ShardIndex,
  shards: ReadonlyMap<string, SafetensorsHeader>,
  what: string,
): Map<string, string> {
  const metadata = new Map<string, string>();
  const seen = new Map<string, string>();
  let bytes = 0;
  for (const [file, shard] of shards) {
    for (const [key, value] of shard.metadata) {
      if ((metadata.get(key) ?? value) !== value)
        throw fail('metadata', `${what}: the metadata ${quote(key)} of ${file} is not that of the files before it`);
      metadata.set(key, value);
    }
    for (const { name, byteLength } of shard.tensors.values()) {
      const other = seen.get(name);
      if (other !== undefined)
        throw fail('duplicate-tensor', `${what}: tensor ${quote(name)} is in both ${other} and ${file}`);
      if (!fileOf.has(name))
        throw fail('unlisted-tensor', `${what}: tensor ${quote(name)} of ${file} is not in its weight_map`);
      seen.set(name, file);
      bytes += byteLength;
    }
  }
  for (const [name, file] of fileOf) {
    if (seen.get(name) !== file)
      throw fail('tensor', `${what}: tensor ${quote(name)} is not in ${file}, where it is said to be`);
  }
  if (totalBytes !== undefined && totalBytes !== bytes) {
    throw fail(
      'total-size',
      `${what}: metadata.total_size says ${totalBytes} bytes, the tensors have ${bytes}: fetch the files again, or take total_size out if they are right`,
    );
  }
  return metadata;
}

interface Folder {
  file(name: string, content: string | ((sink: ByteSink) => Promise<void>)): Promise<void>;
}

export interface ShardOptions {
  readonly metadata?: Readonly<Record<string, string>>;
  /** Most bytes of tensors in a file, unless a single tensor has more. Default 5 GB. */
  readonly maxShardBytes?: number | undefined;
}

/**
 * Adds a model's tensors to a folder: model.safetensors where they fit in one file, else numbered shards and their index.
 * Tensors go in the order given. Errors: as writeSafetensors.
 */
export async function addShards(
  folder: Folder,
  tensors: readonly TensorToWrite[],
  { metadata = { format: 'pt' }, maxShardBytes = DEFAULT_SHARD_BYTES }: ShardOptions = {},
): Promise<void> {
  const shards: TensorToWrite[][] = [[]];
  let [filled, total] = [0, 0];
  for (const tensor of tensors) {
    const bytes = tensorBytes(tensor.dtype, tensor.shape) ?? 0; // the writer refuses what has none
    if (filled > 0 && filled + bytes > maxShardBytes) {
      shards.push([]);
      filled = 0;
    }
    shards.at(-1)?.push(tensor);
    filled += bytes;
    total += bytes;
  }
  if (shards.length === 1) return folder.file('model.safetensors', (sink) => writeSafetensors(sink, tensors, metadata));
  const count = String(shards.length).padStart(5, '0');
  const fileOf: [string, string][] = [];
  for (const [index, shard] of shards.entries()) {
    const name = `model-${String(index + 1).padStart(5, '0')}-of-${count}.safetensors`;
    await folder.file(name, (sink) => writeSafetensors(sink, shard, metadata));
    for (const tensor of shard) fileOf.push([tensor.name, name]);
  }
  fileOf.sort(([a], [b]) => (a < b ? -1 : 1));
  const index = { metadata: { total_size: total }, weight_map: Object.fromEntries(fileOf) };
  return folder.file('model.safetensors.index.json', `${JSON.stringify(index, undefined, 2)}\n`);
}

function quote(text: string): string {
  return JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}…` : text);
}

function fail(rule: string, message: string): LfmError {
  return new LfmError(`index-${rule}`, message);
}
