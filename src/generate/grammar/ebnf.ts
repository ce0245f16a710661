// Grammars as text: rules `name ::= ...` of "literals", [classes], names, groups, | and * + ? {2,5}. The text is the rule `root`.
import type { Refuse } from './automaton.ts';
import type { Expression, Rules } from './expression.ts';
import { choice, literal, repeat, ROOT, rule, sequence } from './expression.ts';
import { readPattern } from './pattern.ts';

const MOST_LENGTH = 2 ** 17;
const MOST_GROUPS = 64;
const MOST_REPEATS = 10_000;

/** Spaces and comments, then one piece; a name with ::= behind it begins a rule. */
const PIECE =
  /(?:\s|#[^\n]*)*(?:(?<head>[A-Za-z_][\w-]*)(?:\s|#[^\n]*)*::=|(?<name>[A-Za-z_][\w-]*)|(?<text>"(?:[^"\\\n]|\\.)*")|(?<set>\[(?:[^\]\\\n]|\\.)*\])|\{(?<least>\d{1,6})(?<upto>,(?<most>\d{1,6})?)?\}|(?<sign>[()|*+?])|(?<end>$))/suy;

/** Errors: what `refuse` makes, naming the line. */
export function readEbnf(text: string, refuse: Refuse): Rules {
  if (text.length > MOST_LENGTH) throw refuse(`it is longer than ${MOST_LENGTH} characters`);
  return new EbnfReader(text, refuse).read();
}

type Piece = Partial<Record<'head' | 'name' | 'text' | 'set' | 'least' | 'upto' | 'most' | 'sign' | 'end', string>>;

class EbnfReader {
  readonly #text: string;
  readonly #refuse: Refuse;
  readonly #matcher = new RegExp(PIECE);
  #piece: Piece = {};
  #depth = 0;

  constructor(text: string, refuse: Refuse) {
    this.#text = text;
    this.#refuse = refuse;
    this.#advance();
  }

  read(): Rules {
    const rules = new Map<string, Expression>();
    while (this.#piece.end === undefined) {
      const { head } = this.#piece;
      if (head === undefined) throw this.#error('expected a rule: NAME ::= ...');
      if (rules.has(head)) throw this.#error(`the rule ${JSON.stringify(head)} stands there twice`);
      this.#advance();
      rules.set(head, this.#choice());
    }
    if (!rules.has(ROOT)) throw this.#refuse(`it has no rule "${ROOT}", which is the whole text`);
    return rules;
  }

  #error(what: string): Error {
    const line = this.#text.slice(0, this.#matcher.lastIndex).split('\n').length;
    return this.#refuse(`line ${line}: ${what}`);
  }

  #advance(): void {
    const from = this.#matcher.lastIndex;
    const found = this.#matcher.exec(this.#text);
    if (found) this.#piece = found.groups ?? {};
    else {
      this.#matcher.lastIndex = from;
      throw this.#error('cannot be read from here on');
    }
  }

  #take(sign: string): boolean {
    if (this.#piece.sign !== sign) return false;
    this.#advance();
    return true;
  }

  #choice(): Expression {
    const options = [this.#sequence()];
    while (this.#take('|')) options.push(this.#sequence());
    return choice(...options);
  }

  #sequence(): Expression {
    const parts: Expression[] = [];
    for (let part = this.#atom(); part; part = this.#atom()) parts.push(this.#repeated(part));
    return sequence(...parts);
  }

  #atom(): Expression | undefined {
    const { name, text, set } = this.#piece;
    if (this.#take('(')) {
      if (++this.#depth > MOST_GROUPS) throw this.#error(`groups nested more than ${MOST_GROUPS} deep`);
      const found = this.#choice();
      if (!this.#take(')')) throw this.#error('a ( without its )');
      this.#depth--;
      return found;
    }
    if (name === undefined && text === undefined && set === undefined) return undefined;
    const found = name !== undefined ? rule(name) : text !== undefined ? this.#literal(text) : this.#pattern(set ?? '');
    this.#advance();
    return found;
  }

  #literal(text: string): Expression {
    const inner = text.slice(1, -1);
    return inner.includes('\\')
      ? this.#pattern(inner.replaceAll(/\\.|[\^$.*+?()[\]{}|/]/gsu, escaped))
      : literal(inner);
  }

  #pattern(pattern: string): Expression {
    return readPattern(pattern, (what) => this.#refuse(`${JSON.stringify(pattern)}: ${what}`));
  }

  #repeated(part: Expression): Expression {
    if (this.#take('*')) return repeat(part, 0);
    if (this.#take('+')) return repeat(part, 1);
    if (this.#take('?')) return repeat(part, 0, 1);
    const { least, upto, most } = this.#piece;
    if (least === undefined) return part;
    const [from, to] = [
      Number(least),
      most === undefined ? (upto === undefined ? Number(least) : Infinity) : Number(most),
    ];
    if (from > to || Math.max(from, to === Infinity ? 0 : to) > MOST_REPEATS)
      throw this.#error(`a count from ${from} to ${to}: expected at most ${MOST_REPEATS}, the smaller first`);
    this.#advance();
    return repeat(part, from, to);
  }
}

/** A piece of a literal as a pattern has it: escapes stay, of characters that mean nothing there too. */
function escaped(piece: string): string {
  return piece.length > 1 ? (/\\[dDwWsSbB]/.test(piece) ? piece.slice(1) : piece) : `\\${piece}`;
}
