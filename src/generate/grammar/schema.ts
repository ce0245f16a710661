// JSON Schema as rules: every text they allow is JSON that the schema holds of. What a schema allows beyond what can be written
// down here is left out (properties come in its order, others only where it asks for them); what it forbids never is.
import { isJsonObject, type JsonObject } from '../../files/json.ts';
import type { Refuse } from './automaton.ts';
import type { Expression, Rules } from './expression.ts';
import { choice, literal, repeat, ROOT, rule, sequence } from './expression.ts';
import { areDisjoint, assertionsOf, isEmpty, merge } from './schema-merge.ts';
import { integerBetween, numberBetween } from './schema-number.ts';
import type { Others, Property } from './schema-object.ts';
import { braces, listOf, objectOf, otherNames, space, spaceRule } from './schema-object.ts';
import type { Notation } from './schema-text.ts';
import { JSON_NOTATION, textOf, textRules, written } from './schema-text.ts';

const MOST_DEPTH = 64;
const MOST_SCHEMAS = 10_000;
/** Characters, items and properties that are counted beyond the least. */
const MOST_COUNTED = { Length: 8000, Items: 2000, Properties: 2000 } as const;

const byType = {
  object: [
    'properties',
    'required',
    'additionalProperties',
    'propertyNames',
    'minProperties',
    'maxProperties',
    'unevaluatedProperties',
  ],
  array: ['items', 'prefixItems', 'minItems', 'maxItems', 'uniqueItems', 'unevaluatedItems'],
  string: ['minLength', 'maxLength', 'pattern', 'format'],
  number: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'],
} as const;
const known = new Set([...Object.values(byType).flat(), 'type', 'enum', 'const', 'anyOf', 'oneOf', 'allOf', '$ref']);
/** Of drafts, and known to forbid something that cannot be followed. Any other keyword forbids nothing, as JSON Schema has it. */
const unknown = new Set(
  (
    'not if then else patternProperties dependentRequired dependentSchemas dependencies contains minContains maxContains ' +
    '$dynamicRef $recursiveRef extends disallow divisibleBy'
  ).split(' '),
);

/** Errors: what `refuse` makes, naming the place in the schema. */
export function readSchema(schema: unknown, refuse: Refuse, notation: Notation = JSON_NOTATION): Rules {
  return new SchemaReader(schema, refuse, notation).read();
}

/** The named properties of an object's schema, where they are not written as JSON's are. Errors: as `readSchema`. */
export function readProperties(
  schema: JsonObject,
  refuse: Refuse,
  notation: Notation,
): { readonly properties: readonly Property[]; readonly rules: Rules } {
  return new SchemaReader(schema, refuse, notation).readProperties(schema);
}

interface Place {
  readonly path: string;
  readonly depth: number;
}

class SchemaReader {
  readonly #root: unknown;
  readonly #refuse: Refuse;
  readonly #notation: Notation;
  readonly #rules: Map<string, Expression>;
  #schemas = 0;

  constructor(root: unknown, refuse: Refuse, notation: Notation) {
    this.#root = root;
    this.#refuse = refuse;
    this.#notation = notation;
    this.#rules = new Map(Object.entries({ ...textRules(notation), '#space': spaceRule }));
  }

  readProperties(schema: JsonObject): { readonly properties: readonly Property[]; readonly rules: Rules } {
    const place = { path: '#', depth: 0 };
    const given = Object.keys(assertionsOf(schema));
    const other = given.find((key) => !['type', 'properties', 'required', 'additionalProperties'].includes(key));
    if (other !== undefined) throw this.#refuse(`${JSON.stringify(other)} of parameters cannot be followed`);
    const { type = 'object' } = schema;
    if (type !== 'object') throw this.#refuse('parameters: expected a schema of the type object');
    return { properties: this.#listed(schema, [], place).listed, rules: this.#rules };
  }

  read(): Rules {
    this.#rules.set(ROOT, rule('#'));
    this.#referred('#', { path: '#', depth: 0 });
    return this.#rules;
  }

  #at(place: Place): Refuse {
    return (what) => this.#refuse(`at ${place.path}: ${what}`);
  }

  #value(schema: unknown, place: Place): Expression {
    const refuse = this.#at(place);
    if (place.depth > MOST_DEPTH)
      throw refuse(`it is nested more than ${MOST_DEPTH} deep, or its parts refer to each other`);
    if (++this.#schemas > MOST_SCHEMAS) throw refuse(`more than ${MOST_SCHEMAS} schemas within one`);
    if (schema === true) return this.#anything();
    if (schema === false) return choice();
    if (!isJsonObject(schema)) throw refuse('expected a schema: an object, true or false');
    const given = assertionsOf(schema);
    for (const key of Object.keys(given))
      if (unknown.has(key)) throw refuse(`the keyword ${JSON.stringify(key)} cannot be followed`);
    const { $ref, allOf, anyOf, oneOf, ...own } = Object.fromEntries(
      Object.entries(given).filter(([key]) => known.has(key)),
    );
    if ($ref !== undefined) {
      const others = [
        own,
        ...Object.entries({ allOf, anyOf, oneOf }).map(([key, value]) => (value === undefined ? {} : { [key]: value })),
      ];
      const beside = Object.assign({}, ...others) as JsonObject;
      if (isEmpty(beside)) return this.#referred($ref, place);
      const target = this.#resolve($ref, place);
      return target === false
        ? choice()
        : this.#value(isJsonObject(target) ? merge(beside, target, refuse) : beside, deeper(place, '$ref'));
    }
    if (allOf !== undefined) {
      const whole = { ...own, ...(anyOf !== undefined && { anyOf }), ...(oneOf !== undefined && { oneOf }) };
      return this.#all(whole, this.#list(allOf, 'allOf', place), place);
    }
    if (anyOf !== undefined && oneOf !== undefined) throw refuse('anyOf and oneOf at once: write one of them');
    if (anyOf !== undefined) return this.#any(own, this.#list(anyOf, 'anyOf', place), 'anyOf', place);
    if (oneOf !== undefined) {
      const options = this.#list(oneOf, 'oneOf', place);
      this.#requireDisjoint(options, place);
      return this.#any(own, options, 'oneOf', place);
    }
    return this.#plain(own, place);
  }

  #list(value: unknown, key: string, place: Place): readonly unknown[] {
    if (Array.isArray(value) && value.length > 0) return value;
    throw this.#at(place)(`${key}: expected a list of schemas`);
  }

  #all(own: JsonObject, parts: readonly unknown[], place: Place): Expression {
    let whole = own;
    for (const part of parts) {
      const meant = this.#followed(part, place);
      if (meant === false) return choice();
      if (isJsonObject(meant)) whole = merge(whole, assertionsOf(meant), this.#at(place));
    }
    return this.#value(whole, deeper(place, 'allOf'));
  }

  #any(own: JsonObject, options: readonly unknown[], key: string, place: Place): Expression {
    return choice(
      ...options.map((option, i) => {
        const inner = deeper(place, `${key}/${i}`);
        if (isEmpty(own)) return this.#value(option, inner);
        const meant = this.#followed(option, place);
        return meant === false
          ? choice()
          : this.#value(isJsonObject(meant) ? merge(own, meant, this.#at(inner)) : own, inner);
      }),
    );
  }

  #requireDisjoint(options: readonly unknown[], place: Place): void {
    const all = options.map((option) => this.#followed(option, place));
    // Pairs of what may be many: more than these are no union that anybody wrote.
    if (all.length > 256) throw this.#at(place)('oneOf: expected at most 256 schemas; anyOf may have more');
    for (const [i, one] of all.entries())
      for (const [j, other] of all.slice(0, i).entries())
        if (!areDisjoint(one, other))
          throw this.#at(place)(
            `oneOf: schemas ${j} and ${i} might both hold of a value; use anyOf, or give both a property with a const`,
          );
  }

  /** What a schema that only refers to another means. */
  #followed(schema: unknown, place: Place): unknown {
    let meant = schema;
    for (let i = 0; isJsonObject(meant) && '$ref' in meant && Object.keys(assertionsOf(meant)).length === 1; i++) {
      if (i > MOST_DEPTH) throw this.#at(place)('schemas refer to each other and to nothing else');
      meant = this.#resolve(meant['$ref'], place);
    }
    return meant;
  }

  /** A schema elsewhere, as a rule: it may refer to itself. */
  #referred(ref: unknown, place: Place): Expression {
    const name = String(ref);
    if (!this.#rules.has(name)) {
      this.#rules.set(name, choice());
      this.#rules.set(name, this.#value(this.#resolve(ref, place), { path: name, depth: place.depth + 1 }));
    }
    return rule(name);
  }

  #resolve(ref: unknown, place: Place): unknown {
    if (typeof ref !== 'string' || !/^#(?:\/|$)/.test(ref))
      throw this.#at(place)(
        `$ref: expected one within the schema, such as "#/$defs/city"; found ${JSON.stringify(ref)?.slice(0, 100)}`,
      );
    let at: unknown = this.#root;
    for (const part of ref.split('/').slice(1)) {
      const key = decode(part).replaceAll('~1', '/').replaceAll('~0', '~');
      const isThere = (isJsonObject(at) || Array.isArray(at)) && Object.hasOwn(at, key);
      if (!isThere) throw this.#at(place)(`$ref: there is nothing at ${JSON.stringify(ref.slice(0, 100))}`);
      at = Object(at)[key] as unknown;
    }
    return at;
  }

  #plain(schema: JsonObject, place: Place): Expression {
    const { type } = schema;
    const given = type === undefined ? impliedTypes(schema) : Array.isArray(type) ? type : [type];
    if (Object.hasOwn(schema, 'const') || schema['enum'] !== undefined)
      return this.#values(schema, type === undefined ? undefined : given, place);
    if (!given) return this.#anything();
    return choice(...given.map((each) => this.#typed(each, schema, place)));
  }

  #values(schema: JsonObject, types: readonly unknown[] | undefined, place: Place): Expression {
    const { const: only, enum: listed = [only], type: _, ...others } = schema;
    if (!Array.isArray(listed)) throw this.#at(place)('enum: expected a list of values');
    const [other] = Object.keys(others).filter((key) => key !== 'const');
    if (other !== undefined)
      throw this.#at(place)(`${JSON.stringify(other)} beside enum or const: leave out the values that it forbids`);
    const fits = (value: unknown) =>
      !types ||
      types.includes(value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value) ||
      (types.includes('integer') && Number.isInteger(value));
    const isOnly = (value: unknown) =>
      !Object.hasOwn(schema, 'const') || JSON.stringify(value) === JSON.stringify(only);
    return choice(
      ...listed.filter((value) => fits(value) && isOnly(value)).map((value) => literal(written(value, this.#notation))),
    );
  }

  #typed(type: unknown, schema: JsonObject, place: Place): Expression {
    const refuse = this.#at(place);
    const [yes, no, nothing] = this.#notation.words;
    if (type === 'null') return literal(nothing);
    if (type === 'boolean') return choice(literal(yes), literal(no));
    if (type === 'string') {
      return textOf(schema, this.#limits(schema, 'Length', place), this.#notation, refuse);
    }
    if (type === 'integer' || type === 'number') return this.#number(type, schema, place);
    if (type === 'array') return this.#array(schema, place);
    if (type === 'object') return this.#object(schema, place);
    throw refuse(
      `type: expected object, array, string, number, integer, boolean or null; found ${JSON.stringify(type)?.slice(0, 100)}`,
    );
  }

  #limits(schema: JsonObject, of: 'Length' | 'Items' | 'Properties', place: Place): readonly [number, number] {
    const [least = 0, most = Infinity] = [schema[`min${of}`], schema[`max${of}`]];
    const isCount = (value: unknown) => typeof value === 'number' && Number.isInteger(value) && value >= 0;
    if (
      typeof least !== 'number' ||
      typeof most !== 'number' ||
      !isCount(least) ||
      !(most === Infinity || isCount(most))
    )
      throw this.#at(place)(`min${of} and max${of}: expected whole numbers from 0`);
    if (least > most) throw this.#at(place)(`min${of} is ${least} and max${of} is ${most}: no value has both`);
    // What is longer is left out, as a text that no model writes; a limit that is meant as none would cost as many states.
    return [least, most === Infinity ? most : Math.min(most, least + MOST_COUNTED[of])];
  }

  #number(type: 'integer' | 'number', schema: JsonObject, place: Place): Expression {
    const refuse = this.#at(place);
    const bound = (key: string, otherwise: number) => {
      const value = schema[key] ?? otherwise;
      if (typeof value === 'number') return value;
      throw refuse(`${key}: expected a number`);
    };
    const { multipleOf } = schema;
    if (multipleOf !== undefined && !(multipleOf === 1 && type === 'integer'))
      throw refuse('multipleOf cannot be followed: leave it out, or list the values as enum');
    const [minimum, above] = [bound('minimum', -Infinity), bound('exclusiveMinimum', -Infinity)];
    const [maximum, below] = [bound('maximum', Infinity), bound('exclusiveMaximum', Infinity)];
    const bounds = {
      low: Math.max(minimum, above),
      high: Math.min(maximum, below),
      aboveLow: above >= minimum && above > -Infinity,
      belowHigh: below <= maximum && below < Infinity,
    };
    return type === 'integer' ? integerBetween(bounds) : numberBetween(bounds, refuse);
  }

  #array(schema: JsonObject, place: Place): Expression {
    const [least, most] = this.#limits(schema, 'Items', place);
    if (schema['uniqueItems'] === true && most > 1)
      throw this.#at(place)('uniqueItems cannot be followed: leave it out');
    const { prefixItems, unevaluatedItems, items = unevaluatedItems } = schema;
    // Before draft 2020 a list under `items` was what prefixItems is now.
    const isOld = Array.isArray(items);
    const listed = isOld ? items : prefixItems === undefined ? [] : this.#list(prefixItems, 'prefixItems', place);
    const first = listed.slice(0, most).map((item, i) => this.#value(item, deeper(place, `prefixItems/${i}`)));
    if (isOld && least > listed.length)
      throw this.#at(place)('minItems above the number of items: use prefixItems and items');
    const isClosed = first.length > 0 && least <= first.length && (items === undefined || isOld);
    const [from, to] = [Math.max(0, least - first.length), isClosed ? 0 : most - first.length];
    const rest =
      to > 0 && items !== false ? this.#shared(isOld ? true : (items ?? true), deeper(place, 'items')) : undefined;
    if (!rest && from > 0) throw this.#at(place)(`minItems is ${least}, and there may be only ${first.length}`);
    const [head, ...others] = first;
    const tail = rest ? listOf(rest, from, to) : sequence();
    if (head)
      return sequence(
        literal('['),
        space,
        head,
        ...others.map((item) => listOf(item, 1, 1)),
        tail,
        space,
        literal(']'),
      );
    const full = rest && sequence(space, rest, listOf(rest, Math.max(0, from - 1), to - 1));
    return sequence(
      literal('['),
      choice(...(full ? [full] : []), ...(least === 0 ? [sequence()] : [])),
      space,
      literal(']'),
    );
  }

  #object(schema: JsonObject, place: Place): Expression {
    const refuse = this.#at(place);
    const [least, most] = this.#limits(schema, 'Properties', place);
    const names = this.#followed(schema['propertyNames'], place);
    const allowed = isJsonObject(names) && Array.isArray(names['enum']) ? names['enum'].map(String) : undefined;
    const { listed, required } = this.#listed(schema, allowed ?? [], place);
    // Where nothing is said of any property, any may stand there.
    const isFree = schema['properties'] === undefined && required.length === 0;
    const { unevaluatedProperties: unnamed, additionalProperties: others = unnamed === false ? false : isFree } =
      schema;
    if (unnamed !== undefined && typeof unnamed !== 'boolean')
      throw refuse('unevaluatedProperties: expected true or false');
    if (most < required.length) throw refuse(`maxProperties is ${most}, and ${required.length} are required`);
    const count = listed.length;
    if (
      (count > 0 && least > new Set(required).size) ||
      (count > 0 && most < (others === false || allowed ? count : Infinity))
    )
      throw refuse('minProperties or maxProperties beside properties that may be left out: say which are required');
    if (others === false || allowed) {
      if (least > count) throw refuse(`minProperties is ${least}, and there may be only ${count}`);
      return objectOf(listed, undefined, braces(this.#notation));
    }
    // Names that come twice count once; nothing keeps them from it.
    if (least > 1) throw refuse('minProperties above 1 cannot be followed: name the properties');
    const beside: Others = {
      key:
        names === undefined
          ? otherNames([...Object.keys(Object(schema['properties'])), ...required, ...(allowed ?? [])], this.#notation)
          : this.#names(names, count, place),
      value: this.#shared(others, deeper(place, 'additionalProperties')),
      least,
      most,
    };
    return objectOf(listed, beside, braces(this.#notation));
  }

  /** Properties that the schema names, with those of `others`. */
  #listed(
    schema: JsonObject,
    others: readonly string[],
    place: Place,
  ): { readonly listed: readonly Property[]; readonly required: readonly string[] } {
    const refuse = this.#at(place);
    const { properties = {}, required = [] } = schema;
    if (!isJsonObject(properties)) throw refuse('properties: expected an object of schemas');
    if (!Array.isArray(required) || !required.every((name) => typeof name === 'string'))
      throw refuse('required: expected a list of names');
    const listed: Property[] = [];
    for (const name of new Set([...Object.keys(properties), ...required, ...others])) {
      const value = Object.hasOwn(properties, name) ? properties[name] : (schema['additionalProperties'] ?? true);
      const isRequired = required.includes(name);
      if (value === false && !isRequired) continue;
      if (value === false) throw refuse(`the property ${JSON.stringify(name)} is required and not allowed`);
      listed.push({ name, isRequired, value: this.#shared(value, deeper(place, `properties/${name}`)) });
    }
    return { listed, required };
  }

  #names(names: unknown, count: number, place: Place): Expression {
    if (!isJsonObject(names) || isEmpty(assertionsOf({ ...names, type: undefined })))
      return otherNames([], this.#notation);
    const inner = deeper(place, 'propertyNames');
    if (count > 0 && names['pattern'] !== undefined)
      throw this.#at(inner)('a pattern of names beside named properties cannot be followed');
    return this.#value({ ...names, type: 'string' }, inner);
  }

  /** What stands in several places, as a rule of its own. */
  #shared(schema: unknown, place: Place): Expression {
    const value = this.#value(schema, place);
    if (value.kind === 'rule' || value.kind === 'range') return value;
    const name = `#${this.#rules.size}`;
    this.#rules.set(name, value);
    return rule(name);
  }

  /** Any JSON. */
  #anything(): Expression {
    if (!this.#rules.has('#any')) {
      const any = rule('#any');
      this.#rules.set('#any', choice());
      const bounds = { low: -Infinity, high: Infinity, aboveLow: false, belowHigh: false };
      const list = sequence(
        literal('['),
        choice(sequence(), sequence(space, any, listOf(any, 0, Infinity))),
        space,
        literal(']'),
      );
      const map = objectOf(
        [],
        { key: otherNames([], this.#notation), value: any, least: 0, most: Infinity },
        braces(this.#notation),
      );
      const simple = this.#notation.words.map(literal);
      const number = numberBetween(bounds, this.#refuse);
      this.#rules.set(
        '#any',
        choice(...simple, number, sequence(literal('"'), repeat(rule('#character'), 0), literal('"')), list, map),
      );
    }
    return rule('#any');
  }
}

const deeper = ({ path, depth }: Place, step: string): Place => ({
  path: `${path}/${step}`.slice(0, 300),
  depth: depth + 1,
});

/** The types that a schema without `type` is about; undefined: any. */
function impliedTypes(schema: JsonObject): readonly string[] | undefined {
  const types = Object.entries(byType)
    .filter(([, keys]) => keys.some((key) => schema[key] !== undefined))
    .map(([type]) => type);
  return types.length > 0 ? types : undefined;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
