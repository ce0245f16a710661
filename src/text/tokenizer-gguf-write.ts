// A tokenizer as the metadata of a GGUF file: what llama.cpp reads, and tokenizer-gguf.ts reads back.

import type { GgufWriteValue } from '../files/gguf-write.ts';
import { LfmError } from '../tensor/error.ts';
import { toByteChars } from './bytes.ts';
import { CONTROL, NORMAL, preTokenizerName, UNUSED, USER_DEFINED } from './tokenizer-gguf.ts';
import type { Tokenizer } from './tokenizer.ts';

export interface GgufTokenizerOptions {
  /** Rows of the model's table: ids without a token are filled up to it. */
  readonly vocabSize: number;
  /** The token that a chat template calls bos_token; what the tokenizer puts before a text goes first. */
  readonly bosId?: number | undefined;
  /** Tokens that end a text, the first of a sentence, the second of a turn. GGUF has a place for two. */
  readonly endIds?: readonly number[];
  readonly padId?: number | undefined;
  readonly chatTemplate?: string | undefined;
  /** The model's architecture, whose name of a pre-tokenizer is preferred. */
  readonly architecture?: string;
}

/**
 * Metadata by key.
 * Errors: `tokenizer-unsupported` for what GGUF cannot say: splits that no name there stands for, words of characters,
 * several tokens before or after a text.
 */
export function ggufTokenizer(
  { definition }: Tokenizer,
  { vocabSize, bosId, endIds = [], padId, chatTemplate, architecture }: GgufTokenizerOptions,
): Record<string, GgufWriteValue> {
  const { tokens, merges, addedTokens, prefix, suffix, characters } = definition;
  if (characters) throw unsupported('words of characters, as SentencePiece makes them, which are not written yet');
  if (prefix.length > 1 || suffix.length > 1)
    throw unsupported(`${prefix.length} tokens before a text and ${suffix.length} after it; at most one each`);
  const pre = preTokenizerName(definition, architecture);
  if (pre === undefined) throw unsupported('splits that none of its names for pre-tokenizers stands for');
  const [bos = bosId] = prefix;
  const [eos = endIds[0]] = suffix;
  const turn = endIds.find((id) => id !== eos);
  const size = Math.max(vocabSize, tokens.length, ...addedTokens.map(({ id }) => id + 1));
  const types = new Array<number>(size).fill(UNUSED);
  const spellings = Array.from({ length: size }, (_, id) => `[PAD${id}]`);
  for (const [id, token] of tokens.entries()) {
    if (token === undefined) continue;
    spellings[id] = toByteChars(token);
    types[id] = NORMAL;
  }
  for (const { id, content, special } of addedTokens) {
    spellings[id] = content;
    types[id] = special ? CONTROL : USER_DEFINED;
  }
  const pairs = Array.from({ length: merges.length / 3 }, (_, rank) => {
    const [left, right] = [merges[rank * 3], merges[rank * 3 + 1]].map((id) => spellings[id ?? -1]);
    return `${left} ${right}`;
  });
  const id = (name: string, value: number | undefined): Record<string, GgufWriteValue> =>
    value === undefined ? {} : { [`tokenizer.ggml.${name}_token_id`]: { type: 'uint32', value } };
  return {
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': pre,
    'tokenizer.ggml.tokens': spellings,
    'tokenizer.ggml.token_type': { type: 'int32', value: types },
    'tokenizer.ggml.merges': pairs,
    ...id('bos', bos),
    ...id('eos', eos),
    ...id('eot', turn),
    ...id('padding', padId),
    'tokenizer.ggml.add_bos_token': prefix.length > 0,
    'tokenizer.ggml.add_eos_token': suffix.length > 0,
    ...(chatTemplate !== undefined && { 'tokenizer.chat_template': chatTemplate }),
  };
}

function unsupported(what: string): LfmError {
  return new LfmError('tokenizer-unsupported', `The tokenizer cannot be written as GGUF: it has ${what}.`);
}
