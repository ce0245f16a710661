// Calls in Python's notation, as LFM2 writes them: [find(city="Paris", days=2), stop()]. Read and written, never run.

import type { JsonObject } from '../files/json.ts';
import type { ToolCall } from './tool-calls.ts';

const MAX_DEPTH = 32;

/** What `parsePythonCalls` stops at; callers answer with the text as it stands. */
class Unreadable extends Error {}

/** A list of calls, with or without its brackets; undefined: the text is something else. Never throws. */
export function parsePythonCalls(text: string): ToolCall[] | undefined {
  try {
    return new Parser(text).calls();
  } catch (error) {
    if (error instanceof Unreadable) return undefined;
    throw error;
  }
}

const ESCAPES: Readonly<Record<string, string>> = {
  n: '\n',
  r: '\r',
  t: '\t',
  b: '\b',
  f: '\f',
  v: '\v',
  a: '\u0007',
  '0': '\0',
  '\n': '',
};
const WORDS: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ['True', true],
  ['False', false],
  ['None', null],
  ['true', true],
  ['false', false],
  ['null', null],
]);
const NAME = /[\p{L}_][\p{L}\p{N}_.-]*/uy;
const NUMBER = /[+-]?(?:0[xX][\da-fA-F]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?)/y;
const SPACE = /(?:\s|#[^\n]*)*/y;

class Parser {
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  calls(): ToolCall[] {
    const inBrackets = this.#accept('[');
    const calls: ToolCall[] = [];
    for (;;) {
      if (this.#isEnd() || (inBrackets && this.#peek() === ']')) break;
      calls.push(this.#call());
      // Without brackets models also put one call a line.
      if (!this.#accept(',') && (inBrackets || !(this.#accept(';') || this.#isName()))) break;
    }
    if (inBrackets) this.#expect(']');
    if (!this.#isEnd() || calls.length === 0) throw new Unreadable();
    return calls;
  }

  #call(): ToolCall {
    const name = this.#take(NAME);
    const given: JsonObject = {};
    this.#expect('(');
    while (!this.#accept(')')) {
      const key = this.#take(NAME);
      this.#expect('=');
      put(given, key, this.#value());
      if (!this.#accept(',')) {
        this.#expect(')');
        break;
      }
    }
    return { name, arguments: given };
  }

  #value(): unknown {
    if (++this.#depth > MAX_DEPTH) throw new Unreadable();
    const value = this.#inner();
    this.#depth--;
    return value;
  }

  #inner(): unknown {
    if (this.#accept('[')) return this.#items(']');
    if (this.#accept('(')) return this.#tuple();
    if (this.#accept('{')) return this.#members();
    if (/^(?:[rR]?["'])/.test(this.#text.slice(this.#at, this.#at + 2))) return this.#strings();
    const number = this.#match(NUMBER);
    if (number !== undefined) {
      const plain = number.replaceAll('_', '');
      const value = /^[+-]/.test(plain) && /x/i.test(plain) ? Number.NaN : Number(plain);
      if (!Number.isFinite(value)) throw new Unreadable();
      return value;
    }
    const word = this.#take(NAME);
    if (!WORDS.has(word)) throw new Unreadable();
    return WORDS.get(word);
  }

  #items(end: string): unknown[] {
    const items: unknown[] = [];
    while (!this.#accept(end)) {
      items.push(this.#value());
      if (this.#accept(',')) continue;
      this.#expect(end);
      break;
    }
    return items;
  }

  /** One value in parentheses is that value. */
  #tuple(): unknown {
    const start = this.#at;
    const items = this.#items(')');
    const isTuple = items.length !== 1 || /,\s*\)$/.test(this.#text.slice(start, this.#at));
    return isTuple ? items : items[0];
  }

  #members(): JsonObject {
    const members: JsonObject = {};
    while (!this.#accept('}')) {
      const key = this.#value();
      if (typeof key !== 'string' && typeof key !== 'number') throw new Unreadable();
      this.#expect(':');
      put(members, String(key), this.#value());
      if (this.#accept(',')) continue;
      this.#expect('}');
      break;
    }
    return members;
  }

  /** Strings that stand side by side are one. */
  #strings(): string {
    const parts = [this.#string()];
    for (this.#skip(); /^(?:[rR]?["'])/.test(this.#text.slice(this.#at, this.#at + 2)); this.#skip())
      parts.push(this.#string());
    return parts.join('');
  }

  #string(): string {
    const isRaw = /[rR]/.test(this.#text.charAt(this.#at));
    if (isRaw) this.#at++;
    const quote = this.#text.charAt(this.#at);
    const end = this.#text.startsWith(quote.repeat(3), this.#at) ? quote.repeat(3) : quote;
    this.#at += end.length;
    let out = '';
    while (!this.#text.startsWith(end, this.#at)) {
      const char = this.#text.charAt(this.#at++);
      if (char === '') throw new Unreadable();
      out += char !== '\\' ? char : isRaw ? char + this.#text.charAt(this.#at++) : this.#escaped();
    }
    this.#at += end.length;
    return out;
  }

  #escaped(): string {
    const rest = this.#text.slice(this.#at, this.#at + 9);
    const hex = /^(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8}))/.exec(rest);
    if (hex) {
      this.#at += hex[0].length;
      const code = Number.parseInt(hex[1] ?? hex[2] ?? hex[3] ?? '', 16);
      if (code > 0x10ffff) throw new Unreadable();
      return String.fromCodePoint(code);
    }
    const char = this.#text.charAt(this.#at++);
    // Python keeps the backslash before what is no escape.
    return ESCAPES[char] ?? (/["'\\]/.test(char) ? char : `\\${char}`);
  }

  #skip(): void {
    SPACE.lastIndex = this.#at;
    SPACE.exec(this.#text);
    this.#at = Math.max(this.#at, SPACE.lastIndex);
  }

  #match(pattern: RegExp): string | undefined {
    this.#skip();
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    this.#at += found?.length ?? 0;
    return found;
  }

  #take(pattern: RegExp): string {
    const found = this.#match(pattern);
    if (found === undefined) throw new Unreadable();
    return found;
  }

  #peek(): string {
    this.#skip();
    return this.#text.charAt(this.#at);
  }

  #isEnd(): boolean {
    return this.#peek() === '';
  }

  #isName(): boolean {
    return /[\p{L}_]/u.test(this.#peek());
  }

  #accept(char: string): boolean {
    if (this.#peek() !== char) return false;
    this.#at++;
    return true;
  }

  #expect(char: string): void {
    if (!this.#accept(char)) throw new Unreadable();
  }
}

/** As a member of its own, whatever its name; Python takes no name twice. */
function put(object: JsonObject, key: string, value: unknown): void {
  if (Object.hasOwn(object, key)) throw new Unreadable();
  Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
}

/** `name(key=value, …)`; the values are JSON's. */
export function formatPythonCall({ name, arguments: given }: ToolCall): string {
  return `${name}(${Object.entries(given)
    .map(([key, value]) => `${key}=${formatPython(value)}`)
    .join(', ')})`;
}

function formatPython(value: unknown): string {
  if (value === null || value === undefined) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (Array.isArray(value)) return `[${value.map(formatPython).join(', ')}]`;
  if (typeof value !== 'object') return JSON.stringify(value);
  const members = Object.entries(value).map(([key, each]) => `${JSON.stringify(key)}: ${formatPython(each)}`);
  return `{${members.join(', ')}}`;
}
