import { Ajv2020 } from 'ajv/dist/2020.js';
import { beforeAll, describe, expect, it } from 'vitest';
import * as z from 'zod';
import { Random } from '../../tensor/index.ts';
import { trainBpe } from '../../text/bpe-train.ts';
import type { Tokenizer } from '../../text/tokenizer.ts';
import { corpus } from '../testing.node.ts';
import type { Grammar, Position } from './grammar.ts';
import type { Asked } from './index.ts';
import { grammarOf } from './index.ts';
import { randomSchema } from './testing-schemas.ts';

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await trainBpe([corpus], { vocabSize: 300 });
});

const encoder = new TextEncoder();
const allows = (asked: Asked, text: string) => {
  const grammar = grammarOf(asked, tokenizer);
  return grammar.advance(grammar.start, encoder.encode(text))?.isComplete ?? false;
};
const json = (schema: unknown, value: unknown) => allows({ schema }, JSON.stringify(value));

/** A text that the grammar allows, byte by byte at random; it ends where it may, the sooner the longer it is. */
function write(grammar: Grammar, random: Random): string {
  const bytes: number[] = [];
  let at: Position = grammar.start;
  while (bytes.length < 20_000) {
    if (at.isComplete && (at.ways.length === 0 || random.bits() % 4 === 0))
      return new TextDecoder().decode(Uint8Array.from(bytes));
    const first = random.bits() % 256;
    // What is long enough is brought to an end.
    const order = bytes.length > 1000 ? [...encoder.encode('"}]')] : [];
    for (let i = 0; i < 256; i++) order.push((first + i) % 256);
    const next = order.find((byte) => grammar.step(at, byte));
    const found = next === undefined ? undefined : grammar.step(at, next);
    if (next !== undefined) bytes.push(next);
    if (!found) throw new Error(`nothing may follow ${new TextDecoder().decode(Uint8Array.from(bytes))}`);
    at = found;
  }
  throw new Error(`no end: ...${new TextDecoder().decode(Uint8Array.from(bytes.slice(-300)))}`);
}

describe('schemas', () => {
  it('write nothing that an independent validator refuses, and never get stuck', () => {
    const ajv = new Ajv2020({ strict: false, validateFormats: false, unicodeRegExp: true });
    const random = new Random(1);
    for (let seed = 0; seed < 80; seed++) {
      const schema = randomSchema(seed);
      const validate = ajv.compile(schema);
      const grammar = grammarOf({ schema }, tokenizer);
      for (let i = 0; i < 4; i++) {
        const text = write(grammar, random);
        const isValid = validate(JSON.parse(text));
        expect([isValid, isValid ? '' : JSON.stringify(schema), isValid ? '' : text]).toEqual([true, '', '']);
      }
    }
  });

  it('write what zod takes, formats and all', () => {
    const schema = z.object({
      id: z.uuid(),
      when: z.iso.datetime(),
      day: z.iso.date(),
      address: z.ipv4(),
      count: z.int().positive(),
      share: z.number().min(0).max(1),
      small: z.number().gt(-0.25).lt(0.125),
      short: z.string().min(1).max(3),
      tags: z.array(z.enum(['a', 'b'])).max(2),
      pair: z.tuple([z.string().max(2), z.boolean()]),
      map: z.record(z.string().regex(/^[a-z]{1,2}$/), z.null()),
      maybe: z.number().nullable().optional(),
      kind: z.discriminatedUnion('type', [
        z.object({ type: z.literal('x'), x: z.int() }),
        z.object({ type: z.literal('y'), y: z.boolean().default(true) }),
      ]),
    });
    const grammar = grammarOf({ schema }, tokenizer);
    const random = new Random(2);
    for (let i = 0; i < 40; i++) {
      const checked = schema.safeParse(JSON.parse(write(grammar, random)));
      expect(checked.error?.issues).toBeUndefined();
    }
  });

  it('take the patterns of zod', () => {
    const found = ['jo.do@brook.example', 'jo@brook', '@brook.example'].map((text) => json(z.email(), text));
    expect(found).toEqual([true, false, false]);
    expect(() => json(z.string().startsWith('br').regex(/k$/), 'brook')).toThrow(/"pattern" at once/);
  });

  it('follow recursion, and any JSON', () => {
    const list = { type: 'object', properties: { next: { $ref: '#' } } };
    expect(json(list, { next: { next: { next: {} } } })).toBe(true);
    expect(json(list, { next: 1 })).toBe(false);
    const value = { a: [1, -2.5e3, 'é\n"\\', null, true, { '': [] }], b: {} };
    expect(json({}, value)).toBe(true);
    expect(json({ type: 'object' }, value)).toBe(true);
    expect(json({ type: 'object' }, [])).toBe(false);
    expect(allows({ schema: {} }, '{"a":1,}')).toBe(false);
    expect(allows({ schema: {} }, '01')).toBe(false);
    expect(allows({ schema: {} }, '"\u0001"')).toBe(false);
    expect(allows({ schema: {} }, '{\n  "a": [\n    1,\n    2\n  ]\n}')).toBe(true);
  });

  it('keep numbers to their bounds', () => {
    const between = { type: 'number', minimum: -1.25, exclusiveMaximum: 2.5 };
    for (const value of [-1.25, -1.2, -1, -0.5, 0, 0.75, 2, 2.499])
      expect([value, json(between, value)]).toEqual([value, true]);
    for (const value of [-1.26, -2, 2.5, 2.51, 3, 10]) expect([value, json(between, value)]).toEqual([value, false]);
    const whole = { type: 'integer', exclusiveMinimum: -12, maximum: 105 };
    for (let value = -130; value < 130; value++)
      expect([value, json(whole, value)]).toEqual([value, value > -12 && value <= 105]);
  });

  it('count characters and UTF-16 units alike', () => {
    const schema = { type: 'string', minLength: 1, maxLength: 3 };
    expect(['', 'a', 'äöü', 'a🌊', 'a🌊b', 'abcd'].map((text) => json(schema, text))).toEqual([
      false,
      true,
      true,
      true,
      false,
      false,
    ]);
  });

  it('let no other property take the name of a listed one', () => {
    const schema = { type: 'object', properties: { ab: { type: 'null' } }, additionalProperties: { type: 'boolean' } };
    expect(json(schema, { ab: null, a: true, abc: false, '': true })).toBe(true);
    expect(json(schema, { ab: true })).toBe(false);
    expect(allows({ schema }, '{"ab":null,"\\u0061b":true}')).toBe(false);
  });
});

describe('regular expressions', () => {
  it.each([
    ['(yes|no)!?', ['yes', 'no!'], ['', 'yes!!', 'maybe']],
    ['^\\d{2,3}(?:\\.\\d+)?$', ['12', '123.5'], ['1', '1234', '12.']],
    ['[^a-c\\s]+', ['xyz', '🌊é'], ['xa', 'x y', '']],
    ['\\u00e9\\x41\\u{1F30A}[\\]\\-x]', ['éA🌊]', 'éA🌊-'], ['éA🌊y']],
    ['(?<name>a|b)*c{0}', ['', 'abba'], ['c']],
    ['a.c', ['abc', 'a🌊c'], ['a\nc', 'ac']],
  ])('%s', (regex, good, bad) => {
    expect(good.filter((text) => !allows({ regex }, text))).toEqual([]);
    expect(bad.filter((text) => allows({ regex }, text))).toEqual([]);
  });

  it('agree with JavaScript', () => {
    const random = new Random(5);
    for (const source of ['(a|ab)(c|bcd)(d*)', '(?:a{2,3}b?)+', '[\\w.]+@[a-z]+\\.de', '(x*y*){2}z']) {
      const whole = new RegExp(`^(?:${source})$`, 'u');
      for (let i = 0; i < 200; i++) {
        const text = Array.from({ length: random.bits() % 8 }, () => 'abcdxyz@.e'.charAt(random.bits() % 10)).join('');
        expect([source, text, allows({ regex: source }, text)]).toEqual([source, text, whole.test(text)]);
      }
    }
  });
});

describe('grammars', () => {
  it('nest, repeat and name rules', () => {
    const grammar = `# sums
      root ::= sum "\\n"?
      sum  ::= term (" " [+*] " " term){0,2}   # at most three
      term ::= [0-9]+ | "(" sum ")"`;
    for (const text of ['1', '1 + 2 * 3', '((1 + 2)) * 3\n'])
      expect([text, allows({ grammar }, text)]).toEqual([text, true]);
    for (const text of ['', '1 +', '1 + 2 + 3 + 4', '(1', '1+2'])
      expect([text, allows({ grammar }, text)]).toEqual([text, false]);
  });

  it('reach far by a rule that ends with itself', () => {
    const grammar = 'root ::= "a" root | "b"';
    expect(allows({ grammar }, `${'a'.repeat(5000)}b`)).toBe(true);
  });
});

it('keeps a grammar for the next request, and a refusal too', () => {
  const schema = { type: 'string', maxLength: 4 };
  expect(grammarOf({ schema: { ...schema } }, tokenizer)).toBe(grammarOf({ schema }, tokenizer));
});

it('allows a token where all of its bytes may come', () => {
  const grammar = grammarOf({ regex: '(?:the |down){1,2}' }, tokenizer);
  const mask = grammar.mask(grammar.start);
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    const bytes = tokenizer.isSpecial(id) ? undefined : tokenizer.tokenOf(id);
    const wanted = bytes !== undefined && grammar.advance(grammar.start, bytes) !== undefined;
    expect([id, ((mask[id >> 5] ?? 0) >>> (id & 31)) & 1]).toEqual([id, Number(wanted)]);
  }
});
