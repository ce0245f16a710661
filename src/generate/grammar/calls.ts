// Calls of tools as rules: a model's text is kept to calls that can be read back and whose arguments fit the tools' schemas, in the
// notation that the model writes. No "<" stands in an argument but as an escape, so that none ends a call before its end.
import { isJsonObject, type JsonObject } from '../../files/json.ts';
import { callMarkers, type CallMarkers, type Tool, type ToolCallStyle } from '../tool-calls.ts';
import type { Refuse } from './automaton.ts';
import type { Edge, Expression, Rules } from './expression.ts';
import { characters, choice, complement, literal, optional, repeat, ROOT, rule, sequence } from './expression.ts';
import { readProperties, readSchema } from './schema.ts';
import type { Brackets, Property } from './schema-object.ts';
import { objectOf, space } from './schema-object.ts';
import { CALL_NOTATION, PYTHON_NOTATION, RAW_NOTATION } from './schema-text.ts';

/** As JSON: what is asked is known by what it says. */
export interface AskedCalls {
  /** Those that may be called. */
  readonly tools: readonly Tool[];
  readonly style: ToolCallStyle;
  readonly markers: CallMarkers;
  /** Whether the text is calls and nothing else, after a thought; otherwise calls may stand in it, or not. */
  readonly isRequired: boolean;
  /** Most calls of one text. */
  readonly most: number;
  /** Whether the prompt ended within a thought; 'maybe': it did not, and the text may begin with one. */
  readonly thinks: 'begun' | 'maybe' | 'never';
  /** Control tokens that stand in the text: the markers, where they are such. */
  readonly kept: readonly number[];
}

const END_OF_THOUGHT = '</think>';
const PYTHON_NAME = /^[\p{L}_][\p{L}\p{N}_.-]*$/u;
/** What says more of a string than that it is one. */
const CLOSER = 'enum const minLength maxLength pattern format allOf anyOf oneOf $ref'.split(' ');
const TAG_NAME = /^[^<>\s]{1,256}$/;

/** Errors: what `refuse` makes, naming the tool. */
export function callRules(asked: AskedCalls, refuse: Refuse): Rules {
  const { tools, style, markers, isRequired, most, thinks } = asked;
  const rules = new Map<string, Expression>();
  const calls = tools.map((tool, i) => {
    const { name, parameters } = definitionOf(tool);
    const refuseTool: Refuse = (what) => refuse(`${JSON.stringify(name)}: ${what}`);
    const made = callOf(name, parameters, style, refuseTool);
    for (const [key, expression] of made.rules) rules.set(`${i}:${key}`, renamed(expression, `${i}:`));
    return renamed(made.call, `${i}:`);
  });
  rules.set('call', choice(...calls));
  // In a list several calls stand between one pair of markers, otherwise one.
  const call = rule('call');
  const isList = callMarkers.pythonic.some(({ open }) => open === markers.open);
  const body = isList
    ? sequence(literal('['), call, repeat(sequence(literal(', '), call), 0, most - 1), literal(']'))
    : style === 'xml'
      ? sequence(literal('\n'), call, literal('\n'))
      : sequence(optional(literal('\n')), call, optional(literal('\n')));
  rules.set('marked', sequence(literal(markers.open), body, literal(markers.close)));
  const marked = rule('marked');
  const others = isList ? 0 : most - 1;
  if (isRequired) {
    const thought = sequence(textWithout(END_OF_THOUGHT), literal(END_OF_THOUGHT), repeat(literal('\n'), 0, 2));
    const before =
      thinks === 'begun' ? thought : thinks === 'maybe' ? optional(sequence(literal('<think>'), thought)) : sequence();
    rules.set(ROOT, sequence(before, marked, repeat(sequence(literal('\n'), marked), 0, others)));
  } else {
    rules.set('text', textWithout(markers.open));
    const text = rule('text');
    rules.set(ROOT, sequence(text, repeat(sequence(marked, text), 0, others + 1)));
  }
  return rules;
}

function definitionOf(tool: Tool): { readonly name: string; readonly parameters: JsonObject } {
  const { name, parameters } = isJsonObject(tool['function']) ? tool['function'] : tool;
  return { name: String(name), parameters: isJsonObject(parameters) ? parameters : { type: 'object', properties: {} } };
}

interface Call {
  readonly call: Expression;
  readonly rules: Rules;
}

function callOf(name: string, parameters: JsonObject, style: ToolCallStyle, refuse: Refuse): Call {
  if (style === 'json') {
    const rules = readSchema(parameters, refuse, CALL_NOTATION);
    const head = literal(`{"name": ${JSON.stringify(name)}, "arguments": `);
    return { call: sequence(head, space, rule(ROOT), literal('}')), rules };
  }
  const isNamed = style === 'pythonic' ? PYTHON_NAME : TAG_NAME;
  const notation = style === 'pythonic' ? PYTHON_NOTATION : CALL_NOTATION;
  const { properties, rules } = readProperties(parameters, refuse, notation);
  const bad = [name, ...properties.map((property) => property.name)].find((each) => !isNamed.test(each));
  if (bad !== undefined) throw refuse(`this model's calls have no way to write the name ${JSON.stringify(bad)}`);
  return style === 'pythonic'
    ? pythonCall(name, properties, rules)
    : xmlCall(name, parameters, properties, rules, refuse);
}

function pythonCall(name: string, properties: readonly Property[], rules: Rules): Call {
  const brackets: Brackets = { open: '(', close: ')', before: (key) => literal(`${key}=`) };
  return { call: sequence(literal(name), objectOf(properties, undefined, brackets)), rules };
}

function xmlCall(
  name: string,
  parameters: JsonObject,
  properties: readonly Property[],
  rules: Rules,
  refuse: Refuse,
): Call {
  const all = new Map(rules);
  const given = properties.map(({ name: key, value, isRequired }, i) => {
    const schemas = parameters['properties'];
    const schema = isJsonObject(schemas) ? schemas[key] : undefined;
    const type = isJsonObject(schema) ? schema['type'] : undefined;
    // A value is read by the type that stands there; without one it would be read as text.
    if (type === undefined) throw refuse(`the parameter ${JSON.stringify(key)} has no "type" of its own`);
    let content = value;
    if (type === 'string' && isJsonObject(schema)) {
      const raw = readSchema(schema, (what) => refuse(`${JSON.stringify(key)}: ${what}`), RAW_NOTATION);
      for (const [inner, expression] of raw) all.set(`${i}:${inner}`, renamed(expression, `${i}:`));
      const isFree = !CLOSER.some((word) => word in schema);
      if (JSON.stringify([schema['enum'], schema['const']]).includes('</'))
        throw refuse(`the values of ${JSON.stringify(key)} hold "</", which would end them`);
      content = isFree ? TAGGED_TEXT : rule(`${i}:${ROOT}`);
    }
    const parameter = sequence(literal(`<parameter=${key}>\n`), content, literal('\n</parameter>\n'));
    return isRequired ? parameter : optional(parameter);
  });
  return { call: sequence(literal(`<function=${name}>\n`), ...given, literal('</function>')), rules: all };
}

/** Text in which no tag is closed. */
const TAGGED_TEXT = ((): Expression => {
  const angle = literal('<');
  const but = (...signs: string[]) =>
    characters(complement([...signs.map((sign) => [sign.charCodeAt(0), sign.charCodeAt(0)] as const), [0, 8]]));
  return sequence(repeat(choice(but('<'), sequence(repeat(angle, 1), but('<', '/'))), 0), repeat(angle, 0));
})();

/** Any text in which a marker, of ASCII, does not stand. A place of the graph is how much of the marker the text ends with. */
function textWithout(marker: string): Expression {
  const signs = [...new Set(marker)];
  const others = characters(complement(signs.map((sign) => [sign.charCodeAt(0), sign.charCodeAt(0)] as const)));
  const edges: Edge[] = [];
  for (let at = 0; at < marker.length; at++) {
    edges.push([at, marker.length], [at, 0, others]);
    for (const sign of signs) {
      const text = marker.slice(0, at) + sign;
      let next = text.length;
      while (!text.endsWith(marker.slice(0, next))) next--;
      if (next < marker.length) edges.push([at, next, literal(sign)]);
    }
  }
  return { kind: 'graph', places: marker.length + 1, edges };
}

/** The same with other names of rules, so that those of several tools stand side by side. */
function renamed(expression: Expression, prefix: string): Expression {
  const inner = (each: Expression) => renamed(each, prefix);
  switch (expression.kind) {
    case 'range':
      return expression;
    case 'rule':
      return rule(prefix + expression.name);
    case 'sequence':
      return { kind: 'sequence', parts: expression.parts.map(inner) };
    case 'choice':
      return { kind: 'choice', options: expression.options.map(inner) };
    case 'repeat':
      return { ...expression, part: inner(expression.part) };
    case 'graph':
      return {
        ...expression,
        edges: expression.edges.map(([from, to, by]): Edge => (by ? [from, to, inner(by)] : [from, to])),
      };
  }
}
