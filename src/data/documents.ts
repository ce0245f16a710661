// Find where documents end in a stream of UTF-8 text, holding at most one short line (or one JSON line) in memory.

import { LfmError } from '../tensor/error.ts';

/**
 * What ends a document inside a plain text file; the end of a file always does.
 * 'marker': a line that holds only <|endoftext|>. 'file': nothing. `blankLines`: that many blank lines in a row.
 */
export type DocumentPolicy = 'marker' | 'file' | { readonly blankLines: number };

/** Text of the current document, or its end. */
export type Piece = Uint8Array | 'end';

/** Feed it a file's chunks in order, then call end() once; use a new one for each file. */
export interface Splitter {
  push(chunk: Uint8Array): Iterable<Piece>;
  end(): Iterable<Piece>;
}

const NEWLINE = 0x0a;
const MARKER = new TextEncoder().encode('<|endoftext|>');
/** A longer line is text, whatever it holds, so that no line need be held whole. */
const LONGEST_BOUNDARY = 64;
/** The longest line of a .jsonl file, in bytes. */
const LONGEST_JSON = 64 * 2 ** 20;

export function plainTextSplitter(policy: DocumentPolicy): Splitter {
  if (policy === 'file') return { push: (chunk) => [chunk], end: () => ['end'] };
  let carry: Uint8Array = new Uint8Array(0); // the start of a line that may yet be a boundary
  let insideLine = false; // in a line already known to be text
  let blanks = 0;

  const isBoundary = (buffer: Uint8Array, start: number, end: number): boolean => {
    const stop = buffer[end - 1] === 0x0d && end > start ? end - 1 : end;
    if (policy === 'marker') {
      return stop - start === MARKER.length && MARKER.every((byte, i) => buffer[start + i] === byte);
    }
    blanks = end - start <= LONGEST_BOUNDARY && isBlank(buffer, start, stop) ? blanks + 1 : 0;
    return blanks === policy.blankLines;
  };

  function* push(chunk: Uint8Array): Iterable<Piece> {
    const buffer = concat([carry, chunk]);
    let runStart = 0;
    let at = 0;
    while (at < buffer.length) {
      const newline = buffer.indexOf(NEWLINE, at);
      if (newline < 0) {
        insideLine ||= buffer.length - at > LONGEST_BOUNDARY;
        if (insideLine) at = buffer.length;
        break;
      }
      const boundary = !insideLine && isBoundary(buffer, at, newline);
      if (insideLine) blanks = 0;
      insideLine = false;
      if (boundary) {
        if (at > runStart) yield buffer.subarray(runStart, at);
        yield 'end';
        runStart = newline + 1;
      }
      at = newline + 1;
    }
    if (at > runStart) yield buffer.subarray(runStart, at);
    carry = buffer.slice(at);
  }

  function* end(): Iterable<Piece> {
    if (carry.length > 0 && !isBoundary(carry, 0, carry.length)) yield carry;
    yield 'end';
  }
  return { push, end };
}

/**
 * Each line of `what` is a JSON object and its string field "text" a document. Blank lines are skipped.
 * Errors: `jsonl-line` (naming the line), `jsonl-line-too-long`.
 */
export function jsonLinesSplitter(what: string): Splitter {
  const lines = jsonLines(what, (value, where) => {
    const text: unknown = typeof value === 'object' && value !== null && 'text' in value ? value.text : undefined;
    if (typeof text === 'string') return new TextEncoder().encode(text);
    throw new LfmError('jsonl-line', `${where}: expected an object with a string "text"`);
  });
  function* pieces(texts: Iterable<Uint8Array>): Iterable<Piece> {
    for (const text of texts) {
      yield text;
      yield 'end';
    }
  }
  return { push: (chunk) => pieces(lines.push(chunk)), end: () => pieces(lines.end()) };
}

/**
 * What `read` makes of each line of `what`, a JSON value; `where` names the file and the line. Feed it a file's chunks in
 * order, then call end() once. Blank lines are skipped. Errors: `jsonl-line`, `jsonl-line-too-long`, those of `read`.
 */
export function jsonLines<T>(
  what: string,
  read: (value: unknown, where: string) => T,
): { push(chunk: Uint8Array): Iterable<T>; end(): Iterable<T> } {
  let parts: Uint8Array[] = [];
  let bytes = 0;
  let lineNumber = 0;

  function* line(): Iterable<T> {
    lineNumber++;
    const json = new TextDecoder().decode(concat(parts));
    parts = [];
    bytes = 0;
    if (json.trim() === '') return;
    const where = `${what}, line ${lineNumber}`;
    let value: unknown;
    try {
      value = JSON.parse(json);
    } catch (cause) {
      throw new LfmError('jsonl-line', `${where}: not valid JSON: ${(cause as Error).message}`, { cause });
    }
    yield read(value, where);
  }

  function* push(chunk: Uint8Array): Iterable<T> {
    let at = 0;
    while (at < chunk.length) {
      const newline = chunk.indexOf(NEWLINE, at);
      const stop = newline < 0 ? chunk.length : newline;
      parts.push(chunk.slice(at, stop));
      bytes += stop - at;
      if (bytes > LONGEST_JSON) {
        throw new LfmError(
          'jsonl-line-too-long',
          `${what}, line ${lineNumber + 1} is longer than ${LONGEST_JSON} bytes`,
        );
      }
      if (newline >= 0) yield* line();
      at = stop + 1;
    }
  }
  return { push, end: line };
}

function isBlank(buffer: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (buffer[i] !== 0x20 && buffer[i] !== 0x09) return false;
  return true;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const [first] = parts;
  const filled = parts.filter((part) => part.length > 0);
  if (filled.length <= 1) return filled[0] ?? first ?? new Uint8Array(0);
  const whole = new Uint8Array(filled.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of filled) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
