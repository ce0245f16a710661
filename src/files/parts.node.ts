// Tensors that lie in parts on several devices: written side by side, one file a device, and read back whole or in any part.
import { dirname, join } from 'node:path';
import { byteLength } from '../tensor/dtype.ts';
import { LfmError } from '../tensor/error.ts';
import type { Part } from '../tensor/part.ts';
import { joinPart, overlapOf, samePart, within } from '../tensor/part.ts';
import { countOf } from '../tensor/shape.ts';
import type { FolderWriter } from './atomic.node.ts';
import { readJsonIfPresent } from './json.node.ts';
import type { PartedTensor, StoredPart } from './parts.ts';
import { formatPartsIndex, parsePartsIndex } from './parts.ts';
import type { StoredDType, TensorInfo } from './safetensors.ts';
import type { Fill, TensorReader } from './safetensors.node.ts';
import { makeReader, openSafetensors } from './safetensors.node.ts';
import { MAX_SHARDS } from './shards.ts';
import type { TensorToWrite } from './safetensors-write.ts';
import { writeSafetensors } from './safetensors-write.ts';

/** Files that are written at once: a bound on the parts that are on the host. */
const FILES_AT_ONCE = 4;

export interface PartToWrite extends Part {
  /** Devices that hold it, by number. */
  readonly devices: readonly number[];
  /** The elements, little-endian and row-major, from one of them; called when their turn comes. */
  read(device: number): Promise<ArrayBufferView>;
}

export interface TensorInParts {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  readonly parts: readonly PartToWrite[];
}

export function partsIndexName(stem: string): string {
  return `${stem}.parts.json`;
}

/**
 * Adds STEM-part-N.safetensors for each device N that has something to write, and then STEM.parts.json. What several
 * devices hold is written once, by the one with the least to write so far. `id`: what files of one writing share.
 * Errors: what `read` throws, after all that was under way has ended.
 */
export async function writeParts(
  folder: FolderWriter,
  stem: string,
  id: string,
  tensors: readonly TensorInParts[],
): Promise<void> {
  const files = new Map<number, TensorToWrite[]>();
  const bytes = new Map<number, number>();
  const bytesOf = (device: number): number => bytes.get(device) ?? 0;
  const index = tensors.map(({ name, dtype, shape, parts }): PartedTensor => ({
    name,
    dtype,
    shape,
    parts: parts.map(({ starts, sizes, devices, read }): StoredPart => {
      const device = devices.reduce((least, next) => (bytesOf(next) < bytesOf(least) ? next : least));
      bytes.set(device, bytesOf(device) + byteLength(dtype, countOf(sizes)));
      const file = files.get(device) ?? [];
      file.push({ name, dtype, shape: sizes, data: () => read(device) });
      files.set(device, file);
      return { file: fileName(stem, device), starts, sizes };
    }),
  }));
  await sideBySide([...files], FILES_AT_ONCE, ([device, list]) => {
    const file = fileName(stem, device);
    return folder.file(file, (sink) => writeSafetensors(sink, list, { id, file }));
  });
  await folder.file(partsIndexName(stem), formatPartsIndex({ id, tensors: index }));
}

function fileName(stem: string, device: number): string {
  return `${stem}-part-${String(device).padStart(5, '0')}.safetensors`;
}

/** Works on all items, at most `limit` at once. After an error nothing is under way any more, and nothing else is begun. */
async function sideBySide<T>(items: readonly T[], limit: number, work: (item: T) => Promise<void>): Promise<void> {
  const left = items.values();
  let failed = false;
  const worker = async (): Promise<void> => {
    for (const item of left) {
      if (failed) return;
      await work(item).catch((error: unknown) => {
        failed = true;
        throw error;
      });
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: limit }, worker));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}

/**
 * Opens STEM.parts.json and the files that it names. Tensors have their whole shapes; a block is read from the parts that it
 * meets. Errors: those of parsePartsIndex and of openSafetensors; `parts-foreign` for a file of another writing or device,
 * `parts-tensor` for one that does not hold what the index says.
 */
export async function openParts(indexPath: string): Promise<TensorReader> {
  const json = await readJsonIfPresent(indexPath);
  if (json === undefined) throw new LfmError('file-missing', `${indexPath} does not exist`);
  const { id, tensors } = parsePartsIndex(json, indexPath);
  const files = new Map<string, TensorReader>();
  const close = async (): Promise<void> => {
    await Promise.all([...files.values()].map((file) => file.close()));
  };
  const open = async (name: string): Promise<TensorReader> => {
    const known = files.get(name);
    if (known) return known;
    if (files.size === MAX_SHARDS) throw new LfmError('parts-invalid', `${indexPath} names over ${MAX_SHARDS} files.`);
    const file = await openSafetensors(join(dirname(indexPath), name));
    files.set(name, file);
    if (file.metadata.get('id') === id && file.metadata.get('file') === name) return file;
    throw new LfmError(
      'parts-foreign',
      `${join(dirname(indexPath), name)} was not written with ${indexPath}: it belongs to another run, step or device.`,
    );
  };
  try {
    const places = new Map<TensorInfo, readonly { readonly part: StoredPart; readonly file: TensorReader }[]>();
    for (const { name, dtype, shape, parts } of tensors) {
      const held = [];
      for (const part of parts) {
        const file = await open(part.file);
        const found = file.tensors.get(name);
        if (found?.dtype !== dtype || found.shape.join() !== part.sizes.join())
          throw new LfmError(
            'parts-tensor',
            `${indexPath}: ${part.file} should hold ${dtype}[${part.sizes.join(', ')}] of ${JSON.stringify(name)}; found ${found ? `${found.dtype}[${found.shape.join(', ')}]` : 'none'}.`,
          );
        held.push({ part, file });
      }
      places.set({ name, dtype, shape, byteOffset: 0, byteLength: byteLength(dtype, countOf(shape)) }, held);
    }
    const fill: Fill = async (info, wanted, into) => {
      const width = byteLength(info.dtype, 1);
      for (const { part, file } of places.get(info) ?? []) {
        const shared = overlapOf(part, wanted);
        if (!shared) continue;
        const from = within(shared, part);
        if (samePart(shared, wanted)) await file.read(info.name, into, from);
        else joinPart(into, wanted.sizes, within(shared, wanted), width, await file.read(info.name, undefined, from));
      }
    };
    const infos = new Map([...places.keys()].map((info) => [info.name, info]));
    return makeReader(infos, new Map(), fill, close);
  } catch (error) {
    await close();
    throw error;
  }
}
