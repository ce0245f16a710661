// Read a GGUF file tensor by tensor, without ever holding the whole of it.

import type { FileHandle } from 'node:fs/promises';

import { LfmError } from '../tensor/error.ts';
import { dequantisers } from './gguf-dequantise.ts';
import { parseGguf } from './gguf.ts';
import type { GgufHeader, GgufTensor } from './gguf.ts';
import { openForReading, readFully } from './read.node.ts';

/** How much of a file is read in search of the end of its header, at first; then twice as much, and so on. */
const FIRST_READ = 1 << 22;
/** About how many bytes of a tensor are held while they are made something else. */
const CHUNK = 1 << 20;

/** Named tensors and metadata on disk. Close it, or hold it with `await using`. */
export interface GgufFile extends GgufHeader, AsyncDisposable {
  /** The bytes of a tensor as they are stored. Errors: `tensor-missing`, `file-cut-short`. */
  read(name: string): Promise<Uint8Array>;
  /** The same in pieces of whole blocks, each given where it begins, in blocks; it must not be kept. */
  readPieces(name: string, visit: (piece: Uint8Array, firstBlock: number) => void): Promise<void>;
  /** A tensor as float32. Errors: as read, and `gguf-type-unsupported` naming the tensor and its type. */
  readFloat32(name: string): Promise<Float32Array>;
  close(): Promise<void>;
}

/** Open a GGUF file of version 2 or 3. Errors: `file-missing`, `file-unreadable`, every `gguf-…` rule. */
export async function openGguf(path: string): Promise<GgufFile> {
  const file = await openForReading(path);
  try {
    const { size } = await file.stat();
    const header = await readHeader(file, size, path);
    const find = (name: string): GgufTensor => {
      const tensor = header.tensors.get(name);
      if (tensor) return tensor;
      throw new LfmError(
        'tensor-missing',
        `there is no tensor ${JSON.stringify(name)} among the ${header.tensors.size} of ${path}`,
      );
    };
    const close = () => file.close();
    return {
      ...header,
      async read(name) {
        const { byteLength, byteOffset } = find(name);
        const bytes = new Uint8Array(byteLength);
        await readFully(file, bytes, byteOffset, path);
        return bytes;
      },
      readPieces: (name, visit) => readPieces(file, find(name), path, visit),
      async readFloat32(name) {
        const tensor = find(name);
        const { type, shape } = tensor;
        const decode = dequantisers.get(type.name);
        if (!decode) {
          throw new LfmError(
            'gguf-type-unsupported',
            `${path}: the tensor ${name} is ${type.name}, which cannot be computed here; known are ${[...dequantisers.keys()].join(', ')}: take the model in one of these.`,
          );
        }
        const out = new Float32Array(shape.reduce((product, size) => product * size, 1));
        await readPieces(file, tensor, path, (piece, block) => {
          const end = block + piece.length / type.blockBytes;
          decode(piece, out.subarray(block * type.blockSize, end * type.blockSize));
        });
        return out;
      },
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function readPieces(
  file: FileHandle,
  { type, byteLength, byteOffset }: GgufTensor,
  path: string,
  visit: (piece: Uint8Array, firstBlock: number) => void,
): Promise<void> {
  const room = Math.min(byteLength, Math.floor(CHUNK / type.blockBytes) * type.blockBytes);
  const buffers = [new Uint8Array(room), new Uint8Array(byteLength > room ? room : 0)] as const;
  const read = async (done: number, into: Uint8Array): Promise<Uint8Array> => {
    const piece = into.subarray(0, Math.min(room, byteLength - done));
    await readFully(file, piece, byteOffset + done, path);
    return piece;
  };
  let [into, other] = buffers;
  let reading = read(0, into);
  for (let done = 0; done < byteLength; done += room) {
    const piece = await reading;
    [into, other] = [other, into];
    // The next piece is read while this one is looked at; where that fails, nobody waits for it.
    if (done + room < byteLength) reading = read(done + room, into);
    reading.catch(() => undefined);
    visit(piece, done / type.blockBytes);
  }
}

async function readHeader(file: FileHandle, size: number, path: string): Promise<GgufHeader> {
  for (let length = FIRST_READ; ; length *= 2) {
    const start = new Uint8Array(Math.min(length, size));
    await readFully(file, start, 0, path);
    const header = parseGguf(start, size, path);
    if (header) return header;
  }
}
