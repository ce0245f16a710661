// The kinds of tokenizers that models of the catalogue have, against transformers (tools/oracles/tokenizer_kinds.py).
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import type { GgufValue } from '../files/gguf.ts';
import { isJsonObject, parseJsonObject } from '../files/json.ts';
import { LfmError } from '../tensor/error.ts';
import { Random } from '../tensor/random.ts';
import { codePointRows } from './random-text.ts';
import { tokenizerJsonFromGguf } from './tokenizer-gguf.ts';
import { formatTokenizerJson } from './tokenizer-json-write.ts';
import { parseTokenizerJson, readTokenizerJson } from './tokenizer-json.ts';

const ids = z.array(z.number());
const row = z.object({ plain: ids, parsed: ids.optional(), decoded: z.string().optional() });
const kind = z.object({ tokenizer: z.unknown(), prefix: ids, rows: z.array(row), planes: z.string() });
const { strings, settled, kinds } = z
  .object({
    strings: z.array(z.string()),
    settled: z.array(z.tuple([z.number(), z.number()])),
    kinds: z.record(z.string(), kind),
  })
  .parse(JSON.parse(readFileSync(new URL('../../test/fixtures/tokenizer/kinds.json', import.meta.url), 'utf8')));

function jsonOf(name: string): string {
  const { tokenizer } = kinds[name] ?? {};
  if (name !== 'spm') return JSON.stringify(tokenizer);
  const vocabulary = z.object({ tokens: z.array(z.string()), types: ids, scores: ids }).parse(tokenizer);
  const metadata = new Map<string, GgufValue>([
    ['tokenizer.ggml.model', 'llama'],
    ['tokenizer.ggml.tokens', vocabulary.tokens],
    ['tokenizer.ggml.token_type', Int32Array.from(vocabulary.types)],
    ['tokenizer.ggml.scores', Float32Array.from(vocabulary.scores)],
    ['tokenizer.ggml.bos_token_id', 1],
  ]);
  return JSON.stringify(tokenizerJsonFromGguf(metadata));
}

describe.each(Object.keys(kinds))('%s', (name) => {
  const { prefix = [], rows = [], planes } = kinds[name] ?? {};
  const json = jsonOf(name);

  it.each([
    ['as written', json],
    ['written again', formatTokenizerJson(parseTokenizerJson(json))],
  ])('gives the ids of transformers, %s', (_, text) => {
    const tokenizer = parseTokenizerJson(text);
    expect(rows).toHaveLength(strings.length);
    for (const [i, { plain, parsed = [...prefix, ...plain], decoded = strings[i] }] of rows.entries()) {
      const given = strings[i] ?? '';
      expect([...tokenizer.encode(given, { addSpecialTokens: false })], given).toEqual(plain);
      expect([...tokenizer.encode(given, { parseSpecialTokens: true })], given).toEqual(parsed);
      expect(tokenizer.decode(plain), given).toBe(decoded);
      expect([...tokenizer.encodeBytes(new TextEncoder().encode(given), { addSpecialTokens: false })]).toEqual(plain);
      const stream = tokenizer.streamDecoder();
      expect(plain.map((id) => stream.push(id)).join('') + stream.flush(), given).toBe(decoded);
    }
  });

  it('gives the ids of transformers for every code point', () => {
    const tokenizer = parseTokenizerJson(json);
    const hash = createHash('sha256');
    // Newer code points compose only where the library knows them; and one kind is enough for all the others.
    const ranges = name === 'llama' ? [[0, Infinity] as const] : settled;
    for (const [i, line] of [...codePointRows()].entries()) {
      if (!ranges.some(([start, end]) => i >= start && i < end)) continue;
      const found = tokenizer.encode(line, { addSpecialTokens: false });
      hash.update(Int32Array.of(found.length)).update(found);
    }
    expect(hash.digest('hex')).toBe(planes);
  });
});

describe('a text that goes on', () => {
  it('keeps the space that its next part begins with', () => {
    const tokenizer = parseTokenizerJson(jsonOf('llama'));
    const [all, part] = ['the mill brook', 'the mill'].map((text) => [...tokenizer.encode(text)]);
    const rest = all?.slice(part?.length) ?? [];
    expect(tokenizer.decode(rest)).toBe('brook');
    expect(tokenizer.decode(rest, { continues: true })).toBe(' brook');
    const stream = tokenizer.streamDecoder({ continues: true });
    expect(rest.map((id) => stream.push(id)).join('') + stream.flush()).toBe(' brook');
  });
});

describe('what is refused', () => {
  const llama = (changes: object, model: object = {}) => {
    const { model: theirs, ...file } = parseJsonObject(jsonOf('llama'), 'llama', 'tokenizer');
    return () => readTokenizerJson({ ...file, ...changes, model: { ...(isJsonObject(theirs) && theirs), ...model } });
  };

  it.each([
    ['WordPiece', llama({}, { type: 'WordPiece' }), 'model.type is "WordPiece"'],
    ['Unigram', llama({}, { type: 'Unigram' }), 'model.type is "Unigram"'],
    ['a normalizer of another kind', llama({ normalizer: { type: 'Precompiled' } }), 'a normalizer is "Precompiled"'],
    [
      'a normalizer that fills memory',
      llama({
        normalizer: {
          type: 'Sequence',
          normalizers: Array.from({ length: 8 }, () => ({ type: 'Replace', pattern: { String: '' }, content: 'xx' })),
        },
      }),
      'much longer',
    ],
    ['a decoder of bytes', llama({ decoder: { type: 'ByteLevel' } }), 'ByteFallback'],
    ['a decoder that strips more', llama({ decoder: { type: 'Metaspace' } }), 'decoder is'],
    ['bytes that are missing', llama({}, { vocab: { '<unk>': 0 }, merges: [] }), '<0x00>'],
    ['words of bytes', llama({ pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false } }), 'pre_tokenizer is'],
  ])('%s', (_, read, message) => {
    expect(read).toThrow(expect.objectContaining({ message: expect.stringContaining(message) }));
  });
});

describe('mutated files', () => {
  const values = [
    null,
    true,
    -1,
    1.5,
    1e9,
    '',
    '\u2581',
    'NFC',
    [],
    {},
    [[]],
    { type: 'Metaspace' },
    { Regex: '(' },
    '\ud800',
  ];

  it('are read, or refused with a clear error', () => {
    const random = new Random(3);
    const pick = <T>(from: readonly T[]): T | undefined => from[Math.floor(random.uniform() * from.length)];
    const outcomes = { read: 0, refused: 0 };
    for (let run = 0; run < 120; run++) {
      const file: Record<string, unknown> = JSON.parse(jsonOf(pick(['phi3', 'metaspace', 'gemma2', 'qwen2']) ?? ''));
      const part = pick(['normalizer', 'pre_tokenizer', 'decoder', 'added_tokens', 'post_processor', 'model']) ?? '';
      // One value somewhere in the part becomes another.
      let places = 0;
      JSON.stringify(file[part], (_, value: unknown) => (places++, value));
      const place = Math.floor(random.uniform() * places);
      let at = 0;
      const mutated = JSON.stringify(file[part], (_, value: unknown) => (at++ === place ? pick(values) : value));
      try {
        const tokenizer = readTokenizerJson({ ...file, [part]: JSON.parse(mutated) });
        tokenizer.decode(tokenizer.encode('The brook <s> \u00e9\u65e5 x'));
        parseTokenizerJson(formatTokenizerJson(tokenizer));
        outcomes.read++;
      } catch (error) {
        if (!(error instanceof LfmError)) throw error;
        outcomes.refused++;
      }
    }
    expect(outcomes.read).toBeGreaterThan(10);
    expect(outcomes.refused).toBeGreaterThan(10);
  });
});
