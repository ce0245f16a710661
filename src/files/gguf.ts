// The GGUF header: every rule of the format checked before a tensor is read. Knows no file system.
// Format: magic, version, counts, key/value pairs, tensor entries, padding, then the tensors, each at the alignment.

import { LfmError } from '../tensor/error.ts';
import { ggufTypes } from './gguf-types.ts';
import type { GgufType } from './gguf-types.ts';

/** Numbers beyond 2^53 stay bigint. Arrays hold values of one kind; arrays of arrays are not read. */
export type GgufValue = number | bigint | boolean | string | GgufArray;
export type GgufArray =
  | readonly string[]
  | readonly boolean[]
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | BigUint64Array
  | BigInt64Array
  | Float64Array;

export interface GgufTensor {
  readonly name: string;
  readonly type: GgufType;
  /** Row-major, the last axis the fastest: the reverse of the order in the file. */
  readonly shape: readonly number[];
  /** Where its bytes begin, counted from the start of the file. */
  readonly byteOffset: number;
  readonly byteLength: number;
}

export interface GgufHeader {
  readonly version: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** In the order of their bytes. */
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

/** What the numbers of value types stand for; the widths of those that have one. */
const numeric = new Map<number, { bytes: number; read: (view: DataView, at: number) => number | bigint }>([
  [0, { bytes: 1, read: (view, at) => view.getUint8(at) }],
  [1, { bytes: 1, read: (view, at) => view.getInt8(at) }],
  [2, { bytes: 2, read: (view, at) => view.getUint16(at, true) }],
  [3, { bytes: 2, read: (view, at) => view.getInt16(at, true) }],
  [4, { bytes: 4, read: (view, at) => view.getUint32(at, true) }],
  [5, { bytes: 4, read: (view, at) => view.getInt32(at, true) }],
  [6, { bytes: 4, read: (view, at) => view.getFloat32(at, true) }],
  [10, { bytes: 8, read: (view, at) => view.getBigUint64(at, true) }],
  [11, { bytes: 8, read: (view, at) => view.getBigInt64(at, true) }],
  [12, { bytes: 8, read: (view, at) => view.getFloat64(at, true) }],
]);
const arrays = new Map<number, new (buffer: ArrayBuffer) => GgufArray>([
  [0, Uint8Array],
  [1, Int8Array],
  [2, Uint16Array],
  [3, Int16Array],
  [4, Uint32Array],
  [5, Int32Array],
  [6, Float32Array],
  [10, BigUint64Array],
  [11, BigInt64Array],
  [12, Float64Array],
]);
const BOOL = 7;
const STRING = 8;
const ARRAY = 9;

const MAGIC = 0x46554747; // "GGUF"
const MAX_DIMENSIONS = 4;
/** ggml holds names in 64 bytes. */
const MAX_NAME = 64;
const MAX_KEY = 65_535;
const MAX_ALIGNMENT = 65_536;
const DEFAULT_ALIGNMENT = 32;
/** The least bytes that an entry takes: what bounds a count by the bytes that are left. */
const LEAST_PAIR = 13;
const LEAST_TENSOR = 24;

/**
 * Parse and check the header of a file of `fileBytes` bytes from its beginning; undefined when `start` ends before the
 * header does, and more of the file is there to be read.
 * Errors: one `gguf-…` code a rule; see test/attacks/gguf for a file that breaks each.
 */
export function parseGguf(start: Uint8Array, fileBytes: number, what = 'the file'): GgufHeader | undefined {
  try {
    return parse(new Cursor(start, fileBytes, what), fileBytes, what);
  } catch (error) {
    if (error === MORE) return undefined;
    throw error;
  }
}

/** Thrown where the bytes at hand end, but the file's do not. */
const MORE = new Error('more of the file is needed');

/** Reads values one after another; every length is checked against what the file has left. */
class Cursor {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #fileBytes: number;
  readonly #what: string;
  at = 0;

  constructor(bytes: Uint8Array, fileBytes: number, what: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#fileBytes = fileBytes;
    this.#what = what;
  }

  get left(): number {
    return this.#fileBytes - this.at;
  }

  /** Moves past `count` bytes and gives where they begin. */
  skip(count: number): number {
    const { at } = this;
    if (count > this.left)
      throw fail('cut-short', `${this.#what} ends inside its header, at byte ${this.#fileBytes}: fetch it again`);
    if (at + count > this.#bytes.length) throw MORE;
    this.at += count;
    return at;
  }

  uint32(): number {
    return this.#view.getUint32(this.skip(4), true);
  }

  uint64(): bigint {
    return this.#view.getBigUint64(this.skip(8), true);
  }

  /** A count of things that take at least `least` bytes each. */
  count(least: number, rule: string, where: string): number {
    const count = this.uint64();
    if (count * BigInt(least) > BigInt(this.left))
      throw fail(rule, `${this.#what}: ${where} says ${count}, more than the ${this.left} bytes left can hold`);
    return Number(count);
  }

  string(where: string, most = Number.MAX_SAFE_INTEGER): string {
    const length = this.count(1, 'string-length', `the length of ${where}`);
    if (length > most) throw fail('name-length', `${this.#what}: ${where} has ${length} bytes; at most ${most}`);
    const at = this.skip(length);
    return decodeUtf8(this.#bytes.subarray(at, at + length), this.#what, where);
  }

  /** Strings one after another, decoded as one: a call for each of a vocabulary's would take most of the time of opening a file. */
  #strings(count: number, where: string): string[] {
    const ends: number[] = [];
    const start = this.at;
    for (let i = 0; i < count; i++) {
      const length = this.count(1, 'string-length', `the length of ${where}`);
      ends.push(this.skip(length) + length);
    }
    const joined = new Uint8Array(this.at - start - 8 * count);
    const units = new Uint32Array(count);
    let [from, to] = [start, 0];
    for (const [i, end] of ends.entries()) {
      const text = this.#bytes.subarray(from + 8, end);
      joined.set(text, to);
      // No character may go on from one string into the next.
      if (text.length > 0 && ((text[0] as number) & 0xc0) === 0x80) throw notUtf8(this.#what, where);
      for (const byte of text) if ((byte & 0xc0) !== 0x80) units[i] = (units[i] as number) + (byte < 0xf0 ? 1 : 2);
      from = end;
      to += text.length;
    }
    const all = decodeUtf8(joined, this.#what, where);
    let at = 0;
    return Array.from(units, (length) => all.slice(at, (at += length)));
  }

  bool(where: string): boolean {
    const value = this.#view.getUint8(this.skip(1));
    if (value > 1) throw fail('bool', `${this.#what}: ${where} is ${value}; a truth value is 0 or 1`);
    return value === 1;
  }

  value(where: string): GgufValue {
    const type = this.uint32();
    if (type === BOOL) return this.bool(where);
    if (type === STRING) return this.string(where);
    if (type === ARRAY) return this.#array(where);
    const kind = numeric.get(type);
    if (!kind) throw fail('value-type', `${this.#what}: ${where} has the type ${type}; known are 0 to 12`);
    const value = kind.read(this.#view, this.skip(kind.bytes));
    return typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  #array(where: string): GgufArray {
    const type = this.uint32();
    if (type === ARRAY) throw fail('array-nested', `${this.#what}: ${where} is an array of arrays; none is known`);
    const kind = numeric.get(type);
    if (!kind && type !== BOOL && type !== STRING)
      throw fail('value-type', `${this.#what}: ${where} holds values of the type ${type}; known are 0 to 12`);
    const least = kind?.bytes ?? (type === STRING ? 8 : 1);
    const count = this.count(least, 'array-length', `the length of ${where}`);
    const Typed = arrays.get(type);
    if (kind && Typed) {
      const at = this.skip(count * kind.bytes);
      return new Typed(new Uint8Array(this.#bytes.subarray(at, this.at)).buffer);
    }
    // Not allocated ahead: the count is only a claim.
    if (type === STRING) return this.#strings(count, where);
    const out: boolean[] = [];
    for (let i = 0; i < count; i++) out.push(this.bool(where));
    return out;
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decodeUtf8(bytes: Uint8Array, what: string, where: string): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw notUtf8(what, where, cause);
  }
}

function notUtf8(what: string, where: string, cause?: unknown): LfmError {
  return fail('utf8', `${what}: ${where} is not UTF-8 text`, cause);
}

function parse(cursor: Cursor, fileBytes: number, what: string): GgufHeader {
  if (fileBytes < 24) throw fail('too-short', `${what} has ${fileBytes} bytes; a GGUF file has at least 24`);
  const magic = cursor.uint32();
  if (magic !== MAGIC) throw fail('magic', `${what} does not begin with "GGUF": it is another kind of file`);
  const version = cursor.uint32();
  if (version !== 2 && version !== 3) {
    const swapped = version !== 0 && version % 0x10000 === 0 ? ' (written with the bytes of numbers reversed)' : '';
    throw fail('version', `${what} has the GGUF version ${version}${swapped}; known are 2 and 3: convert it anew`);
  }
  const tensorCount = cursor.count(LEAST_TENSOR, 'counts', 'the number of tensors');
  const pairCount = cursor.count(LEAST_PAIR, 'counts', 'the number of metadata pairs');
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < pairCount; i++) {
    const key = cursor.string(`the name of metadata pair ${i}`, MAX_KEY);
    if (metadata.has(key)) throw fail('duplicate-key', `${what} holds the metadata ${quote(key)} twice`);
    metadata.set(key, cursor.value(`the metadata ${quote(key)}`));
  }
  const alignment = alignmentOf(metadata, what);
  const entries = new Map<string, Omit<GgufTensor, 'byteOffset'> & { offset: bigint }>();
  for (let i = 0; i < tensorCount; i++) {
    const entry = parseTensor(cursor, i, what);
    if (entries.has(entry.name)) throw fail('duplicate-tensor', `${what} holds the tensor ${quote(entry.name)} twice`);
    entries.set(entry.name, entry);
  }
  const dataOffset = Math.ceil(cursor.at / alignment) * alignment;
  const tensors = place([...entries.values()], dataOffset, alignment, fileBytes, what);
  return { version, metadata, tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])) };
}

function alignmentOf(metadata: ReadonlyMap<string, GgufValue>, what: string): number {
  const given = metadata.get('general.alignment') ?? DEFAULT_ALIGNMENT;
  if (typeof given === 'number' && Number.isInteger(Math.log2(given)) && given >= 8 && given <= MAX_ALIGNMENT)
    return given;
  const shown = typeof given === 'object' ? 'a list' : String(given);
  throw fail('alignment', `${what}: general.alignment is ${shown}; expected a power of two from 8 to ${MAX_ALIGNMENT}`);
}

function parseTensor(cursor: Cursor, index: number, what: string) {
  const name = cursor.string(`the name of tensor ${index}`, MAX_NAME);
  const where = `${what}, tensor ${quote(name)}`;
  const dimensions = cursor.uint32();
  if (dimensions > MAX_DIMENSIONS)
    throw fail('dimensions', `${where} has ${dimensions} dimensions; at most ${MAX_DIMENSIONS}`);
  const sizes = Array.from({ length: dimensions }, () => cursor.uint64());
  const id = cursor.uint32();
  const offset = cursor.uint64();
  const type = ggufTypes.get(id);
  if (!type) throw fail('tensor-type', `${where} has the type ${id}, which is not known here: convert the file`);
  const elements = sizes.reduce((product, size) => product * size, 1n);
  const bytes = (elements / BigInt(type.blockSize)) * BigInt(type.blockBytes);
  if (
    sizes.some((size) => size > Number.MAX_SAFE_INTEGER) ||
    bytes > Number.MAX_SAFE_INTEGER ||
    elements > Number.MAX_SAFE_INTEGER
  )
    throw fail('shape-overflow', `${where}: the shape [${sizes.toReversed().join(', ')}] is too large`);
  const row = Number(sizes[0] ?? 1n);
  if (row % type.blockSize !== 0)
    throw fail(
      'block',
      `${where}: rows of ${row} elements are no whole number of ${type.name}'s blocks of ${type.blockSize}`,
    );
  return { name, type, shape: sizes.map(Number).toReversed(), byteLength: Number(bytes), offset };
}

/** Tensors in the order of their bytes: each at the first aligned place after the one before it. */
function place(
  entries: (Omit<GgufTensor, 'byteOffset'> & { offset: bigint })[],
  dataOffset: number,
  alignment: number,
  fileBytes: number,
  what: string,
): GgufTensor[] {
  entries.sort((a, b) => (a.offset < b.offset ? -1 : a.offset > b.offset ? 1 : a.byteLength - b.byteLength));
  const room = Math.max(0, fileBytes - dataOffset);
  let next = 0;
  const tensors = entries.map(({ offset: claimed, ...entry }): GgufTensor => {
    const where = `${what}, tensor ${quote(entry.name)}`;
    if (claimed + BigInt(entry.byteLength) > BigInt(room))
      throw fail(
        'offset-range',
        `${where}: ${entry.byteLength} bytes from ${claimed} lie outside the ${room} bytes of data: the file is damaged or cut short`,
      );
    const offset = Number(claimed);
    if (offset % alignment !== 0)
      throw fail('offset-alignment', `${where} begins at ${offset}, no multiple of the alignment ${alignment}`);
    if (offset < next) throw fail('overlap', `${where}: its data overlaps the tensor before it`);
    if (offset > next) throw fail('hole', `${where}: ${offset - next} unused bytes stand before its data`);
    next = Math.ceil((offset + entry.byteLength) / alignment) * alignment;
    return { ...entry, byteOffset: dataOffset + offset };
  });
  if (fileBytes > dataOffset + next)
    throw fail('trailing-data', `${what}: ${fileBytes - dataOffset - next} bytes follow the last tensor`);
  return tensors;
}

function quote(text: string): string {
  return JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}…` : text);
}

function fail(rule: string, message: string, cause?: unknown): LfmError {
  return new LfmError(`gguf-${rule}`, message, cause === undefined ? undefined : { cause });
}
