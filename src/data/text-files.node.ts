// Stream the text of corpus files: decompressed, checked to be UTF-8, never held whole.

import { isUtf8 } from 'node:buffer';
import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import { createBrotliDecompress, createGunzip } from 'node:zlib';

import { LfmError } from '../tensor/error.ts';
import { jsonLines, jsonLinesSplitter, plainTextSplitter } from './documents.ts';
import type { DocumentPolicy, Splitter } from './documents.ts';

/**
 * How documents stand in a file, from its name: .txt or .jsonl, plain or with .br or .gz behind.
 * Errors: `text-format` for any other name.
 */
export function splitterFor(path: string, policy: DocumentPolicy): Splitter {
  const [, kind] = /\.(txt|jsonl)(?:\.br|\.gz)?$/.exec(path) ?? [];
  if (kind === 'txt') return plainTextSplitter(policy);
  if (kind === 'jsonl') return jsonLinesSplitter(basename(path));
  throw new LfmError(
    'text-format',
    `${path}: expected a name that ends in .txt or .jsonl, or in one of these and .br or .gz`,
  );
}

/**
 * The text of a file in chunks that end between characters, without a byte order mark.
 * Errors: `text-unreadable`, `text-decompression`, `invalid-utf8` (naming the byte of the decompressed text).
 */
export async function* readText(path: string): AsyncGenerator<Uint8Array> {
  let tail: Uint8Array = new Uint8Array(0); // an unfinished character
  let offset = 0; // of the tail in the text
  for await (const bytes of decompressed(path)) {
    const chunk = tail.length === 0 ? bytes : plain(Buffer.concat([tail, bytes]));
    const whole = chunk.subarray(0, chunk.length - unfinished(chunk));
    if (!isUtf8(whole)) throw invalid(path, offset, whole);
    tail = chunk.slice(whole.length);
    const hasMark = offset === 0 && whole[0] === 0xef && whole[1] === 0xbb && whole[2] === 0xbf;
    offset += whole.length;
    if (whole.length > 0) yield hasMark ? whole.subarray(3) : whole;
  }
  if (tail.length > 0) throw invalid(path, offset, tail);
}

/** What `read` makes of each line of a .jsonl file, called `what` in errors: those of `readText` and of `jsonLines`. */
export async function* readLines<T>(
  path: string,
  read: (value: unknown, where: string) => T,
  what = path,
): AsyncGenerator<T> {
  const lines = jsonLines(what, read);
  for await (const chunk of readText(path)) yield* lines.push(chunk);
  yield* lines.end();
}

/** The text of a file, cut at a character once it has `most` bytes. Errors: those of `readText`. */
export async function readBeginning(path: string, most = Infinity): Promise<string> {
  const decoder = new TextDecoder();
  let [text, bytes] = ['', 0];
  for await (const chunk of readText(path)) {
    text += decoder.decode(chunk, { stream: true });
    bytes += chunk.length;
    if (bytes >= most) break;
  }
  return text;
}

async function* decompressed(path: string): AsyncGenerator<Uint8Array> {
  const file = createReadStream(path, { highWaterMark: 2 ** 18 });
  const unpack = path.endsWith('.br') ? createBrotliDecompress() : path.endsWith('.gz') ? createGunzip() : undefined;
  if (unpack !== undefined) {
    file.on('error', (error) => unpack.destroy(error));
    file.pipe(unpack);
  }
  try {
    for await (const chunk of unpack ?? file) yield plain(chunk as Buffer);
  } catch (error) {
    const { code = '', message, syscall } = error as NodeJS.ErrnoException;
    if (syscall !== undefined)
      throw new LfmError('text-unreadable', `cannot read ${path}: ${message}`, { cause: error });
    if (unpack === undefined || !/^(Z_|ERR_)/.test(code)) throw error;
    throw new LfmError(
      'text-decompression',
      `${path} cannot be decompressed: it is damaged or cut short (${message})`,
      { cause: error },
    );
  } finally {
    file.destroy();
    unpack?.destroy();
  }
}

/** The same memory without Buffer's habits: its slice() does not copy. */
function plain(bytes: Buffer): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Bytes of a character begun but not ended at the end of the chunk. */
function unfinished(chunk: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, chunk.length); back++) {
    const byte = chunk[chunk.length - back] ?? 0;
    if (byte >> 6 !== 2) return byte >= 0xc0 && back < characterBytes(byte) ? back : 0;
  }
  return 0;
}

function characterBytes(lead: number): number {
  return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

function invalid(path: string, offset: number, bytes: Uint8Array): LfmError {
  let at = 0;
  for (let size = 1; at < bytes.length; at += size) {
    size = characterBytes(bytes[at] ?? 0);
    if (at + size > bytes.length || !isUtf8(bytes.subarray(at, at + size))) break;
  }
  const hex = (bytes[at] ?? 0).toString(16).padStart(2, '0');
  return new LfmError(
    'invalid-utf8',
    `${path}: byte ${offset + at} of the text (0x${hex}) does not begin a UTF-8 character: convert the file to UTF-8`,
  );
}
