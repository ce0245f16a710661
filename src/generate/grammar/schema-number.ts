// Numbers between bounds, as texts: digit by digit. Every one is read back exactly as it was meant, so digits are few enough.
import type { Refuse } from './automaton.ts';
import type { Expression } from './expression.ts';
import { choice, literal, optional, repeat, sequence } from './expression.ts';

/** Whole numbers of more digits are not read back exactly. */
const MOST_DIGITS = 15;
const MOST = 10 ** MOST_DIGITS - 1;

export interface Bounds {
  readonly low: number;
  readonly high: number;
  /** Whether the bound itself is left out. */
  readonly aboveLow: boolean;
  readonly belowHigh: boolean;
}

const digits = (low: number, high: number): Expression => ({ kind: 'range', low: 0x30 + low, high: 0x30 + high });
const digit = digits(0, 9);
const minus = literal('-');
const point = literal('.');

/** Whole numbers; without bounds, of at most 15 digits. */
export function integerBetween({ low, high, aboveLow, belowHigh }: Bounds): Expression {
  const from = aboveLow && Number.isInteger(low) ? low + 1 : Math.ceil(low);
  const to = belowHigh && Number.isInteger(high) ? high - 1 : Math.floor(high);
  return wholeBetween(Math.max(from, -MOST), Math.min(to, MOST));
}

/** Numbers with and without a fraction; without bounds also with an exponent, never so large that they are read as Infinity. */
export function numberBetween(bounds: Bounds, refuse: Refuse): Expression {
  const { low, high, aboveLow, belowHigh } = bounds;
  if (low === -Infinity && high === Infinity) {
    const whole = choice(digits(0, 0), sequence(digits(1, 9), repeat(digit, 0, MOST_DIGITS - 1)));
    const exponent = sequence(
      choice(literal('e'), literal('E')),
      optional(choice(literal('+'), minus)),
      repeat(digit, 1, 2),
    );
    return sequence(
      optional(minus),
      whole,
      optional(sequence(point, repeat(digit, 1, MOST_DIGITS))),
      optional(exponent),
    );
  }
  const options = [integerBetween(bounds)];
  if (high > 0) options.push(fractionsBetween(Math.max(low, 0), high, low >= 0 && aboveLow, belowHigh, refuse));
  if (low < 0)
    options.push(sequence(minus, fractionsBetween(Math.max(-high, 0), -low, high <= 0 && belowHigh, aboveLow, refuse)));
  return choice(...options);
}

/** Whole numbers from one to another, neither with more than 15 digits. */
function wholeBetween(low: number, high: number): Expression {
  const options: Expression[] = [];
  if (high >= 0) options.push(...countsBetween(Math.max(low, 0), high));
  if (low < 0) options.push(...countsBetween(Math.max(-high, 1), -low).map((count) => sequence(minus, count)));
  return choice(...options);
}

/** The same from 0, an expression for each number of digits. */
function countsBetween(low: number, high: number): Expression[] {
  const options: Expression[] = [];
  for (let width = 1; width <= MOST_DIGITS; width++) {
    const from = Math.max(low, width === 1 ? 0 : 10 ** (width - 1));
    const to = Math.min(high, 10 ** width - 1);
    if (from <= to) options.push(digitsBetween(String(from), String(to)));
  }
  return options;
}

/** Digits of equal number between two such. */
function digitsBetween(low: string, high: string): Expression {
  if (/^0*$/.test(low) && /^9*$/.test(high)) return repeat(digit, low.length, low.length);
  const [first, last] = [Number(low.charAt(0)), Number(high.charAt(0))];
  const [lowRest, highRest] = [low.slice(1), high.slice(1)];
  if (first === last) return sequence(digits(first, first), digitsBetween(lowRest, highRest));
  const [nines, noughts] = [lowRest.replaceAll(/./g, '9'), lowRest.replaceAll(/./g, '0')];
  const options = [sequence(digits(first, first), digitsBetween(lowRest, nines))];
  if (last - first > 1) options.push(sequence(digits(first + 1, last - 1), digitsBetween(noughts, nines)));
  options.push(sequence(digits(last, last), digitsBetween(noughts, highRest)));
  return choice(...options);
}

/** Numbers with a fraction, from 0: whole units any fraction of which is between the bounds, and parts of a unit at the bounds. */
function fractionsBetween(
  low: number,
  high: number,
  aboveLow: boolean,
  belowHigh: boolean,
  refuse: Refuse,
): Expression {
  // With 15 digits in all no number is read back as a bound that it is not.
  const room =
    MOST_DIGITS - Math.max(...[low, high].map((bound) => (bound < MOST ? String(Math.floor(bound)).length : 1)));
  const any = repeat(digit, 1, Math.max(1, room));
  // A fraction that does not end in 0 is more than its whole part.
  const some = sequence(repeat(digit, 0, Math.max(0, room - 1)), digits(1, 9));
  const units = wholeBetween(Math.ceil(low), Math.min(Math.floor(high), MOST) - 1);
  const options = room > 0 ? [sequence(units, point, aboveLow ? some : any)] : [];
  const [lowUnit, highUnit] = [Math.floor(low), Math.floor(high)];
  const places = Math.max(placesOf(low, refuse), placesOf(high, refuse), 3);
  if (places > Math.max(room, 3))
    throw refuse(`the bounds ${low} and ${high} have more than ${MOST_DIGITS} digits: round them`);
  const scale = 10 ** places;
  /** Fractions of a unit, in as many digits as there are and in fewer. */
  const part = (unit: number, from: number, to: number) => {
    for (let width = 1; width <= places; width++) {
      const step = 10 ** (places - width);
      const [first, last] = [Math.ceil(from / step), Math.floor(to / step)];
      const [low = '', high = ''] = [first, last].map((value) => String(value).padStart(width, '0'));
      if (first <= last) options.push(sequence(literal(`${unit}.`), digitsBetween(low, high)));
    }
  };
  const lowPart = Math.round((low - lowUnit) * scale) + (aboveLow ? 1 : 0);
  const highPart = Math.round((high - highUnit) * scale) - (belowHigh ? 1 : 0);
  if (highUnit < MOST && !Number.isInteger(low)) part(lowUnit, lowPart, lowUnit === highUnit ? highPart : scale - 1);
  if (highUnit < MOST && !Number.isInteger(high) && (lowUnit !== highUnit || Number.isInteger(low)))
    part(highUnit, lowUnit === highUnit ? lowPart : 0, highPart);
  return choice(...options);
}

/** Digits after the point. */
function placesOf(value: number, refuse: Refuse): number {
  if (!Number.isFinite(value)) return 0;
  for (let places = 0; places <= 9; places++) if (Number(value.toFixed(places)) === value) return places;
  throw refuse(`the bound ${value} has more than 9 digits after its point: round it`);
}
