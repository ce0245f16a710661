// Text <-> token ids with a BPE vocabulary, of bytes (GPT-2) or of characters (SentencePiece). Where a vocabulary comes from
// is not known here.

import { LfmError } from '../tensor/error.ts';
import { AddedTokenMatcher, type AddedToken } from './added-tokens.ts';
import { detach, fromUtf8, toByteString, utf8ByteString } from './bytes.ts';
import { decodeChunks } from './chunk.ts';
import { IdList, Merger } from './merge.ts';
import { compileNormalizer, type NormalizerStep } from './normalize.ts';
import { compilePreTokenizer, type PreTokenizer, type PreTokenizerStep } from './pre-tokenize.ts';
import { StreamDecoder } from './stream-decoder.ts';
import { TokenBytes } from './token-bytes.ts';

/** Everything a tokenizer is made of, as plain data. A byte string is a string whose char codes are bytes. */
export interface TokenizerDefinition {
  /** The byte string of each ordinary token by id; a hole where the id is an added token's or nobody's. */
  readonly tokens: readonly (string | undefined)[];
  /** (left id, right id, resulting id) of each merge, first merge first. */
  readonly merges: Int32Array;
  readonly addedTokens: readonly AddedToken[];
  /** What is done to a text first; default: nothing. */
  readonly normalizer?: readonly NormalizerStep[];
  readonly preTokenizer: readonly PreTokenizerStep[];
  /** Ids put before and after a text by `addSpecialTokens`. */
  readonly prefix: readonly number[];
  readonly suffix: readonly number[];
  /** Whether a word that is itself a token is taken whole, even where no chain of merges leads to it. */
  readonly ignoreMerges: boolean;
  /** Whether a byte without a token is left out of a text, as the `tokenizers` library does; else none may lack one. */
  readonly dropsUnknownBytes?: boolean;
  /** Present where words are made of characters instead of bytes, as SentencePiece's are. */
  readonly characters?: CharacterUnits;
}

export interface CharacterUnits {
  /** The ids of the 256 bytes that spell a character which has no token. */
  readonly byteIds: readonly number[];
  /** The character that stands for a space in tokens; in a text it cannot be told from one. */
  readonly spaceMark: string;
  /** Whether a decoded text loses the space it begins with: the one that encoding put there. */
  readonly dropsLeadingSpace: boolean;
}

export interface EncodeOptions {
  /** Puts the template's tokens before and after the text (LFM2: `<|startoftext|>` before). Default true. */
  addSpecialTokens?: boolean;
  /**
   * Reads special tokens spelt out in the text as those tokens. Default false, so that text from a user cannot forge
   * the turns of a chat. Added tokens that are not special are always read, as in the `tokenizers` library.
   */
  parseSpecialTokens?: boolean;
}

export interface DecodeOptions {
  /** Leaves special tokens out. Default false. */
  skipSpecialTokens?: boolean;
  /** Special tokens that stay where the others are left out. */
  keptSpecialTokens?: ReadonlySet<number>;
  /** The ids continue a text that ended before them: a space they begin with is part of it. Default false. */
  continues?: boolean;
}

/** Words longer than this are not cached: they hardly ever return. In UTF-16 units. */
const CACHED_LENGTH = 32;
/** When this many words are held the cache starts anew, so that it stays small and follows the text. */
const CACHED_WORDS = 1 << 16;

const NO_TOKEN = -1;

const encoder = new TextEncoder();

/**
 * A BPE tokenizer. `decode(encode(text, { addSpecialTokens: false }))` is `text` for every well-formed string, unless the
 * file itself has text changed (normalised to NFC, a prefix space, removed separators, U+2581 for a space, white space that
 * an added token takes) or the vocabulary lacks bytes and its file says that they are dropped. A lone surrogate has no UTF-8
 * form: it is encoded, and so comes back, as U+FFFD.
 */
export class Tokenizer {
  readonly definition: TokenizerDefinition;
  /** One more than the highest id. */
  readonly vocabSize: number;
  readonly #normalize: ((text: string) => string) | undefined;
  readonly #preTokenizer: PreTokenizer;
  readonly #merger: Merger;
  readonly #byteIds: Int32Array;
  readonly #isLossy: boolean;
  readonly #hasToken = (byte: number): boolean => this.#byteIds[byte] !== NO_TOKEN;
  #idOfBytes: ReadonlyMap<string, number> | undefined;
  readonly #added = new Map<number, AddedToken>();
  readonly #idOfAdded = new Map<string, number>();
  readonly #bytes: TokenBytes;
  /** Of a vocabulary of characters: the token of each character that has one, and whether no token crosses into a word. */
  readonly #charIds = new Map<string, number>();
  readonly #cutsAtMarks: boolean;
  readonly #cache = new Map<string, number | Int32Array>();
  readonly #matchers = new Map<boolean, AddedTokenMatcher[]>();
  readonly #wordBytes = new Uint8Array(CACHED_LENGTH * 3);

  /** Errors: `tokenizer-bytes-missing` when a byte has no token; `pattern-unsupported`; `added-token-invalid`. */
  constructor(definition: TokenizerDefinition) {
    this.definition = definition;
    const { characters } = definition;
    this.#normalize = compileNormalizer(definition.normalizer ?? []);
    this.#preTokenizer = compilePreTokenizer(definition.preTokenizer);
    const spelt: (string | undefined)[] = [...definition.tokens];
    for (const token of definition.addedTokens) {
      this.#added.set(token.id, token);
      this.#idOfAdded.set(token.content, token.id);
      const content = token.normalized ? this.#normalize?.(token.content) : undefined;
      spelt[token.id] = utf8ByteString(content ?? token.content);
    }
    this.vocabSize = spelt.length;
    const mark = utf8ByteString(characters?.spaceMark ?? '');
    if (characters) {
      for (const [token, id] of this.#bytesToId) if (isCharacter(token)) this.#charIds.set(fromUtf8(token), id);
      for (const [byte, id] of characters.byteIds.entries()) spelt[id] = String.fromCharCode(byte);
      const isByte = new Set(characters.byteIds);
      for (const [id, token] of spelt.entries()) if (!isByte.has(id)) spelt[id] = token?.replaceAll(mark, ' ');
    }
    this.#cutsAtMarks = mark !== '' && !definition.tokens.some((token) => token && crossesInto(token, mark));
    const single = firstIds(definition.tokens, (token) => token.length === 1);
    this.#byteIds = Int32Array.from(
      { length: 256 },
      (_, byte) => characters?.byteIds[byte] ?? this.#byteId(byte, single),
    );
    this.#isLossy = this.#byteIds.includes(NO_TOKEN);
    // The units of a vocabulary of characters are tokens themselves.
    const units = characters ? Int32Array.from(spelt, (_, id) => id) : this.#byteIds;
    this.#merger = new Merger(units, definition.merges);
    this.#bytes = new TokenBytes(spelt);
    for (const parse of [false, true]) {
      const active = definition.addedTokens.filter((token) => parse || !token.special);
      const passes = [false, true].map((normalized) => active.filter((token) => token.normalized === normalized));
      this.#matchers.set(
        parse,
        passes.map((tokens, i) => new AddedTokenMatcher(tokens, i === 1 ? this.#normalize : undefined)),
      );
    }
  }

  /** Made when it is first asked for: text of most models is encoded without. */
  get #bytesToId(): ReadonlyMap<string, number> {
    return (this.#idOfBytes ??= firstIds(this.definition.tokens, () => true));
  }

  #byteId(byte: number, single: ReadonlyMap<string, number>): number {
    const id = single.get(String.fromCharCode(byte));
    if (id !== undefined) return id;
    if (this.definition.dropsUnknownBytes) return NO_TOKEN;
    throw new LfmError(
      'tokenizer-bytes-missing',
      `The vocabulary has no token for the byte ${byte}. Byte-level BPE needs all 256, or some text could not be ` +
        'encoded; train it with the full byte alphabet.',
    );
  }

  /** The token ids of a text. Time is near linear in its length, whatever it holds, for the built-in patterns. */
  encode(text: string, options: EncodeOptions = {}): Int32Array {
    const wellFormed = /\p{Surrogate}/u.test(text) ? text.replace(/\p{Surrogate}/gu, '\ufffd') : text;
    return this.#wrap(options, (out) => this.#encodeText(wellFormed, options.parseSpecialTokens ?? false, out));
  }

  /**
   * The token ids of a text given as UTF-8, without ever holding it as one string: for data preparation.
   * The same ids as `encode` of that text; a byte that is not valid UTF-8 becomes the token of that byte.
   */
  encodeBytes(bytes: Uint8Array, options: EncodeOptions = {}): Int32Array {
    const parse = options.parseSpecialTokens ?? false;
    // A token with a space in it could lie across a cut.
    const hasSpaced = this.definition.addedTokens.some(
      (token) => (parse || !token.special) && /\s/.test(token.content),
    );
    const mayCut = hasSpaced || this.#normalize ? undefined : this.#preTokenizer.isWordBoundary;
    return this.#wrap(options, (out) => {
      let isFirst = true;
      for (const piece of decodeChunks(bytes, mayCut)) {
        if (typeof piece === 'string') this.#encodeText(piece, parse, out, isFirst);
        else for (const byte of piece.filter(this.#hasToken)) out.push(this.#byteIds[byte] ?? 0);
        isFirst = false;
      }
    });
  }

  #wrap(options: EncodeOptions, fill: (out: IdList) => void): Int32Array {
    const out = new IdList();
    const wraps = options.addSpecialTokens ?? true;
    if (wraps) for (const id of this.definition.prefix) out.push(id);
    fill(out);
    if (wraps) for (const id of this.definition.suffix) out.push(id);
    return out.toArray();
  }

  /** Added tokens first, those that are to be found in normalised text after it is. `isFirst`: the whole text begins here. */
  #encodeText(text: string, parse: boolean, out: IdList, isFirst = true): void {
    const [raw, normalized] = this.#matchers.get(parse) ?? [];
    const onToken = ({ id }: AddedToken) => out.push(id);
    const encodeWord = (word: string) => this.#encodeWord(word, out);
    const visit = this.#cutsAtMarks ? (word: string) => this.#eachWord(word, encodeWord) : encodeWord;
    raw?.split(
      text,
      (between, start) => {
        const piece = this.#normalize?.(between) ?? between;
        normalized?.split(
          piece,
          (rest, at) => this.#preTokenizer.split(rest, visit, isFirst && start === 0 && at === 0),
          onToken,
        );
      },
      onToken,
    );
  }

  /** Words of a piece that has none cut out, where no merge could reach from one into the next. */
  #eachWord(piece: string, visit: (word: string) => void): void {
    const mark = this.definition.characters?.spaceMark ?? '';
    let start = 0;
    for (let at = piece.indexOf(mark, 1); at > 0; at = piece.indexOf(mark, at + 1)) {
      if (piece.startsWith(mark, at - 1)) continue;
      visit(piece.slice(start, at));
      start = at;
    }
    visit(piece.slice(start));
  }

  #encodeWord(word: string, out: IdList): void {
    const cached = this.#cache.get(word);
    if (cached === undefined) this.#encodeNewWord(word, out);
    else if (typeof cached === 'number') out.push(cached);
    else for (const id of cached) out.push(id);
  }

  #encodeNewWord(word: string, out: IdList): void {
    const start = out.length;
    const isShort = word.length <= CACHED_LENGTH;
    const bytes = isShort
      ? this.#wordBytes.subarray(0, encoder.encodeInto(word, this.#wordBytes).written)
      : encoder.encode(word);
    const whole = this.definition.ignoreMerges ? this.#bytesToId.get(toByteString(bytes)) : undefined;
    if (whole !== undefined) out.push(whole);
    else if (this.definition.characters) this.#merger.merge(this.#charTokens(word), out);
    else this.#merger.merge(this.#isLossy ? bytes.filter(this.#hasToken) : bytes, out);
    if (!isShort) return;
    if (this.#cache.size >= CACHED_WORDS) this.#cache.clear();
    const ids = out.toArray(start);
    this.#cache.set(detach(word), ids.length === 1 ? (ids[0] ?? 0) : ids);
  }

  /** The token of each character, or those of its bytes. */
  #charTokens(word: string): Int32Array {
    const ids = new IdList();
    for (const char of word) {
      const id = this.#charIds.get(char);
      if (id !== undefined) ids.push(id);
      else for (const byte of encoder.encode(char)) ids.push(this.#byteIds[byte] ?? 0);
    }
    return ids.toArray();
  }

  /** The text of token ids; bytes in it that are not UTF-8 become U+FFFD. See `decodeBytes`. */
  decode(ids: Iterable<number>, options: DecodeOptions = {}): string {
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(this.decodeBytes(ids, options));
  }

  /** The exact bytes of token ids. An id without a token adds nothing: models have rows that no token uses. */
  decodeBytes(ids: Iterable<number>, options: DecodeOptions = {}): Uint8Array {
    const bytes = this.#joined(ids, options);
    return this.#dropsSpace(options) && bytes[0] === 0x20 ? bytes.subarray(1) : bytes;
  }

  #joined(
    ids: Iterable<number>,
    { skipSpecialTokens: skip = false, keptSpecialTokens }: DecodeOptions = {},
  ): Uint8Array {
    return this.#bytes.join(ids, (id) => skip && this.isSpecial(id) && !keptSpecialTokens?.has(id));
  }

  #dropsSpace({ continues = false }: DecodeOptions): boolean {
    return !continues && (this.definition.characters?.dropsLeadingSpace ?? false);
  }

  /** A decoder that takes one id at a time, for text as it is generated. */
  streamDecoder(options: DecodeOptions = {}): StreamDecoder {
    return new StreamDecoder((id) => this.#joined([id], options), this.#dropsSpace(options));
  }

  /** The id of a token given as text or bytes (an added token by its text); undefined when there is none. */
  idOf(token: string | Uint8Array): number | undefined {
    if (typeof token !== 'string') return this.#bytesToId.get(toByteString(token));
    return this.#idOfAdded.get(token) ?? this.#bytesToId.get(utf8ByteString(token));
  }

  /** The bytes of a token; undefined when no token has the id. */
  tokenOf(id: number): Uint8Array | undefined {
    const bytes = this.#joined([id]);
    return bytes.length > 0 ? bytes : undefined;
  }

  isSpecial(id: number): boolean {
    return this.#added.get(id)?.special ?? false;
  }
}

/** The first id of each wanted token. */
function firstIds(
  tokens: TokenizerDefinition['tokens'],
  isWanted: (token: string) => boolean,
): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const [id, token] of tokens.entries())
    if (token !== undefined && isWanted(token) && !found.has(token)) found.set(token, id);
  return found;
}

/** Whether a byte string is the UTF-8 form of one character. */
function isCharacter(token: string): boolean {
  const lead = token.charCodeAt(0);
  const width = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  return token.length === width;
}

/** Whether a token holds a mark behind something else than marks. */
function crossesInto(token: string, mark: string): boolean {
  for (let at = token.indexOf(mark, 1); at > 0; at = token.indexOf(mark, at + 1)) {
    if (at < mark.length || !token.startsWith(mark, at - mark.length)) return true;
  }
  return false;
}
