// Tokenizers of GGUF files: the real one against transformers (tools/oracles/tokenizer_gguf.py), and what is refused.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import * as z from 'zod';
import { hasRealModel, hasTexts, REAL_MODEL, TEXTS, without } from '../../test/real-model.ts';
import type { GgufValue } from '../files/gguf.ts';
import { openGguf } from '../files/gguf.node.ts';
import { BYTE_CHARS } from './bytes.ts';
import { codePointRows } from './random-text.ts';
import { tokenizerConfigFromGguf, tokenizerJsonFromGguf } from './tokenizer-gguf.ts';
import { readTokenizerJson } from './tokenizer-json.ts';
import type { Tokenizer } from './tokenizer.ts';

const expected = z
  .record(z.string(), z.object({ lines: z.number(), tokens: z.number(), sha256: z.string() }))
  .parse(JSON.parse(readFileSync(new URL('../../test/fixtures/tokenizer/real-gguf.json', import.meta.url), 'utf8')));

function linesOf(language: string): string[] {
  const text = brotliDecompressSync(readFileSync(join(TEXTS, `${language}.txt.br`))).toString();
  return text
    .split('\n')
    .filter((line) => line !== '')
    .slice(0, 1250);
}

const family = ['\u{1f468}', '\u{1f469}', '\u{1f467}', '\u{1f466}'].join('\u200d');
const units = ['a', ' ', '\n', '\r\n', '7', '\u00bd', '\u4e2d', '!', family, '\t ', "'s"];
const runs = units.flatMap((unit) => [1, 2, 3, 31, 500, 5000].map((count) => unit.repeat(count)));
const mixed = [
  'a\r\nb\r\n\r\nc\n\rd\r\re',
  "I'll they'RE It'S 12,345.6789\u00b2 \u0661\u0662 x1y22z333",
  '<|im_start|>user\n<|im_end|>',
  `${family} ${family}`,
];

function digest(tokenizer: Tokenizer, lines: Iterable<string>) {
  const hash = createHash('sha256');
  let [tokens, count] = [0, 0];
  for (const line of lines) {
    const ids = tokenizer.encode(line, { addSpecialTokens: false });
    hash.update(Int32Array.of(ids.length)).update(ids);
    tokens += ids.length;
    count++;
  }
  return { lines: count, tokens, sha256: hash.digest('hex') };
}

describe.skipIf(!hasRealModel)(`the real GGUF's tokenizer${hasRealModel ? '' : without('tools/real-model.sh')}`, () => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    await using file = await openGguf(REAL_MODEL);
    tokenizer = readTokenizerJson(tokenizerJsonFromGguf(file.metadata) ?? {});
  });

  it.skipIf(!hasTexts).each('ar de en es fr ja ko zh'.split(' '))(
    `gives the tokens of transformers for text in %s${hasTexts ? '' : without('../shared')}`,
    (language) => {
      const lines = linesOf(language);
      expect(digest(tokenizer, lines)).toEqual(expected[language]);
      expect(lines.filter((line) => tokenizer.decode(tokenizer.encode(line)) !== line)).toEqual([]);
    },
  );

  it.each([
    ['every code point', codePointRows],
    ['long runs', () => runs],
    ['mixed cases', () => mixed],
  ])('gives the tokens of the published tokenizer for %s', (name, lines) => {
    const group = { 'every code point': 'planes', 'long runs': 'runs', 'mixed cases': 'mixed' }[name] ?? '';
    const { lines: count, tokens, sha256 } = expected[group] ?? {};
    expect(digest(tokenizer, lines())).toEqual({ lines: count, tokens, sha256 });
  });

  it('reads control tokens in text only when asked', () => {
    expect(tokenizer.encode('<|im_start|>').length).toBeGreaterThan(1);
    expect([...tokenizer.encode('<|im_start|>', { parseSpecialTokens: true })]).toEqual([1]);
  });
});

/** All 256 bytes, a merge, and a few tokens of each kind. */
const small = (): Map<string, GgufValue> => {
  const tokens = [...BYTE_CHARS, 'he', '<s>', '<tool>', '[unused]'];
  return new Map<string, GgufValue>([
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.pre', 'llama-bpe'],
    ['tokenizer.ggml.tokens', tokens],
    ['tokenizer.ggml.token_type', Int32Array.from(tokens, (_, id) => [1, 3, 4, 5][Math.max(0, id - 256)] ?? 1)],
    ['tokenizer.ggml.merges', ['h e']],
    ['tokenizer.ggml.bos_token_id', 257],
    ['tokenizer.chat_template', '{{ bos_token }}'],
  ]);
};

describe('tokenizerJsonFromGguf', () => {
  const read = (changes: Record<string, GgufValue>) => {
    const metadata = new Map([...small(), ...Object.entries(changes)]);
    return readTokenizerJson(tokenizerJsonFromGguf(metadata) ?? {});
  };

  it('keeps control tokens out of text, and finds those of a user', () => {
    const tokenizer = read({});
    expect([...tokenizer.encode('he<tool>')]).toEqual([257, 256, 258]);
    expect(tokenizer.encode('<s>').length).toBe(4);
    expect(tokenizer.tokenOf(259)).toBeUndefined();
    expect(tokenizerConfigFromGguf(small())).toMatchObject({ bos_token: '<s>', chat_template: '{{ bos_token }}' });
  });

  it('puts what the file says before and after a text', () => {
    const flags = { 'tokenizer.ggml.add_bos_token': false, 'tokenizer.ggml.add_eos_token': true };
    expect([...read({ ...flags, 'tokenizer.ggml.eos_token_id': 257 }).encode('a')]).toEqual([0x61, 257]);
  });

  it.each([
    ['smollm', 'a 123', 5],
    ['gpt-2', 'a 123', 5],
    ['qwen2', 'a 123', 5],
    ['default', 'a 123', 5],
  ])('knows the splits of %s', (pre, text, count) => {
    expect(read({ 'tokenizer.ggml.pre': pre, 'tokenizer.ggml.add_bos_token': false }).encode(text)).toHaveLength(count);
  });

  it('composes characters for qwen2, as its models do', () => {
    const tokenizer = read({ 'tokenizer.ggml.pre': 'qwen2' });
    expect(tokenizer.encode('e\u0301')).toEqual(tokenizer.encode('\u00e9'));
    expect(read({}).encode('e\u0301')).not.toEqual(read({}).encode('\u00e9'));
  });

  it('of scores puts no space before a text where the file says so', () => {
    const tokens = [
      ...Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`),
      '\u2581',
      'a',
      '\u2581a',
    ];
    const changes = {
      'tokenizer.ggml.model': 'llama',
      'tokenizer.ggml.tokens': tokens,
      'tokenizer.ggml.token_type': Int32Array.from(tokens, (_, id) => (id < 256 ? 6 : 1)),
      'tokenizer.ggml.scores': new Float32Array(tokens.length),
      'tokenizer.ggml.add_bos_token': false,
    };
    expect([...read(changes).encode('a a')]).toEqual([258, 258]);
    const plain = read({ ...changes, 'tokenizer.ggml.add_space_prefix': false });
    expect([[...plain.encode('a a')], plain.decode(plain.encode(' a'))]).toEqual([[257, 258], ' a']);
    expect(() => read({ ...changes, 'tokenizer.ggml.scores': new Float32Array(1) })).toThrow('tokenizer.ggml.scores');
  });

  it.each([
    ['tokenizer-unsupported', 'tokenizer.ggml.model', { 'tokenizer.ggml.model': 'bert' }],
    ['tokenizer-unsupported', 'tokenizer.ggml.pre', { 'tokenizer.ggml.pre': 'constructor' }],
    ['tokenizer-invalid', 'tokenizer.ggml.tokens', { 'tokenizer.ggml.tokens': Int32Array.of(1) }],
    ['tokenizer-invalid', 'tokenizer.ggml.token_type', { 'tokenizer.ggml.token_type': Int32Array.of(1) }],
    ['tokenizer-invalid', 'tokenizer.ggml.bos_token_id', { 'tokenizer.ggml.bos_token_id': 260 }],
    ['tokenizer-invalid', 'tokenizer.ggml.eos_token_id', { 'tokenizer.ggml.add_eos_token': true }],
    ['tokenizer-invalid', 'merges[0]', { 'tokenizer.ggml.merges': ['h', 'e'] }],
    ['tokenizer-invalid', 'of its own', { 'tokenizer.ggml.tokens': [...BYTE_CHARS, 'he', 'a', 'b', 'c'] }],
  ])('%s names %s', (code, named, changes) => {
    expect(() => read(changes)).toThrow(expect.objectContaining({ code, message: expect.stringContaining(named) }));
  });
});
