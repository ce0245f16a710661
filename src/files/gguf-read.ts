// Reads a GGUF file tensor by tensor, without ever holding the whole of it, from anything that gives ranges of bytes.
import { LfmError } from '../tensor/error.ts';
import { dequantisers } from './gguf-dequantise.ts';
import { parseGguf } from './gguf.ts';
import type { GgufHeader, GgufTensor } from './gguf.ts';

/** How much of a file is read in search of the end of its header, at first; then twice as much, and so on. */
const FIRST_READ = 1 << 22;
/** About how many bytes of a tensor are held while they are made something else. */
const CHUNK = 1 << 20;

/** Bytes of a file by their place. */
export interface ByteSource {
  readonly size: number;
  /** Fills `into`. Errors: `file-cut-short`. */
  read(into: Uint8Array, offset: number): Promise<void>;
  close(): Promise<void>;
}

/** Named tensors and metadata of a file. Close it, or hold it with `await using`. */
export interface GgufFile extends GgufHeader, AsyncDisposable {
  /** The bytes of a tensor as they are stored. Errors: `tensor-missing`, `file-cut-short`. */
  read(name: string): Promise<Uint8Array>;
  /** The same in pieces of whole blocks, each given where it begins, in blocks; it must not be kept. */
  readPieces(name: string, visit: (piece: Uint8Array, firstBlock: number) => void): Promise<void>;
  /** A tensor as float32. Errors: as read, and `gguf-type-unsupported` naming the tensor and its type. */
  readFloat32(name: string): Promise<Float32Array>;
  close(): Promise<void>;
}

/** Takes the source over: it is closed with the file, and when this fails. `path` names it. Errors: every `gguf-…` rule. */
export async function readGguf(source: ByteSource, path: string): Promise<GgufFile> {
  try {
    const header = await readHeader(source, path);
    const find = (name: string): GgufTensor => {
      const tensor = header.tensors.get(name);
      if (tensor) return tensor;
      throw new LfmError(
        'tensor-missing',
        `there is no tensor ${JSON.stringify(name)} among the ${header.tensors.size} of ${path}`,
      );
    };
    const close = () => source.close();
    return {
      ...header,
      async read(name) {
        const { byteLength, byteOffset } = find(name);
        const bytes = new Uint8Array(byteLength);
        await source.read(bytes, byteOffset);
        return bytes;
      },
      readPieces: (name, visit) => readPieces(source, find(name), visit),
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
        await readPieces(source, tensor, (piece, block) => {
          const end = block + piece.length / type.blockBytes;
          decode(piece, out.subarray(block * type.blockSize, end * type.blockSize));
        });
        return out;
      },
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function readPieces(
  source: ByteSource,
  { type, byteLength, byteOffset }: GgufTensor,
  visit: (piece: Uint8Array, firstBlock: number) => void,
): Promise<void> {
  const room = Math.min(byteLength, Math.floor(CHUNK / type.blockBytes) * type.blockBytes);
  const buffers = [new Uint8Array(room), new Uint8Array(byteLength > room ? room : 0)] as const;
  const read = async (done: number, into: Uint8Array): Promise<Uint8Array> => {
    const piece = into.subarray(0, Math.min(room, byteLength - done));
    await source.read(piece, byteOffset + done);
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

async function readHeader(source: ByteSource, path: string): Promise<GgufHeader> {
  for (let length = FIRST_READ; ; length *= 2) {
    const start = new Uint8Array(Math.min(length, source.size));
    await source.read(start, 0);
    const header = parseGguf(start, source.size, path);
    if (header) return header;
  }
}
