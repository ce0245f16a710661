import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { LfmError } from '../tensor/error.ts';
import { formatTokenizerJson } from './tokenizer-json-write.ts';
import { parseTokenizerJson } from './tokenizer-json.ts';

const FIXTURES = new URL('../../test/fixtures/tokenizer/', import.meta.url);

interface Row {
  text: string;
  plain: number[];
  parsed: number[];
  decoded: string;
}

function read(name: string): string {
  return readFileSync(new URL(name, FIXTURES), 'utf8');
}

const expected = JSON.parse(read('expected.json')) as Record<string, Row[]>;

describe.each(Object.keys(expected))('%s', (name) => {
  const rows = expected[name] ?? [];

  it.each([
    ['as written', read(name)],
    ['written again', formatTokenizerJson(parseTokenizerJson(read(name)))],
  ])('gives the ids of the tokenizers library, %s', (_, json) => {
    const tokenizer = parseTokenizerJson(json);
    expect(rows.length).toBeGreaterThan(30);
    for (const { text, plain, parsed, decoded } of rows) {
      expect([...tokenizer.encode(text, { addSpecialTokens: false })], text).toEqual(plain);
      expect([...tokenizer.encode(text, { parseSpecialTokens: true })], text).toEqual(parsed);
      expect(tokenizer.decode(parsed, { skipSpecialTokens: true }), text).toBe(decoded);
      const bytes = new TextEncoder().encode(text);
      expect([...tokenizer.encodeBytes(bytes, { addSpecialTokens: false })], text).toEqual(plain);
    }
  });

  it('is written the same twice', () => {
    const once = formatTokenizerJson(parseTokenizerJson(read(name)));
    expect(formatTokenizerJson(parseTokenizerJson(once))).toBe(once);
  });
});

type Mutable = { [key: string]: Mutable } & Mutable[];

/** The library's file after a change to its parsed form. */
function changed(change: (file: Mutable) => void): string {
  const file = JSON.parse(read('library.json')) as Mutable;
  change(file);
  return JSON.stringify(file);
}

function errorOf(json: string): Pick<LfmError, 'code' | 'message'> {
  try {
    parseTokenizerJson(json);
  } catch (error) {
    return error as LfmError;
  }
  return { code: 'none', message: 'it was read' };
}

describe('what parseTokenizerJson refuses', () => {
  const put = (path: string, value: unknown) =>
    changed((file) => {
      const keys = path.split('.');
      const parent = keys.slice(0, -1).reduce((at, key) => at[key] ?? at, file);
      Object.defineProperty(parent, keys.at(-1) ?? '', { value, enumerable: true });
    });

  it.each([
    ['normalizer', { type: 'Precompiled' }, 'normalizer'],
    ['decoder', null, 'decoder'],
    ['decoder', { type: 'Metaspace' }, 'decoder'],
    ['model.type', 'WordPiece', 'model.type'],
    ['model.dropout', 0.1, 'model.dropout'],
    ['model.continuing_subword_prefix', '##', 'continuing_subword_prefix'],
    ['model.end_of_word_suffix', '</w>', 'end_of_word_suffix'],
    ['model.byte_fallback', true, 'byte_fallback'],
    ['added_tokens.1.single_word', true, 'added_tokens[1].single_word'],
    ['pre_tokenizer', null, 'pre_tokenizer'],
    ['pre_tokenizer.pretokenizers.0', { type: 'Whitespace' }, 'Whitespace'],
    ['pre_tokenizer.pretokenizers.0.behavior', 'Sideways', 'behavior'],
    ['pre_tokenizer.pretokenizers.1', { type: 'Digits' }, 'ByteLevel'],
    ['post_processor', { type: 'BertProcessing' }, 'BertProcessing'],
  ])('%s = %j is not supported', (path, value, named) => {
    const { code, message } = errorOf(put(path, value));
    expect(code).toBe('tokenizer-unsupported');
    expect(message).toContain(named);
  });

  it.each([
    ['model', 7, 'model'],
    ['model.vocab', [1], 'model.vocab'],
    ['model.vocab.zz', 1.5, 'model.vocab["zz"]'],
    ['model.vocab.zz', -1, 'model.vocab["zz"]'],
    ['model.vocab.zz', 2 ** 31, 'model.vocab["zz"]'],
    ['model.vocab.zz', 5, 'an id of its own'],
    ['model.merges', {}, 'model.merges'],
    ['model.merges.3', 'a', 'model.merges[3]'],
    ['model.merges.3', 'a b c', 'model.merges[3]'],
    ['model.merges.3', ['a', 1], 'model.merges[3]'],
    ['model.merges.3', ['q', 'q'], 'model.merges[3]'],
    ['model.ignore_merges', 'yes', 'model.ignore_merges'],
    ['added_tokens', 'all', 'added_tokens'],
    ['added_tokens.0.content', '', 'added_tokens[0].content'],
    ['added_tokens.1.content', '<|pad|>', 'added_tokens[1].content'],
    ['added_tokens.0.content', 'new', 'added_tokens[0].id'],
    ['added_tokens.0.id', 9, 'added_tokens[0].id'],
    ['added_tokens.0.id', 1e9, 'added_tokens[0].id'],
    ['post_processor.single', [], 'holds the text once'],
    ['post_processor.special_tokens', {}, '<|startoftext|>'],
  ])('%s = %j is invalid', (path, value, named) => {
    const { code, message } = errorOf(put(path, value));
    expect(code).toBe('tokenizer-invalid');
    expect(message).toContain(named);
  });

  it.each([
    ['(a+)+$', 'repeated without bound'],
    ['a++', 'possessive'],
    ['[\\p{L}', 'ends too early'],
  ])('the pattern %s', (pattern, named) => {
    const { code, message } = errorOf(put('pre_tokenizer.pretokenizers.0.pattern', { Regex: pattern }));
    expect(code).toBe('pattern-unsupported');
    expect(message).toContain(named);
  });

  it('text that is not JSON, a second key of one name, and a vocabulary that lacks a byte', () => {
    expect(errorOf('{').code).toBe('tokenizer-json');
    expect(errorOf('[]').code).toBe('tokenizer-not-object');
    expect(errorOf('{"model":{},"model":{}}').code).toBe('tokenizer-duplicate-key');
    expect(errorOf(lacking('<|pad|>')).code).toBe('tokenizer-bytes-missing');
  });

  it('not a byte without a token where none stands for the unknown: the library drops it, and so do we', () => {
    const tokenizer = parseTokenizerJson(lacking(null));
    const ids = tokenizer.encode('aqb', { addSpecialTokens: false });
    expect(tokenizer.decode(ids)).toBe('ab');
    expect(tokenizer.encodeBytes(Uint8Array.of(0x61, 0x71, 0x62), { addSpecialTokens: false })).toEqual(ids);
  });

  const lacking = (unknown: string | null) =>
    changed((file) => {
      delete file['model']?.['vocab']?.['q'];
      Object.assign(file['model'] ?? {}, { merges: [], unk_token: unknown });
    });
});

describe('a hostile file', () => {
  it('cannot reach a prototype, and tokens named like its members are tokens', () => {
    const json = read('library.json').replace(
      '"vocab":{',
      '"__proto__":{"polluted":true},"vocab":{"__proto__":600,"constructor":601,"toString":602,',
    );
    const tokenizer = parseTokenizerJson(json.replace('"model":{', '"__proto__":{"polluted":true},"model":{'));
    expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false);
    expect(tokenizer.idOf('__proto__')).toBe(600);
    expect(tokenizer.idOf('constructor')).toBe(601);
    expect(tokenizer.decode([602])).toBe('toString');
    const again = parseTokenizerJson(formatTokenizerJson(tokenizer));
    expect(again.idOf('__proto__')).toBe(600);
    expect(again.decode(again.encode('__proto__', { addSpecialTokens: false }))).toBe('__proto__');
  });

  it('does not take fields from a __proto__ key', () => {
    const json = read('library.json').replace('"normalizer":null', '"__proto__":{"normalizer":{"type":"NFC"}}');
    expect(parseTokenizerJson(json).vocabSize).toBe(600);
  });
});
