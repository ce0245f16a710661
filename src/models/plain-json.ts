// Values that JSON holds as they are, and no more of them than a configuration can need.
import { LfmError } from '../tensor/error.ts';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

const [MOST_DEPTH, MOST_VALUES, LONGEST] = [16, 100_000, 4096];
/** Keys that reach an object's prototype where code copies them. */
const reserved = new Set(['__proto__', 'constructor', 'prototype']);

/**
 * A copy without keys whose value is undefined. `what` names the value in messages. Errors, by `code`: functions, symbols, instances of classes, numbers
 * that are not finite, reserved keys, and more than a configuration can need.
 */
export function plainJson(value: unknown, what: string, code: string): Json {
  let values = 0;
  const refuse = (at: string, found: string): never => {
    throw new LfmError(code, `${what}${at && `: ${at}`}: expected plain JSON; found ${found}.`);
  };
  const copy = (from: unknown, at: string, depth: number): Json => {
    if (++values > MOST_VALUES) return refuse('', `more than ${MOST_VALUES} values`);
    if (depth > MOST_DEPTH) return refuse(at, `values nested deeper than ${MOST_DEPTH} levels`);
    if (from === null || typeof from === 'boolean') return from;
    if (typeof from === 'string')
      return from.length <= LONGEST ? from : refuse(at, `a text of ${from.length} characters`);
    if (typeof from === 'number') return Number.isFinite(from) ? from : refuse(at, `the number ${from}`);
    const within = (key: string | number) => (at ? `${at}.${key}` : String(key));
    if (Array.isArray(from)) return Array.from(from, (one, index) => copy(one, within(index), depth + 1));
    if (typeof from !== 'object') return refuse(at, from === undefined ? 'nothing' : `a ${typeof from}`);
    const kind: unknown = Object.getPrototypeOf(from);
    if (kind !== null && kind !== Object.prototype) return refuse(at, `an instance of ${from.constructor.name}`);
    const made: Record<string, Json> = {};
    for (const [key, one] of Object.entries(from)) {
      if (reserved.has(key)) return refuse(at, `the key "${key}"`);
      if (one !== undefined) made[key] = copy(one, within(key), depth + 1);
    }
    return made;
  };
  return copy(value, '', 0);
}
