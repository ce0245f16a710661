import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { toByteChars, utf8ByteString } from './bytes.ts';
import { compilePreTokenizer } from './pre-tokenize.ts';
import { parsePreTokenizer } from './tokenizer-json-parts.ts';

interface Splits {
  strings: string[];
  splits: { pre_tokenizer: object; pieces: string[][] }[];
}

const fixture = new URL('../../test/fixtures/tokenizer/splits.json', import.meta.url);
const { strings, splits } = JSON.parse(readFileSync(fixture, 'utf8')) as Splits;

describe('compilePreTokenizer', () => {
  it.each(splits)('cuts as the tokenizers library: $pre_tokenizer', ({ pre_tokenizer, pieces }) => {
    const { split } = compilePreTokenizer(parsePreTokenizer(pre_tokenizer, true));
    for (const [i, text] of strings.entries()) {
      const words: string[] = [];
      split(text, (word) => words.push(toByteChars(utf8ByteString(word))), true);
      expect(words, text).toEqual(pieces[i]);
    }
  });
});
