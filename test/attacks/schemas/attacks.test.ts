// Schemas, patterns and grammars made to cost: each is refused with one clear error, or costs next to nothing, and harms nobody.
import { beforeAll, describe, expect, it } from 'vitest';
import { grammarOf } from '../../../src/generate/grammar/index.ts';
import type { Asked } from '../../../src/generate/grammar/index.ts';
import { corpus } from '../../../src/generate/testing.node.ts';
import { trainBpe } from '../../../src/text/bpe-train.ts';
import type { Tokenizer } from '../../../src/text/tokenizer.ts';

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await trainBpe([corpus], { vocabSize: 300 });
});

const nested = (depth: number, around: (inner: unknown) => unknown, inner: unknown = { type: 'null' }): unknown => {
  let schema = inner;
  for (let i = 0; i < depth; i++) schema = around(schema);
  return schema;
};
const cyclic: Record<string, unknown> = { type: 'array' };
cyclic['items'] = cyclic;
const many = (count: number, of: (i: number) => unknown) =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`p${i}`, of(i)]));
const list = <T>(count: number, of: (i: number) => T) => Array.from({ length: count }, (_, i) => of(i));
const required = (properties: object) => ({ type: 'object', properties, required: Object.keys(properties) });

const refused: [string, string, Asked, RegExp][] = [
  ['deep', 'bad-schema', { schema: nested(100, (items) => ({ type: 'array', items })) }, /64 deep/],
  ['far too deep', 'bad-schema', { schema: nested(100_000, (items) => ({ items })) }, /too deep/],
  ['deep by anyOf', 'bad-schema', { schema: nested(70, (inner) => ({ anyOf: [inner] })) }, /64 deep/],
  ['deep by allOf', 'bad-schema', { schema: nested(70, (inner) => ({ allOf: [inner] })) }, /64 deep/],
  ['its own part', 'bad-schema', { schema: cyclic }, /no JSON Schema/],
  [
    'a program',
    'bad-schema',
    {
      schema: {
        get type(): string {
          throw new Error('gotcha');
        },
      },
    },
    /gotcha/,
  ],
  ['nothing', 'bad-schema', { schema: () => 1 }, /expected a JSON Schema/],
  ['a list', 'bad-schema', { schema: [] }, /expected a schema/],
  ['huge', 'bad-schema', { schema: { enum: ['x'.repeat(2 ** 19)] } }, /characters/],
  ['wide', 'bad-schema', { schema: { anyOf: list(12_000, () => ({})) } }, /10000 schemas/],
  ['many states', 'bad-schema', { schema: { enum: list(9000, (i) => `value ${i}`) } }, /30000 states/],
  ['long strings', 'bad-schema', { schema: { type: 'string', minLength: 1e9 } }, /30000 states/],
  ['long lists', 'bad-schema', { schema: { type: 'array', minItems: 2 ** 40 } }, /30000 states/],
  ['refers to itself', 'bad-schema', { schema: { $ref: '#' } }, /itself/],
  [
    'refers in a circle',
    'bad-schema',
    { schema: { $ref: '#/$defs/a', $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } } } },
    /itself/,
  ],
  ['refers to itself by allOf', 'bad-schema', { schema: { allOf: [{ $ref: '#' }], type: 'object' } }, /refer|deep/],
  ['refers to itself beside a keyword', 'bad-schema', { schema: { $ref: '#', minLength: 1 } }, /refer|deep/],
  ['contains itself without end', 'bad-schema', { schema: required({ a: { $ref: '#' } }) }, /without end/],
  [
    'lists of itself without end',
    'bad-schema',
    { schema: { type: 'array', items: { $ref: '#' }, minItems: 1 } },
    /without end/,
  ],
  ['refers to nothing', 'bad-schema', { schema: { $ref: '#/$defs/none' } }, /nothing at/],
  ['refers to what every object has', 'bad-schema', { schema: { $ref: '#/constructor' } }, /nothing at/],
  ['refers to the network', 'bad-schema', { schema: { $ref: 'http://127.0.0.1/schema' } }, /within the schema/],
  ['false', 'bad-schema', { schema: false }, /no text/],
  ['no values', 'bad-schema', { schema: { enum: [] } }, /no text/],
  ['no such value', 'bad-schema', { schema: { type: 'integer', enum: ['a'] } }, /no text/],
  ['crossed lengths', 'bad-schema', { schema: { type: 'string', minLength: 3, maxLength: 2 } }, /no value has both/],
  ['crossed bounds', 'bad-schema', { schema: { type: 'integer', minimum: 3, maximum: 2 } }, /no text/],
  [
    'bounds without a number',
    'bad-schema',
    { schema: { type: 'number', exclusiveMinimum: 2, exclusiveMaximum: 2 } },
    /no text/,
  ],
  [
    'types that exclude each other',
    'bad-schema',
    { schema: { allOf: [{ type: 'string' }, { type: 'array' }] } },
    /no text/,
  ],
  [
    'required and forbidden',
    'bad-schema',
    { schema: { type: 'object', properties: { a: false }, required: ['a'] } },
    /not allowed/,
  ],
  ['what cannot be followed', 'bad-schema', { schema: { not: { type: 'string' } } }, /"not"/],
  ['uniqueItems', 'bad-schema', { schema: { type: 'array', uniqueItems: true } }, /uniqueItems/],
  ['one of two that overlap', 'bad-schema', { schema: { oneOf: [{ type: 'integer' }, { type: 'number' }] } }, /oneOf/],
  ['a type that is none', 'bad-schema', { schema: { type: '__proto__' } }, /type/],
  ['lookahead in a pattern', 'bad-schema', { schema: { type: 'string', pattern: '^(?!a)b' } }, /lookahead/],
  ['groups within groups', 'bad-regex', { regex: `${'('.repeat(5000)}${')'.repeat(5000)}` }, /64 deep/],
  ['long', 'bad-regex', { regex: 'a'.repeat(100_000) }, /longer/],
  ['a count without end', 'bad-regex', { regex: 'a{999999}' }, /10000/],
  ['left open', 'bad-regex', { regex: '([a' }, /without its/],
  ['an anchor within', 'bad-regex', { regex: '(a^)b' }, /within/],
  ['a back-reference', 'bad-regex', { regex: '(a)\\1' }, /\\1/],
  ['no character', 'bad-regex', { regex: '[]' }, /no text/],
  ['begins with itself', 'bad-grammar', { grammar: 'root ::= root "a" | "a"' }, /begins with itself/],
  [
    'begins with itself behind nothing',
    'bad-grammar',
    { grammar: 'root ::= b? root "a" | "a"\nb ::= ""' },
    /begins with itself/,
  ],
  ['never ends', 'bad-grammar', { grammar: 'root ::= "a" root' }, /no text/],
  ['a missing rule', 'bad-grammar', { grammar: 'root ::= other' }, /no rule "other"/],
  ['no root', 'bad-grammar', { grammar: 'rood ::= "a"' }, /no rule "root"/],
  ['the same rule twice', 'bad-grammar', { grammar: 'root ::= "a"\nroot ::= "b"' }, /line 2.*twice/],
  ['left open', 'bad-grammar', { grammar: 'root ::= ("a"\nb ::= "c"' }, /without its/],
  ['no grammar', 'bad-grammar', { grammar: 'root = "a"' }, /line 1/],
  ['spaces', 'bad-grammar', { grammar: ' '.repeat(2 ** 18) }, /longer/],
  ['two forms at once', 'bad-limit', { regex: 'a', grammar: 'root ::= "a"' }, /one of/],
];

describe('refused', () => {
  it.each(refused)('%s: %s', (_, code, asked, message) => {
    const refusal = expect.objectContaining({ name: 'LfmError', code, message: expect.stringMatching(message) });
    expect(() => grammarOf(asked, tokenizer)).toThrow(refusal);
    // It is remembered, or refused again.
    expect(() => grammarOf(asked, tokenizer)).toThrow(refusal);
  });

  it('leaves what others ask for as it was', () => {
    const good = grammarOf({ schema: { type: 'boolean' } }, tokenizer);
    expect(good.advance(good.start, new TextEncoder().encode('true'))?.isComplete).toBe(true);
  });
});

/** Walks along a text and has each mask made, as a model's text does; answers the error that ends it. */
function walk(asked: Asked, text: string): unknown {
  try {
    const grammar = grammarOf(asked, tokenizer);
    let at = grammar.start;
    for (const byte of new TextEncoder().encode(text)) {
      grammar.mask(at);
      const next = grammar.step(at, byte);
      if (!next) return new Error(`not allowed: ${String.fromCharCode(byte)}`);
      at = next;
    }
    return undefined;
  } catch (error) {
    return error;
  }
}

describe('costs next to nothing', () => {
  it.each<[string, Asked, string]>([
    [
      'repeats within repeats',
      { regex: list(7, () => '){1000}').reduce((inner, end) => `(${inner}${end}`, 'ab') },
      'abab',
    ],
    ['stars within stars', { regex: '((a*)*)*b' }, 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaab'],
    ['a choice of the same', { regex: '(a|a|aa)*' }, 'a'.repeat(60)],
    ['far from the end', { regex: '(a|b)*a(a|b){15}' }, 'ab'.repeat(30)],
    ['itself twice over', { grammar: 'root ::= "a" root root | "b"' }, `${'a'.repeat(60)}`],
    [
      'many that may be left out',
      { schema: { type: 'object', properties: many(500, () => ({ type: 'null' })) } },
      '{"p7":null,"p300":null}',
    ],
    ['a limit that is none', { schema: { type: 'string', maxLength: 2 ** 40 } }, '"abc"'],
    ['a name that is a prototype', { schema: required({ ['__proto__']: { type: 'null' } }) }, '{"__proto__":null}'],
    ['deep JSON', { schema: {} }, '['.repeat(60)],
  ])('%s', (_, asked, text) => {
    expect(walk(asked, text)).toBeUndefined();
  });

  it('stops a text whose readings grow too many, with the grammar’s own error', () => {
    const grammar = 'root ::= x\nx ::= "a" x y | "a" x z | "a"\ny ::= "b"? \nz ::= "b"? ';
    expect(walk({ grammar }, 'a'.repeat(300))).toMatchObject({
      code: 'bad-grammar',
      message: expect.stringMatching(/so many ways/),
    });
  });
});
