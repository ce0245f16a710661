// Schemas that must hold together, as one schema; and whether two can never hold of the same value.
import { isJsonObject, type JsonObject } from '../../files/json.ts';
import type { Refuse } from './automaton.ts';

/** Keywords that say something to a reader, and forbid nothing; and those that only name or hold other schemas. */
export const NOTES: ReadonlySet<string> = new Set(
  (
    'title description default examples deprecated readOnly writeOnly $comment $schema $id id $anchor $defs definitions ' +
    'contentEncoding contentMediaType $vocabulary additionalItems'
  ).split(' '),
);

/** The keywords that forbid something, with their values. */
export function assertionsOf(schema: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(schema).filter(([key]) => !NOTES.has(key)));
}

export const isEmpty = (schema: JsonObject): boolean => Object.keys(schema).length === 0;

const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);
const asList = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [value]);

/** A schema of which both hold. Errors: what `refuse` makes, where that is more than can be worked out. */
export function merge(a: JsonObject, b: JsonObject, refuse: Refuse): JsonObject {
  const out = new Map<string, unknown>(Object.entries(a));
  for (const [key, value] of Object.entries(b)) {
    const other = out.get(key);
    if (other === undefined || NOTES.has(key)) out.set(key, value);
    else if (!same(other, value) && key !== 'properties' && key !== 'additionalProperties')
      out.set(key, together(key, other, value, refuse));
  }
  if (a['properties'] !== undefined || b['properties'] !== undefined) {
    const properties = mergeProperties(a, b, refuse);
    out.set('properties', Object.fromEntries(properties));
  }
  const [open, other] = [a['additionalProperties'], b['additionalProperties']];
  if (open !== undefined && other !== undefined && !same(open, other)) {
    if (open !== false && other !== false)
      throw refuse('two different additionalProperties at once: name the properties');
    out.set('additionalProperties', false);
  }
  return Object.fromEntries(out);
}

function mergeProperties(a: JsonObject, b: JsonObject, refuse: Refuse): Map<string, unknown> {
  const [left, right] = [a, b].map(({ properties }) => (isJsonObject(properties) ? properties : {}));
  const out = new Map<string, unknown>();
  for (const name of new Set([...Object.keys(left ?? {}), ...Object.keys(right ?? {})])) {
    // What one schema does not name, it may still say of all that it does not name.
    const side = (named: JsonObject | undefined, { additionalProperties }: JsonObject) =>
      named && Object.hasOwn(named, name) ? named[name] : additionalProperties;
    const [one, two] = [side(left, a), side(right, b)];
    if (one === false || two === false) out.set(name, false);
    else if (isJsonObject(one) && isJsonObject(two)) out.set(name, merge(one, two, refuse));
    else out.set(name, isJsonObject(one) ? one : (two ?? one));
  }
  return out;
}

const larger = new Set(['minimum', 'exclusiveMinimum', 'minLength', 'minItems', 'minProperties']);
const smaller = new Set(['maximum', 'exclusiveMaximum', 'maxLength', 'maxItems', 'maxProperties']);

function together(key: string, a: unknown, b: unknown, refuse: Refuse): unknown {
  if (typeof a === 'number' && typeof b === 'number' && larger.has(key)) return Math.max(a, b);
  if (typeof a === 'number' && typeof b === 'number' && smaller.has(key)) return Math.min(a, b);
  if (key === 'required') return [...new Set([...asList(a), ...asList(b)])];
  if (key === 'enum') return asList(a).filter((value) => asList(b).some((other) => same(value, other)));
  if (key === 'type') {
    const both = asList(a).filter((type) => asList(b).includes(type));
    const isNumber = (list: readonly unknown[], type: string) => list.includes(type) && !both.includes(type);
    const [left, right] = [asList(a), asList(b)];
    const narrows =
      (isNumber(left, 'integer') && right.includes('number')) ||
      (isNumber(right, 'integer') && left.includes('number'));
    return narrows ? [...both, 'integer'] : both;
  }
  if (key === 'items' && isJsonObject(a) && isJsonObject(b)) return merge(a, b, refuse);
  throw refuse(`two different values of ${JSON.stringify(key)} at once cannot be worked out: write one schema`);
}

/** Whether it is plain that no value fits both. */
export function areDisjoint(a: unknown, b: unknown): boolean {
  if (a === false || b === false) return true;
  if (!isJsonObject(a) || !isJsonObject(b)) return false;
  const [types, others] = [typesOf(a), typesOf(b)];
  if (types && others && !types.some((type) => others.includes(type))) return true;
  const [values, more] = [valuesOf(a), valuesOf(b)];
  if (values && more) return !values.some((value) => more.some((other) => same(value, other)));
  const isOther = (list: readonly unknown[], types: readonly string[]) =>
    list.every((value) => !types.includes(typeName(value)));
  if ((values && others && isOther(values, others)) || (more && types && isOther(more, types))) return true;
  const [left, right] = [a['properties'], b['properties']];
  if (!isJsonObject(left) || !isJsonObject(right) || types?.join() !== 'object' || others?.join() !== 'object')
    return false;
  const needed = asList(a['required']).filter((name) => asList(b['required']).includes(name));
  return needed.some(
    (name) =>
      typeof name === 'string' &&
      Object.hasOwn(left, name) &&
      Object.hasOwn(right, name) &&
      areDisjoint(left[name], right[name]),
  );
}

const typeName = (value: unknown): string => (value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value);

/** `number` for whole numbers too. */
function typesOf({ type }: JsonObject): readonly string[] | undefined {
  return type === undefined ? undefined : asList(type).map((each) => (each === 'integer' ? 'number' : String(each)));
}

function valuesOf(schema: JsonObject): readonly unknown[] | undefined {
  if (Object.hasOwn(schema, 'const')) return [schema['const']];
  return Array.isArray(schema['enum']) ? schema['enum'] : undefined;
}
