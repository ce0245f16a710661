// Objects of JSON: their properties in the schema's order, those that may be left out, and others beside them.
import type { Edge, Expression } from './expression.ts';
import { characters, choice, complement, intersect, literal, repeat, rule, sequence } from './expression.ts';
import type { Notation } from './schema-text.ts';
import { written } from './schema-text.ts';

/** Between the parts of a value: nothing, a space, or a new line with its indentation. */
export const spaceRule = choice(
  sequence(),
  literal(' '),
  sequence(literal('\n'), repeat({ kind: 'range', low: 0x20, high: 0x20 }, 0, 20)),
);
export const space = rule('#space');
const comma = sequence(literal(','), space);

export interface Property {
  readonly name: string;
  readonly value: Expression;
  readonly isRequired: boolean;
}

/** Properties beside those that are named. */
export interface Others {
  readonly key: Expression;
  readonly value: Expression;
  readonly least: number;
  readonly most: number;
}

/** What stands around an object, and before a value. */
export interface Brackets {
  readonly open: string;
  readonly close: string;
  readonly before: (name: string) => Expression;
}

export const braces = (notation: Notation): Brackets => ({
  open: '{',
  close: '}',
  before: (name) => sequence(literal(`${written(name, notation)}:`), space),
});

export function objectOf(
  properties: readonly Property[],
  others: Others | undefined,
  { open, close, before: head }: Brackets,
): Expression {
  const shut = sequence(space, literal(close));
  const more = others && sequence(others.key, literal(':'), space, others.value);
  const { least = 0, most = 0 } = others ?? {};
  if (properties.length === 0) {
    const full = more ? sequence(more, listOf(more, Math.max(0, least - 1), most - 1)) : sequence();
    const options = [...(most > 0 ? [sequence(space, full)] : []), ...(least === 0 ? [sequence()] : [])];
    return sequence(literal(open), choice(...options), shut);
  }
  // A row of places before the first property that stands there, and one after it.
  const count = properties.length;
  const before = (i: number) => i;
  const behind = (i: number) => count + 1 + i;
  const end = 2 * count + 2;
  const edges: Edge[] = [[before(count), end]];
  for (const [i, { name, value, isRequired }] of properties.entries()) {
    const pair = sequence(head(name), value);
    edges.push([before(i), behind(i + 1), pair], [behind(i), behind(i + 1), sequence(comma, pair)]);
    if (!isRequired) edges.push([before(i), before(i + 1)], [behind(i), behind(i + 1)]);
  }
  if (more) {
    const tail = sequence(more, listOf(more, 0, most - 1));
    edges.push([before(count), end, tail], [behind(count), end, repeat(sequence(comma, more), 0, most)]);
  } else edges.push([behind(count), end]);
  return sequence(literal(open), space, { kind: 'graph', places: end + 1, edges }, shut);
}

/** Further items, each behind a comma. */
export function listOf(item: Expression, least: number, most: number): Expression {
  return repeat(sequence(comma, item), least, Math.max(least, most));
}

/** A property's name that is none of these, so that no property stands there twice; without escapes, which could spell them. */
export function otherNames(names: readonly string[], { plain }: Notation): Expression {
  const quote = literal('"');
  const children = [new Map<number, number>()];
  const isName = [false];
  for (const name of names) {
    let at = 0;
    for (const character of name) {
      const code = character.codePointAt(0) ?? 0;
      let next = children[at]?.get(code);
      if (next === undefined) {
        next = children.push(new Map()) - 1;
        isName.push(false);
        children[at]?.set(code, next);
      }
      at = next;
    }
    isName[at] = true;
  }
  const free = children.length;
  const edges: Edge[] = [
    [free, free, characters(plain)],
    [free, free + 1],
  ];
  for (const [at, below] of children.entries()) {
    const taken = [...below.keys()].map((code) => [code, code] as const);
    edges.push([at, free, characters(intersect(plain, complement(taken)))]);
    if (!isName[at]) edges.push([at, free + 1]);
    for (const [code, to] of below)
      if (plain.some(([low, high]) => low <= code && code <= high))
        edges.push([at, to, literal(String.fromCodePoint(code))]);
  }
  return sequence(quote, { kind: 'graph', places: free + 2, edges }, quote);
}
