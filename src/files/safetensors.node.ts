// Read safetensors files tensor by tensor, without ever holding a whole file: one file, or shards behind an index.

import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { byteLength } from '../tensor/dtype.ts';
import { LfmError } from '../tensor/error.ts';
import type { Part } from '../tensor/part.ts';
import { partRuns } from '../tensor/part.ts';
import { countOf } from '../tensor/shape.ts';
import { bfloat16ToFloat32, float16ToFloat32 } from './floats.ts';
import { readJsonIfPresent } from './json.node.ts';
import { openForReading, readFully } from './read.node.ts';
import { parseHeader, readHeaderLength } from './safetensors.ts';
import type { SafetensorsHeader, TensorInfo } from './safetensors.ts';
import { checkShards, parseShardIndex } from './shards.ts';

/** Bytes between two runs of a part that are read over rather than skipped, and bytes of a read that does so. */
const [READ_OVER_BYTES, READ_BYTES] = [2 ** 16, 2 ** 22];

/** Named tensors on disk. Close it, or hold it with `await using`. */
export interface TensorReader extends SafetensorsHeader, AsyncDisposable {
  /**
   * The little-endian bytes of a tensor or of a block of it, into `into` (of exactly their length) or new memory.
   * Errors: `tensor-missing`, `tensor-part`, `tensor-wrong-length`, `file-cut-short` (the file changed since it was opened).
   */
  read(name: string, into?: Uint8Array, part?: Part): Promise<Uint8Array>;
  /** A floating-point tensor, or a block of it, as float32 (float64 is rounded). Errors: as read, and `tensor-not-float`. */
  readFloat32(name: string, part?: Part): Promise<Float32Array>;
  close(): Promise<void>;
}

/**
 * Open FILE.safetensors, or the shards that a FILE.safetensors.index.json names.
 * Errors: `file-missing`, every `safetensors-…` rule, `index-…` for a bad index.
 */
export async function openSafetensors(path: string): Promise<TensorReader> {
  return path.endsWith('.json') ? openShards(path) : openFile(path);
}

async function openFile(path: string): Promise<TensorReader> {
  const file = await openForReading(path);
  try {
    const { size } = await file.stat();
    const start = new Uint8Array(Math.min(8, size));
    await readFully(file, start, 0, path);
    if (new TextDecoder().decode(start) === 'version ') {
      throw new LfmError('git-lfs-pointer', `${path} is a Git LFS pointer, not the file itself: run "git lfs pull"`);
    }
    const header = new Uint8Array(readHeaderLength(start, size, path));
    await readFully(file, header, 8, path);
    const { tensors, metadata } = parseHeader(header, size, path);
    return makeReader(
      tensors,
      metadata,
      (info, part, into) => readRuns(file, info, part, into, path),
      () => file.close(),
    );
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function openShards(indexPath: string): Promise<TensorReader> {
  const json = await readJsonIfPresent(indexPath);
  if (json === undefined) throw new LfmError('file-missing', `${indexPath} does not exist`);
  const index = parseShardIndex(json, indexPath);
  const shards = new Map<string, TensorReader>();
  const close = async (): Promise<void> => {
    await Promise.all([...shards.values()].map((shard) => shard.close()));
  };
  try {
    for (const file of index.files) {
      const path = join(dirname(indexPath), file);
      shards.set(
        file,
        await openFile(path).catch((error: LfmError) => {
          if (error.code !== 'file-missing') throw error;
          throw new LfmError('index-file-missing', `${indexPath} names ${file}, which is not beside it: fetch it`, {
            cause: error,
          });
        }),
      );
    }
    const metadata = checkShards(index, shards, indexPath);
    const tensors = new Map([...shards.values()].flatMap((shard) => [...shard.tensors]));
    const read: Fill = async ({ name }, part, into) => {
      await shards.get(index.fileOf.get(name) ?? '')?.read(name, into, part);
    };
    return makeReader(tensors, metadata, read, close);
  } catch (error) {
    await close();
    throw error;
  }
}

/** Reads a block of a tensor into memory of its size. */
export type Fill = (info: TensorInfo, part: Part, into: Uint8Array) => Promise<void>;

/** The unbroken runs of a block; short ones that stand close together in one read. */
async function readRuns(
  file: FileHandle,
  { dtype, shape, byteOffset }: TensorInfo,
  part: Part,
  into: Uint8Array,
  path: string,
): Promise<void> {
  let near: { readonly from: number; readonly to: number; readonly bytes: number }[] = [];
  let [begin, end] = [0, 0];
  const flush = async (): Promise<void> => {
    const [first] = near;
    if (!first) return;
    if (near.length === 1)
      await readFully(file, into.subarray(first.to, first.to + first.bytes), byteOffset + begin, path);
    else {
      const span = new Uint8Array(end - begin);
      await readFully(file, span, byteOffset + begin, path);
      for (const { from, to, bytes } of near) into.set(span.subarray(from - begin, from - begin + bytes), to);
    }
    near = [];
  };
  for (const run of partRuns(shape, part, byteLength(dtype, 1))) {
    if (run.from - end > READ_OVER_BYTES || run.from + run.bytes - begin > READ_BYTES) await flush();
    if (near.length === 0) begin = run.from;
    near.push(run);
    end = run.from + run.bytes;
  }
  await flush();
}

export function makeReader(
  tensors: ReadonlyMap<string, TensorInfo>,
  metadata: ReadonlyMap<string, string>,
  fill: Fill,
  close: () => Promise<void>,
): TensorReader {
  const find = (name: string): TensorInfo => {
    const info = tensors.get(name);
    if (info !== undefined) return info;
    throw new LfmError(
      'tensor-missing',
      `there is no tensor ${JSON.stringify(name)} among the ${tensors.size} in the file`,
    );
  };
  const read = async (name: string, into?: Uint8Array, part?: Part): Promise<Uint8Array> => {
    const info = find(name);
    const { dtype, shape } = info;
    const wanted = part ?? { starts: shape.map(() => 0), sizes: shape };
    if (
      wanted.starts.length !== shape.length ||
      !wanted.sizes.every((size, i) => isInside(size, wanted.starts[i], shape[i]))
    )
      throw new LfmError(
        'tensor-part',
        `tensor ${name} is [${shape.join(', ')}]; it has no part [${wanted.sizes.join(', ')}] at [${wanted.starts.join(', ')}]`,
      );
    const bytes = byteLength(dtype, countOf(wanted.sizes));
    const target = into ?? new Uint8Array(bytes);
    if (target.byteLength !== bytes)
      throw new LfmError('tensor-wrong-length', `tensor ${name} has ${bytes} bytes, the target ${target.byteLength}`);
    await fill(info, wanted, target);
    return target;
  };
  const readFloat32 = async (name: string, part?: Part): Promise<Float32Array> => {
    const { dtype } = find(name);
    if (dtype !== 'float32' && dtype !== 'float64' && dtype !== 'float16' && dtype !== 'bfloat16') {
      throw new LfmError('tensor-not-float', `tensor ${name} is ${dtype}; expected a floating-point type`);
    }
    const { buffer } = await read(name, undefined, part);
    if (dtype === 'float32') return new Float32Array(buffer);
    if (dtype === 'float64') return Float32Array.from(new Float64Array(buffer));
    return dtype === 'float16' ? float16ToFloat32(new Uint16Array(buffer)) : bfloat16ToFloat32(new Uint16Array(buffer));
  };
  return { tensors, metadata, read, readFloat32, close, [Symbol.asyncDispose]: close };
}

function isInside(size: number, start = 0, whole = 0): boolean {
  return start >= 0 && size >= 0 && start + size <= whole;
}
