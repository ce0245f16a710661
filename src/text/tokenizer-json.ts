// Reads a Hugging Face `tokenizer.json` (version "1.0" of the `tokenizers` library) with a BPE model,
// of bytes (GPT-2, Llama 3, LFM2, Qwen2) or of characters that fall back to bytes (Llama 2, Mistral, Phi 3, Gemma).
// The file is not trusted: every field is checked, sizes are bounded, and what is not supported is named.

import { parseJsonObject, type JsonObject } from '../files/json.ts';
import type { AddedToken } from './added-tokens.ts';
import { BYTE_CHARS, fromByteChars, utf8ByteString } from './bytes.ts';
import { asArray, asBoolean, asId, asObject, asString, field, invalid, unsupported } from './json-fields.ts';
import { parseDecoder, parseNormalizer, parsePostProcessor, parsePreTokenizer } from './tokenizer-json-parts.ts';
import { type CharacterUnits, Tokenizer } from './tokenizer.ts';
import { Vocabulary } from './vocabulary.ts';

const MAX_FILE_LENGTH = 1 << 27;
const MAX_ID = (1 << 20) - 1;
const MAX_MERGES = 1 << 21;
const MAX_ADDED_TOKENS = 1 << 16;
const MAX_TOKEN_LENGTH = 1 << 12;

/**
 * Makes a tokenizer from the text of a `tokenizer.json`. `truncation` and `padding` are not read: they belong to a use,
 * not to the vocabulary.
 * Errors: `tokenizer-invalid` and `tokenizer-unsupported` name the field; those of `parseJsonObject` with the code
 * `tokenizer`; `pattern-unsupported`; `tokenizer-bytes-missing`.
 */
export function parseTokenizerJson(text: string): Tokenizer {
  if (text.length > MAX_FILE_LENGTH) throw invalid('the file', `at most ${MAX_FILE_LENGTH} characters`, text.length);
  return readTokenizerJson(parseJsonObject(text, 'tokenizer.json', 'tokenizer'));
}

/** As `parseTokenizerJson`, of the parsed file. */
export function readTokenizerJson(file: JsonObject): Tokenizer {
  const model = asObject(field(file, 'model'), 'model');
  checkModel(model);
  const decoder = parseDecoder(field(file, 'decoder'));
  const fallsBack = asBoolean(field(model, 'byte_fallback'), 'model.byte_fallback', false);
  if (fallsBack === (decoder === 'bytes')) {
    const supported = fallsBack ? 'one with ByteFallback, as model.byte_fallback is true' : 'ByteLevel';
    throw unsupported('decoder', field(file, 'decoder'), supported);
  }
  const idOfSpelling = parseVocab(field(model, 'vocab'));
  const addedTokens = parseAddedTokens(field(file, 'added_tokens') ?? [], idOfSpelling);
  const characters = decoder === 'bytes' ? undefined : { ...decoder, byteIds: parseByteTokens(idOfSpelling) };
  const tokens = spellTokens(idOfSpelling, addedTokens, characters);
  const normalizer = parseNormalizer(field(file, 'normalizer'));
  return new Tokenizer({
    tokens,
    merges: parseMerges(field(model, 'merges'), idOfSpelling),
    addedTokens,
    ...(normalizer.length > 0 && { normalizer }),
    preTokenizer: parsePreTokenizer(field(file, 'pre_tokenizer'), characters === undefined),
    ...parsePostProcessor(
      field(file, 'post_processor'),
      new Set([...idOfSpelling.values(), ...addedTokens.map((t) => t.id)]),
    ),
    ignoreMerges: asBoolean(field(model, 'ignore_merges'), 'model.ignore_merges', false),
    // So does the library; with an unk_token it would put that, which we do not: the tokenizer then refuses.
    ...(characters && { characters }),
    ...(!characters && lacksBytes(tokens) && field(model, 'unk_token') === undefined && { dropsUnknownBytes: true }),
  });
}

function checkModel(model: JsonObject): void {
  // Files older than the field have merges where other models have none.
  const type = field(model, 'type') ?? (field(model, 'merges') === undefined ? undefined : 'BPE');
  if (type !== 'BPE') throw unsupported('model.type', type, 'BPE');
  if (field(model, 'dropout'))
    throw unsupported('model.dropout', field(model, 'dropout'), 'null, for one text one encoding');
  for (const name of ['continuing_subword_prefix', 'end_of_word_suffix']) {
    if (field(model, name)) throw unsupported(`model.${name}`, field(model, name), 'null');
  }
  // unk_token and fuse_unk have no effect where every byte has a token.
}

function parseVocab(value: unknown): Map<string, number> {
  const entries: (readonly [string, unknown])[] =
    value instanceof Vocabulary ? [...value] : Object.entries(asObject(value, 'model.vocab'));
  if (entries.length > MAX_ID + 1) throw invalid('model.vocab', `at most ${MAX_ID + 1} tokens`, entries.length);
  const idOfSpelling = new Map<string, number>();
  const seen = new Uint8Array(MAX_ID + 1);
  // Said only where it is wrong: a name for each token would take longer than all else.
  const where = (spelling: string) => `model.vocab[${JSON.stringify(spelling.slice(0, 40))}]`;
  for (const [spelling, id] of entries) {
    const isId = typeof id === 'number' && Number.isInteger(id) && id >= 0 && id <= MAX_ID;
    const checked = isId ? id : asId(id, where(spelling), MAX_ID);
    if (spelling.length > MAX_TOKEN_LENGTH) asString(spelling, where(spelling), MAX_TOKEN_LENGTH);
    if (seen[checked]) throw invalid(where(spelling), 'an id of its own', id);
    seen[checked] = 1;
    idOfSpelling.set(spelling, checked);
  }
  return idOfSpelling;
}

function parseAddedTokens(value: unknown, idOfSpelling: ReadonlyMap<string, number>): AddedToken[] {
  const contents = new Set<string>();
  const ids = new Set<number>();
  let idsInVocab: ReadonlySet<number> | undefined;
  return asArray(value, 'added_tokens', MAX_ADDED_TOKENS).map((entry, i) => {
    const where = `added_tokens[${i}]`;
    const token = asObject(entry, where);
    const content = asString(field(token, 'content'), `${where}.content`, MAX_TOKEN_LENGTH);
    const id = asId(field(token, 'id'), `${where}.id`, MAX_ID);
    if (content === '' || contents.has(content)) throw invalid(`${where}.content`, 'a text that no other has', content);
    const idInVocab = idOfSpelling.get(content);
    if (idInVocab === undefined) idsInVocab ??= new Set(idOfSpelling.values());
    if (idInVocab === undefined ? idsInVocab?.has(id) : idInVocab !== id) {
      throw invalid(`${where}.id`, `the id the vocabulary gives ${JSON.stringify(content)}`, id);
    }
    if (ids.has(id)) throw invalid(`${where}.id`, 'an id of its own', id);
    contents.add(content);
    ids.add(id);
    const flag = (name: string, absent: boolean) => asBoolean(field(token, name), `${where}.${name}`, absent);
    if (flag('single_word', false)) throw unsupported(`${where}.single_word`, true, 'false');
    const special = flag('special', false);
    return {
      id,
      content,
      special,
      normalized: flag('normalized', !special),
      ...(flag('lstrip', false) && { takesSpaceBefore: true }),
      ...(flag('rstrip', false) && { takesSpaceAfter: true }),
    };
  });
}

function spellTokens(
  idOfSpelling: ReadonlyMap<string, number>,
  addedTokens: readonly AddedToken[],
  characters: CharacterUnits | undefined,
): (string | undefined)[] {
  const added = new Set(addedTokens.map((token) => token.id));
  const highest = [...idOfSpelling.values()].reduce((most, id) => Math.max(most, id), -1);
  const tokens = Array.from({ length: highest + 1 }, (): string | undefined => undefined);
  for (const [spelling, id] of idOfSpelling) {
    if (added.has(id)) continue;
    const token = characters ? utf8ByteString(spelling) : fromByteChars(spelling);
    if (token === undefined) {
      throw unsupported(
        `the token ${id} of model.vocab`,
        spelling,
        'tokens spelt in the byte-level alphabet, or added tokens',
      );
    }
    tokens[id] = token;
  }
  return tokens;
}

/** Tokens named `<0x00>` to `<0xFF>`. With all of them every text can be encoded, so `unk_token` has no use. */
function parseByteTokens(idOfSpelling: ReadonlyMap<string, number>): number[] {
  return Array.from({ length: 256 }, (_, byte) => {
    const spelling = `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
    const id = idOfSpelling.get(spelling);
    if (id === undefined) throw unsupported('model.vocab', `without ${spelling}`, 'byte_fallback with all 256 bytes');
    return id;
  });
}

function lacksBytes(tokens: readonly (string | undefined)[]): boolean {
  const known = new Set(tokens.filter((token) => token?.length === 1));
  return BYTE_CHARS.some((_, byte) => !known.has(String.fromCharCode(byte)));
}

function parseMerges(value: unknown, idOfSpelling: ReadonlyMap<string, number>): Int32Array {
  const entries = asArray(value, 'model.merges', MAX_MERGES);
  const merges = new Int32Array(entries.length * 3);
  for (const [rank, entry] of entries.entries()) {
    const [left, right] = pairOf(entry, rank);
    const ids = [idOfSpelling.get(left), idOfSpelling.get(right), idOfSpelling.get(left + right)];
    for (let i = 0; i < 3; i++) {
      const id = ids[i];
      if (id === undefined)
        throw invalid(`model.merges[${rank}]`, 'of tokens that model.vocab holds, as their union', entry);
      merges[rank * 3 + i] = id;
    }
  }
  return merges;
}

function pairOf(entry: unknown, rank: number): readonly [string, string] {
  if (typeof entry === 'string') {
    const space = entry.indexOf(' ');
    if (space >= 0 && !entry.includes(' ', space + 1)) return [entry.slice(0, space), entry.slice(space + 1)];
  } else if (Array.isArray(entry)) {
    const [left, right, ...more]: unknown[] = entry;
    if (typeof left === 'string' && typeof right === 'string' && more.length === 0) return [left, right];
  }
  throw invalid(`model.merges[${rank}]`, 'two tokens, as "a b" or ["a", "b"]', entry);
}
