// Write GGUF to any sink, one tensor in memory at a time. The same tensors and metadata give the same bytes.

import { LfmError } from '../tensor/error.ts';
import { quantise } from './gguf-quantise.ts';
import type { GgufWriteType } from './gguf-quantise.ts';
import { ggufTypeIds, ggufTypes } from './gguf-types.ts';
import type { ByteSink } from './safetensors-write.ts';

/** A value of metadata; numbers and their lists say how wide they are. */
export type GgufWriteValue =
  | string
  | boolean
  | readonly string[]
  | { readonly type: keyof typeof numbers; readonly value: number | readonly number[] };

export interface GgufTensorToWrite {
  readonly name: string;
  readonly type: GgufWriteType;
  /** Row-major; at most four axes. */
  readonly shape: readonly number[];
  /** The elements; called when their turn comes. */
  readonly data: () => Float32Array | Promise<Float32Array>;
}

const ALIGNMENT = 32;
const BOOL = 7;
const STRING = 8;
const ARRAY = 9;
const numbers = {
  int32: { id: 5, bytes: 4, put: (view: DataView, value: number) => view.setInt32(0, value, true) },
  uint32: { id: 4, bytes: 4, put: (view: DataView, value: number) => view.setUint32(0, value, true) },
  float32: { id: 6, bytes: 4, put: (view: DataView, value: number) => view.setFloat32(0, value, true) },
};

/**
 * Write tensors, in the order given, and metadata, as version 3.
 * Errors: `gguf-duplicate-tensor`, `gguf-name-length`, `gguf-dimensions`, `gguf-block` (rows that are no whole number of
 * the type's blocks), `gguf-byte-length` (data that does not fit its shape), `not-finite`. What was written must then be
 * thrown away.
 */
export async function writeGguf(
  sink: ByteSink,
  tensors: readonly GgufTensorToWrite[],
  metadata: Readonly<Record<string, GgufWriteValue>>,
): Promise<void> {
  const header = new Bytes();
  header.raw(new TextEncoder().encode('GGUF')).uint32(3).uint64(tensors.length);
  const pairs = Object.entries(metadata);
  header.uint64(pairs.length);
  for (const [key, value] of pairs) header.string(key).value(value);
  const names = new Set<string>();
  let offset = 0;
  for (const tensor of tensors) {
    const bytes = bytesOf(tensor);
    if (names.has(tensor.name)) throw fail('duplicate-tensor', `two tensors are named ${JSON.stringify(tensor.name)}`);
    names.add(tensor.name);
    header.string(tensor.name).uint32(tensor.shape.length);
    for (const size of tensor.shape.toReversed()) header.uint64(size);
    header.uint32(ggufTypeIds.get(tensor.type) ?? 0).uint64(offset);
    offset = padded(offset + bytes);
  }
  await sink.write(header.pad().done());
  for (const tensor of tensors) {
    const data = await tensor.data();
    const elements = tensor.shape.reduce((product, size) => product * size, 1);
    if (data.length !== elements)
      throw fail('byte-length', `tensor ${tensor.name}: expected ${elements} elements, found ${data.length}`);
    const bytes = quantise(tensor.type, data);
    await sink.write(bytes);
    const gap = padded(bytes.length) - bytes.length;
    if (gap > 0) await sink.write(new Uint8Array(gap));
  }
}

function bytesOf({ name, type, shape }: GgufTensorToWrite): number {
  const { blockSize, blockBytes } = ggufTypes.get(ggufTypeIds.get(type) ?? 0) ?? { blockSize: 1, blockBytes: 4 };
  if (new TextEncoder().encode(name).length > 63) throw fail('name-length', `${name} is over 63 bytes long`);
  if (shape.length > 4) throw fail('dimensions', `tensor ${name}: [${shape.join(', ')}] has over 4 axes`);
  if ((shape.at(-1) ?? 1) % blockSize !== 0)
    throw fail('block', `tensor ${name}: rows of ${shape.at(-1)} are no whole number of ${type}'s ${blockSize}`);
  return (shape.reduce((product, size) => product * size, 1) / blockSize) * blockBytes;
}

function padded(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

/** A growing run of bytes. */
class Bytes {
  readonly #parts: Uint8Array[] = [];
  #length = 0;

  raw(bytes: Uint8Array): this {
    this.#parts.push(bytes);
    this.#length += bytes.length;
    return this;
  }

  #number(kind: keyof typeof numbers, value: number): this {
    const bytes = new Uint8Array(numbers[kind].bytes);
    numbers[kind].put(new DataView(bytes.buffer), value);
    return this.raw(bytes);
  }

  uint32(value: number): this {
    return this.#number('uint32', value);
  }

  uint64(value: number): this {
    return this.uint32(value % 2 ** 32).uint32(Math.floor(value / 2 ** 32));
  }

  string(text: string): this {
    const bytes = new TextEncoder().encode(text);
    return this.uint64(bytes.length).raw(bytes);
  }

  value(value: GgufWriteValue): this {
    if (typeof value === 'string') return this.uint32(STRING).string(value);
    if (typeof value === 'boolean') return this.uint32(BOOL).raw(Uint8Array.of(Number(value)));
    if ('value' in value) {
      const { type, value: given } = value;
      const { id } = numbers[type];
      if (typeof given === 'number') return this.uint32(id).#number(type, given);
      this.uint32(ARRAY).uint32(id).uint64(given.length);
      for (const each of given) this.#number(type, each);
      return this;
    }
    this.uint32(ARRAY).uint32(STRING).uint64(value.length);
    for (const each of value) this.string(each);
    return this;
  }

  pad(): this {
    return this.raw(new Uint8Array(padded(this.#length) - this.#length));
  }

  done(): Uint8Array {
    const out = new Uint8Array(this.#length);
    let at = 0;
    for (const part of this.#parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  }
}

function fail(rule: string, message: string): LfmError {
  return new LfmError(`gguf-${rule}`, message);
}
