// Rules as one automaton over bytes that calls itself: states, and what is known of each before any text is read.
import type { LfmError } from '../../tensor/error.ts';
import type { AutomatonState, Rule } from './analyse.ts';
import { findLeftCall, lasts, needs, nullables, reverse } from './analyse.ts';
import type { Expression, Rules } from './expression.ts';
import { ROOT } from './expression.ts';

/** More states are no request's. */
export const MOST_STATES = 30_000;

/** Makes the error of a grammar that cannot be used, from what is wrong with it. */
export type Refuse = (what: string) => LfmError;

export class Automaton {
  readonly states: AutomatonState[] = [];
  readonly root: Rule;
  /** Calls within calls that the rest of a state's rule needs at least; Infinity where no text completes it. */
  readonly need: readonly number[];
  /** Whether nothing is left of its rule: who calls another rule from there need not be returned to. */
  readonly isLast: readonly boolean[];
  readonly #rules = new Map<string, Rule>();
  readonly #parts = new Map<Expression, Rule>();
  readonly #given: Rules;
  readonly #refuse: Refuse;

  /** Errors: what `refuse` makes, for too many states, rules that are missing, call themselves first, or match no text. */
  constructor(rules: Rules, refuse: Refuse) {
    this.#given = rules;
    this.#refuse = refuse;
    this.root = this.#ruleOf(ROOT);
    for (const [name, { start, end }] of this.#rules) {
      const expression = rules.get(name);
      if (!expression) throw refuse(`there is no rule ${JSON.stringify(name)}`);
      this.#add(expression, start, end);
    }
    const ends = [...this.#rules.values(), ...this.#parts.values()].map(({ end }) => end);
    const back = reverse(this.states);
    this.isLast = lasts(this.states, back, ends);
    this.need = needs(this.states, back, ends, this.isLast);
    const looping = findLeftCall(this.states, nullables(this.states, back, ends));
    if (looping) throw refuse(`${this.#called(looping)} begins with itself, so it cannot be read from left to right`);
    if (this.need[this.root.start] === Infinity)
      throw refuse(
        'no text matches it: it asks for things that exclude each other, or that contain themselves without end',
      );
  }

  #called({ name }: Rule): string {
    return this.#given.has(name) ? `the rule ${JSON.stringify(name)}` : 'a rule';
  }

  #state(): number {
    if (this.states.length >= MOST_STATES)
      throw this.#refuse(`it is too large: it makes more than ${MOST_STATES} states`);
    return this.states.push({ empty: [], bytes: [], calls: [] }) - 1;
  }

  #ruleOf(name: string): Rule {
    const known = this.#rules.get(name);
    if (known) return known;
    const made = { name, start: this.#state(), end: this.#state() };
    this.#rules.set(name, made);
    return made;
  }

  /** What stands in several places, as a rule of its own. */
  #partOf(part: Expression): Rule {
    if (part.kind === 'rule') return this.#ruleOf(part.name);
    const known = this.#parts.get(part);
    if (known) return known;
    const made = { name: '', start: this.#state(), end: this.#state() };
    this.#parts.set(part, made);
    this.#add(part, made.start, made.end);
    return made;
  }

  #at(state: number): AutomatonState {
    return this.states[state] ?? { empty: [], bytes: [], calls: [] };
  }

  #add(expression: Expression, from: number, to: number): void {
    const { kind } = expression;
    if (kind === 'range') this.#at(from).bytes.push({ low: expression.low, high: expression.high, to });
    else if (kind === 'rule') this.#at(from).calls.push({ rule: this.#ruleOf(expression.name), to });
    else if (kind === 'choice') for (const option of expression.options) this.#add(option, from, to);
    else if (kind === 'sequence') {
      const { parts } = expression;
      let at = from;
      for (const [i, part] of parts.entries()) {
        const next = i === parts.length - 1 ? to : this.#state();
        this.#add(part, at, next);
        at = next;
      }
      if (parts.length === 0) this.#at(from).empty.push(to);
    } else if (kind === 'repeat') this.#repeat(expression, from, to);
    else {
      const { places, edges } = expression;
      const at = Array.from({ length: places }, (_, i) => (i === 0 ? from : i === places - 1 ? to : this.#state()));
      for (const [a, b, by] of edges) {
        if (by) this.#add(by, at[a] ?? from, at[b] ?? to);
        else this.#at(at[a] ?? from).empty.push(at[b] ?? to);
      }
    }
  }

  #repeat({ part, least, most }: Extract<Expression, { kind: 'repeat' }>, from: number, to: number): void {
    const copies = least + (most === Infinity ? 1 : most - least);
    const one: Expression | Rule = copies > 1 && part.kind !== 'range' ? this.#partOf(part) : part;
    const step = (a: number, b: number) => {
      if ('kind' in one) this.#add(one, a, b);
      else this.#at(a).calls.push({ rule: one, to: b });
    };
    let at = this.#state();
    this.#at(from).empty.push(at);
    for (let i = 0; i < least; i++) {
      const next = this.#state();
      step(at, next);
      at = next;
    }
    if (most === Infinity) step(at, at);
    const more = most === Infinity ? 0 : most - least;
    for (let i = 0; i < more; i++) {
      const next = this.#state();
      this.#at(at).empty.push(to);
      step(at, next);
      at = next;
    }
    this.#at(at).empty.push(to);
  }
}
