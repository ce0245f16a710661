// Read safetensors files tensor by tensor, without ever holding a whole file: one file, or shards behind an index.

import { dirname, join } from 'node:path';

import { LfmError } from '../tensor/error.ts';
import { bfloat16ToFloat32, float16ToFloat32 } from './floats.ts';
import { readJsonIfPresent } from './json.node.ts';
import { openForReading, readFully } from './read.node.ts';
import { parseHeader, readHeaderLength } from './safetensors.ts';
import type { SafetensorsHeader, TensorInfo } from './safetensors.ts';
import { checkShards, parseShardIndex } from './shards.ts';

/** Named tensors on disk. Close it, or hold it with `await using`. */
export interface TensorReader extends SafetensorsHeader, AsyncDisposable {
  /**
   * The little-endian bytes of a tensor, into `into` (of exactly its length) or new memory.
   * Errors: `tensor-missing`, `tensor-wrong-length`, `file-cut-short` (the file changed since it was opened).
   */
  read(name: string, into?: Uint8Array): Promise<Uint8Array>;
  /** A floating-point tensor as float32 (float64 is rounded). Errors: as read, and `tensor-not-float`. */
  readFloat32(name: string): Promise<Float32Array>;
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
      (info, into) => readFully(file, into, info.byteOffset, path),
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
    const read = async ({ name }: TensorInfo, into: Uint8Array): Promise<void> => {
      await shards.get(index.fileOf.get(name) ?? '')?.read(name, into);
    };
    return makeReader(tensors, metadata, read, close);
  } catch (error) {
    await close();
    throw error;
  }
}

function makeReader(
  tensors: ReadonlyMap<string, TensorInfo>,
  metadata: ReadonlyMap<string, string>,
  fill: (info: TensorInfo, into: Uint8Array) => Promise<void>,
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
  const read = async (name: string, into?: Uint8Array): Promise<Uint8Array> => {
    const info = find(name);
    const target = into ?? new Uint8Array(info.byteLength);
    if (target.byteLength !== info.byteLength) {
      throw new LfmError(
        'tensor-wrong-length',
        `tensor ${name} has ${info.byteLength} bytes, the target ${target.byteLength}`,
      );
    }
    await fill(info, target);
    return target;
  };
  const readFloat32 = async (name: string): Promise<Float32Array> => {
    const { dtype } = find(name);
    if (dtype !== 'float32' && dtype !== 'float64' && dtype !== 'float16' && dtype !== 'bfloat16') {
      throw new LfmError('tensor-not-float', `tensor ${name} is ${dtype}; expected a floating-point type`);
    }
    const { buffer } = await read(name);
    if (dtype === 'float32') return new Float32Array(buffer);
    if (dtype === 'float64') return Float32Array.from(new Float64Array(buffer));
    return dtype === 'float16' ? float16ToFloat32(new Uint16Array(buffer)) : bfloat16ToFloat32(new Uint16Array(buffer));
  };
  return { tensors, metadata, read, readFloat32, close, [Symbol.asyncDispose]: close };
}
