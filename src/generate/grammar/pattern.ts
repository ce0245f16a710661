// Regular expressions of JavaScript, as far as they are regular: no lookaround, no back-references, no word boundaries.
import type { Refuse } from './automaton.ts';
import type { Expression, Ranges } from './expression.ts';
import { characters, choice, complement, intersect, repeat, sequence, union } from './expression.ts';

/** Groups within groups. */
const MOST_GROUPS = 64;
const MOST_REPEATS = 10_000;
const MOST_LENGTH = 16_384;

const DIGITS: Ranges = [[0x30, 0x39]];
const WORD: Ranges = [
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
];
const SPACE: Ranges = [
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const LINE_ENDS: Ranges = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
];
const classes: Readonly<Record<string, Ranges>> = {
  d: DIGITS,
  D: complement(DIGITS),
  w: WORD,
  W: complement(WORD),
  s: SPACE,
  S: complement(SPACE),
};
const controls: Readonly<Record<string, number>> = { n: 0x0a, r: 0x0d, t: 0x09, f: 0x0c, v: 0x0b, 0: 0 };

export interface PatternOptions {
  /** How one character of a set is written. Default: in UTF-8. */
  readonly write?: (set: Ranges) => Expression;
  /** Whether the pattern may stand within more text, as a schema's does, unless it is anchored. Default: it is the whole text. */
  readonly isWithin?: boolean;
}

/** Whether a pattern looks ahead or behind, which cannot be read from left to right. */
export function looksAround(pattern: string): boolean {
  return /\(\?(?:[=!]|<[=!])/.test(pattern);
}

/** Errors: what `refuse` makes, naming the place. */
export function readPattern(pattern: string, refuse: Refuse, options: PatternOptions = {}): Expression {
  if (pattern.length > MOST_LENGTH) throw refuse(`the pattern is longer than ${MOST_LENGTH} characters`);
  return new PatternReader(pattern, refuse, options).read();
}

class PatternReader {
  readonly #units: readonly string[];
  readonly #refuse: Refuse;
  readonly #write: (set: Ranges) => Expression;
  readonly #isWithin: boolean;
  #at = 0;
  #depth = 0;

  constructor(pattern: string, refuse: Refuse, { write = characters, isWithin = false }: PatternOptions) {
    this.#units = Array.from(pattern);
    this.#refuse = refuse;
    this.#write = write;
    this.#isWithin = isWithin;
  }

  read(): Expression {
    const found = this.#choice(true);
    if (this.#at < this.#units.length) throw this.#error('a ) without its (');
    return found;
  }

  #error(what: string): Error {
    return this.#refuse(`the pattern, at character ${this.#at + 1}: ${what}`);
  }

  get #next(): string | undefined {
    return this.#units[this.#at];
  }

  #take(wanted: string): boolean {
    if (this.#next !== wanted) return false;
    this.#at++;
    return true;
  }

  /** `isOuter`: nothing stands around it, so that anchors may. */
  #choice(isOuter: boolean): Expression {
    const options = [this.#sequence(isOuter)];
    while (this.#take('|')) options.push(this.#sequence(isOuter));
    return options.length === 1 && options[0] ? options[0] : choice(...options);
  }

  #sequence(isOuter: boolean): Expression {
    const parts: Expression[] = [];
    const isBegun = isOuter && this.#take('^');
    let isEnded = false;
    for (let next = this.#next; next !== undefined && next !== '|' && next !== ')'; next = this.#next) {
      if (isEnded) throw this.#error('$ stands before more text');
      if (isOuter && this.#take('$')) isEnded = true;
      else parts.push(this.#repeated(this.#atom()));
    }
    if (!isOuter || !this.#isWithin) return sequence(...parts);
    const rest = repeat(this.#write(complement([])), 0);
    return sequence(...(isBegun ? [] : [rest]), ...parts, ...(isEnded ? [] : [rest]));
  }

  #repeated(part: Expression): Expression {
    let found = part;
    for (;;) {
      const [least, most] = this.#quantifier() ?? [];
      if (least === undefined || most === undefined) return found;
      // Which of several readings is taken makes no difference to what matches.
      this.#take('?');
      if (found !== part) throw this.#error('nothing to repeat');
      found = repeat(part, least, most);
    }
  }

  #quantifier(): [number, number] | undefined {
    if (this.#take('*')) return [0, Infinity];
    if (this.#take('+')) return [1, Infinity];
    if (this.#take('?')) return [0, 1];
    if (this.#next !== '{') return undefined;
    const end = this.#units.indexOf('}', this.#at);
    const text = this.#units.slice(this.#at + 1, Math.min(end, this.#at + 20)).join('');
    const found = /^(\d{1,6})(?:(,)(\d{1,6})?)?$/.exec(end < 0 ? '' : text);
    if (!found) throw this.#error('{ begins a count such as {2}, {2,} or {2,5}; write \\{ for the character');
    this.#at = end + 1;
    const least = Number(found[1]);
    const most = found[2] === undefined ? least : found[3] === undefined ? Infinity : Number(found[3]);
    if (least > most) throw this.#error(`a count from ${least} to ${most}`);
    if (Math.max(least, most === Infinity ? 0 : most) > MOST_REPEATS)
      throw this.#error(`a count of more than ${MOST_REPEATS}`);
    return [least, most];
  }

  #atom(): Expression {
    const next = this.#units[this.#at++] ?? '';
    if (next === '(') return this.#group();
    if (next === '[') return this.#write(this.#set());
    if (next === '.') return this.#write(complement(LINE_ENDS));
    if (next === '\\') {
      const escape = this.#escape();
      return this.#write(typeof escape === 'number' ? [[escape, escape]] : escape);
    }
    this.#at--;
    if ('*+?{}]^$'.includes(next))
      throw this.#error(
        next === '^' || next === '$'
          ? `${next} within the pattern`
          : `${next} stands alone; write \\${next} for the character`,
      );
    this.#at++;
    const code = next.codePointAt(0) ?? 0;
    return this.#write([[code, code]]);
  }

  #group(): Expression {
    if (++this.#depth > MOST_GROUPS) throw this.#error(`groups nested more than ${MOST_GROUPS} deep`);
    if (this.#take('?')) {
      const isNamed = this.#next === '<' && !'=!'.includes(this.#units[this.#at + 1] ?? '=');
      if (isNamed) this.#at = Math.max(this.#at, this.#units.indexOf('>', this.#at)) + 1;
      else if (!this.#take(':'))
        throw this.#error('lookahead, lookbehind and flags cannot be followed from left to right');
    }
    const found = this.#choice(false);
    if (!this.#take(')')) throw this.#error('a ( without its )');
    this.#depth--;
    return found;
  }

  #set(): Ranges {
    const isNegated = this.#take('^');
    const sets: Ranges[] = [];
    while (!this.#take(']')) {
      if (this.#next === undefined) throw this.#error('a [ without its ]');
      const first = this.#member();
      const isRange = this.#next === '-' && this.#units[this.#at + 1] !== ']' && this.#at + 1 < this.#units.length;
      if (!isRange) {
        sets.push(typeof first === 'number' ? [[first, first]] : first);
        continue;
      }
      this.#at++;
      const last = this.#member();
      if (typeof first !== 'number' || typeof last !== 'number' || last < first)
        throw this.#error('a range whose ends are not two characters in order');
      sets.push([[first, last]]);
    }
    const set = union(...sets);
    return isNegated ? complement(set) : intersect(set, complement([]));
  }

  #member(): number | Ranges {
    const next = this.#units[this.#at++] ?? '';
    return next === '\\' ? this.#escape(true) : (next.codePointAt(0) ?? 0);
  }

  #escape(isInSet = false): number | Ranges {
    const next = this.#units[this.#at++];
    if (next === undefined) throw this.#error('a \\ at the end');
    const set = classes[next];
    if (set) return set;
    if (isInSet && next === 'b') return 8;
    if (next === '0' && /\d/.test(this.#next ?? '')) throw this.#error('octal escapes are not read');
    const control = controls[next];
    if (control !== undefined) return control;
    if (next === 'x') return this.#hex(2);
    if (next === 'c') return (this.#units[this.#at++]?.codePointAt(0) ?? 0) % 32;
    if (next === 'u') return this.#unicode();
    if (/[a-zA-Z1-9]/.test(next)) throw this.#error(`\\${next} is not read`);
    return next.codePointAt(0) ?? 0;
  }

  #unicode(): number {
    if (this.#take('{')) {
      const end = this.#units.indexOf('}', this.#at);
      const code = this.#hex(end - this.#at);
      this.#at = end + 1;
      return code;
    }
    const high = this.#hex(4);
    const isPair = high >= 0xd800 && high < 0xdc00 && this.#units.slice(this.#at, this.#at + 2).join('') === '\\u';
    if (!isPair) return high;
    this.#at += 2;
    return (high - 0xd800) * 0x400 + (this.#hex(4) - 0xdc00) + 0x10000;
  }

  #hex(digits: number): number {
    const text = digits > 0 && digits < 8 ? this.#units.slice(this.#at, this.#at + digits).join('') : '';
    const code = Number.parseInt(text, 16);
    if (text.length !== digits || !/^[0-9a-fA-F]+$/.test(text) || code > 0x10ffff)
      throw this.#error('an escape without its hexadecimal digits');
    this.#at += digits;
    return code;
  }
}
