// For tests: varied schemas from a seed, each of whose values is short enough for a model that writes at random.
import type { JsonObject } from '../../files/json.ts';
import { Random } from '../../tensor/index.ts';

const names = ['city', 'größe', '名前', 'a b', 'quote"d', 'back\\slash', 'id', 'x-y', '🌊', 'kind', ''];
const patterns = ['^[a-z]{2,5}$', '^\\d{3}-\\d{2}$', '^(ja|nein|"vielleicht")$', '^[^a-z]{1,3}\\\\?$', '^é+🌊?\\.$'];

/** The same seed gives the same schema. */
export function randomSchema(seed: number): JsonObject {
  const random = new Random(seed);
  const below = (n: number) => random.bits() % n;
  const pick = <T>(list: readonly T[], otherwise: T): T => list[below(list.length)] ?? otherwise;
  const some = (n: number) => names.toSorted(() => (below(2) ? 1 : -1)).slice(0, n);

  const number = (type: 'integer' | 'number'): JsonObject => {
    const low = below(2000) - 1000;
    const high = low + 1 + below(pick([3, 50, 5000], 3));
    const scale = type === 'integer' ? 1 : pick([1, 10, 100], 1);
    const [from, to] = [low / scale, high / scale];
    const low1 = below(2) ? { minimum: from } : { exclusiveMinimum: from };
    const high1 = type === 'integer' || below(2) ? { maximum: to } : { exclusiveMaximum: to };
    return { type, ...low1, ...high1 };
  };
  const object = (depth: number): JsonObject => {
    const listed = some(1 + below(4));
    return {
      type: 'object',
      properties: Object.fromEntries(listed.map((name) => [name, value(depth - 1)])),
      required: listed.filter(() => below(3) > 0),
      ...(below(4) === 0 && { additionalProperties: { type: 'boolean' } }),
      ...(below(3) === 0 && { additionalProperties: false }),
    };
  };
  const leaves: readonly (() => JsonObject)[] = [
    () => ({ type: 'string', maxLength: below(9) }),
    () => ({ type: 'string', minLength: 2, maxLength: 2 + below(5) }),
    () => ({ type: 'string', pattern: pick(patterns, '') }),
    () => ({ type: 'string', format: pick(['date', 'time', 'date-time', 'uuid', 'ipv4', 'email'], '') }),
    () => number('integer'),
    () => number('number'),
    () => ({ type: ['boolean', 'null'] }),
    () => ({ enum: [1, 'zwei', null, { drei: [3] }, 'vier "4"', -5.5].slice(0, 2 + below(5)) }),
    () => ({ const: pick(['fest', 7, false], 7) }),
  ];
  const value = (depth: number): JsonObject => {
    const kind = depth <= 0 ? 0 : below(6);
    if (kind === 1 || kind === 2) return object(depth);
    if (kind === 3) {
      const least = below(2);
      return { type: 'array', items: value(depth - 1), minItems: least, maxItems: least + below(3) };
    }
    if (kind === 4) return { anyOf: [value(depth - 1), value(depth - 1)] };
    if (kind === 5)
      return {
        type: 'array',
        prefixItems: [value(depth - 1), value(0)],
        minItems: 2,
        items: false,
      };
    return pick(leaves, () => ({}))();
  };
  const shape = below(6);
  if (shape === 0)
    return {
      $ref: '#/$defs/node',
      $defs: {
        node: {
          type: 'object',
          properties: {
            value: value(1),
            next: { anyOf: [{ type: 'null' }, { type: 'boolean' }, { $ref: '#/$defs/node' }] },
          },
          required: ['value', 'next'],
        },
      },
    };
  if (shape === 1)
    return {
      allOf: [
        { ...object(2), additionalProperties: true },
        { type: 'object', properties: { extra: value(1) }, required: ['extra'] },
      ],
    };
  if (shape === 2)
    return {
      oneOf: ['a', 'b'].map((kind) => ({
        type: 'object',
        properties: { kind: { const: kind }, of: value(1) },
        required: ['kind', 'of'],
      })),
    };
  return object(3);
}
