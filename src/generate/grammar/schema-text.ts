// Strings of JSON: which characters they hold, how many, by which pattern.
import { isJsonObject, type JsonObject } from '../../files/json.ts';
import type { Refuse } from './automaton.ts';
import type { Edge, Expression, Ranges } from './expression.ts';
import {
  characters,
  choice,
  complement,
  intersect,
  LAST_CODE_POINT,
  literal,
  repeat,
  rule,
  sequence,
} from './expression.ts';
import { looksAround, readPattern } from './pattern.ts';

const ANGLE = 0x3c;
/** What may stand in a JSON string as it is. */
export const PLAIN = complement([
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
  [0xd800, 0xdfff],
]);
const ESCAPED: Notation['escaped'] = [
  [0x22, '\\"'],
  [0x5c, '\\\\'],
  [0x08, '\\b'],
  [0x0c, '\\f'],
  [0x0a, '\\n'],
  [0x0d, '\\r'],
  [0x09, '\\t'],
];

/** How values are written: as JSON, or as calls of tools have them. */
export interface Notation {
  readonly quote: '"' | '';
  /** Characters that stand in a string as they are, and others with what they are written as. */
  readonly plain: Ranges;
  readonly escaped: readonly (readonly [number, string])[];
  readonly words: readonly [yes: string, no: string, nothing: string];
}

export const JSON_NOTATION: Notation = {
  quote: '"',
  plain: PLAIN,
  escaped: ESCAPED,
  words: ['true', 'false', 'null'],
};

/** Within calls: no marker can stand in what has no "<". */
export const CALL_NOTATION: Notation = {
  ...JSON_NOTATION,
  plain: intersect(PLAIN, complement([[ANGLE, ANGLE]])),
  escaped: [...ESCAPED, [ANGLE, '\\u003c']],
};
export const PYTHON_NOTATION: Notation = { ...CALL_NOTATION, words: ['True', 'False', 'None'] };
/** Text between two tags, which has no way to write what it cannot hold. */
export const RAW_NOTATION: Notation = {
  ...JSON_NOTATION,
  quote: '',
  plain: complement([
    [0, 8],
    [0x0b, 0x1f],
    [ANGLE, ANGLE],
    [0xd800, 0xdfff],
  ]),
  escaped: [],
};

/** One character of a set; control characters without a short form are left out. */
function character(set: Ranges, { plain, escaped: all }: Notation): Expression {
  const escaped = all.filter(([code]) => set.some(([low, high]) => low <= code && code <= high));
  return choice(characters(intersect(set, plain)), ...escaped.map(([, text]) => literal(text)));
}

/** Of any text; of what UTF-16 holds in one unit; of what it holds in two. */
export function textRules(notation: Notation): Readonly<Record<string, Expression>> {
  return {
    '#character': character([[0, LAST_CODE_POINT]], notation),
    '#one': character([[0, 0xffff]], notation),
    '#two': character([[0x10000, LAST_CODE_POINT]], notation),
  };
}

/** A value as the notation has it. */
export function written(value: unknown, notation: Notation): string {
  const [yes, no, nothing] = notation.words;
  if (typeof value === 'boolean') return value ? yes : no;
  if (value === null) return nothing;
  if (Array.isArray(value)) return `[${value.map((each) => written(each, notation)).join(',')}]`;
  if (isJsonObject(value)) {
    const members = Object.entries(value).map(([key, each]) => `${written(key, notation)}:${written(each, notation)}`);
    return `{${members.join(',')}}`;
  }
  if (typeof value === 'string' && notation.quote === '') return value;
  const text = JSON.stringify(value);
  const own = notation.escaped.find(([code]) => code === ANGLE);
  return own ? text.replaceAll('<', own[1]) : text;
}

const DATE =
  '[12]\\d{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))';
const TIME = '(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,6})?';
const NAME = '[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?';
const BYTE = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)';
const formats: Readonly<Record<string, string>> = {
  date: DATE,
  time: `${TIME}(?:Z|[+-](?:0\\d|1[0-3]):[0-5]\\d)`,
  'date-time': `${DATE}T${TIME}(?:Z|[+-](?:0\\d|1[0-3]):[0-5]\\d)`,
  email: `[a-z0-9_]{1,32}(?:\\.[a-z0-9_]{1,32})?@${NAME}(?:\\.${NAME})?\\.[a-z]{2,8}`,
  hostname: `${NAME}(?:\\.${NAME}){0,3}\\.[a-z]{2,8}`,
  uri: `https?://${NAME}(?:\\.${NAME}){0,3}\\.[a-z]{2,8}(?:/[A-Za-z0-9_.~-]{1,64}){0,8}`,
  uuid: '[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}',
  ipv4: `${BYTE}(?:\\.${BYTE}){3}`,
  ipv6: '(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}',
};

/**
 * A string by its schema's `minLength`, `maxLength`, `pattern` and `format`; other formats are notes to the reader. Lengths are
 * counted so that both ways of counting, by characters and by UTF-16 units, find them kept.
 */
export function textOf(
  schema: JsonObject,
  [least, most]: readonly [number, number],
  notation: Notation,
  refuse: Refuse,
): Expression {
  const quote = literal(notation.quote);
  const { pattern, format } = schema;
  const known = typeof format === 'string' && Object.hasOwn(formats, format) ? formats[format] : undefined;
  const given = typeof pattern === 'string' && !(known !== undefined && looksAround(pattern)) ? pattern : undefined;
  if (given !== undefined || known !== undefined) {
    if (least > 0 || most < Infinity)
      throw refuse(
        'a pattern or format beside minLength or maxLength: say the length in the pattern, as in ^[a-z]{2,8}$',
      );
    const isWithin = given !== undefined;
    return sequence(
      quote,
      readPattern(given ?? known ?? '', refuse, { write: (set) => character(set, notation), isWithin }),
      quote,
    );
  }
  const [one, two, any] = [rule('#one'), rule('#two'), rule('#character')];
  if (least === 0 && most === Infinity) return sequence(quote, repeat(any, 0), quote);
  if (most === Infinity) return sequence(quote, repeat(one, least, least), repeat(any, 0), quote);
  const room = most - least;
  const edges = Array.from({ length: room + 1 }, (_, units): Edge[] => [
    [units, room + 1, quote],
    ...(units < room ? [[units, units + 1, one] as const] : []),
    ...(units < room - 1 ? [[units, units + 2, two] as const] : []),
  ]);
  return sequence(quote, repeat(one, least, least), { kind: 'graph', places: room + 2, edges: edges.flat() });
}
