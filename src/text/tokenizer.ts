// Text <-> token ids with a byte-level BPE vocabulary. Where a vocabulary comes from is not known here.

import { LfmError } from '../tensor/error.ts';
import { AddedTokenMatcher, type AddedToken } from './added-tokens.ts';
import { detach, toByteString, utf8ByteString } from './bytes.ts';
import { decodeChunks } from './chunk.ts';
import { IdList, Merger } from './merge.ts';
import { compilePreTokenizer, type PreTokenizer, type PreTokenizerStep } from './pre-tokenize.ts';
import { StreamDecoder } from './stream-decoder.ts';

/** Everything a tokenizer is made of, as plain data. A byte string is a string whose char codes are bytes. */
export interface TokenizerDefinition {
  /** The byte string of each ordinary token by id; a hole where the id is an added token's or nobody's. */
  readonly tokens: readonly (string | undefined)[];
  /** (left id, right id, resulting id) of each merge, first merge first. */
  readonly merges: Int32Array;
  readonly addedTokens: readonly AddedToken[];
  readonly preTokenizer: readonly PreTokenizerStep[];
  /** Ids put before and after a text by `addSpecialTokens`. */
  readonly prefix: readonly number[];
  readonly suffix: readonly number[];
  /** Whether a word that is itself a token is taken whole, even where no chain of merges leads to it. */
  readonly ignoreMerges: boolean;
  /** Whether a byte without a token is left out of a text, as the `tokenizers` library does; else none may lack one. */
  readonly dropsUnknownBytes?: boolean;
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
}

/** Words longer than this are not cached: they hardly ever return. In UTF-16 units. */
const CACHED_LENGTH = 32;
/** When this many words are held the cache starts anew, so that it stays small and follows the text. */
const CACHED_WORDS = 1 << 16;

const NO_TOKEN = -1;

const encoder = new TextEncoder();

/**
 * A byte-level BPE tokenizer. `decode(encode(text, { addSpecialTokens: false }))` is `text` for every well-formed
 * string, unless the pre-tokenizer itself changes text (a prefix space, removed separators) or the vocabulary lacks bytes
 * and its file says that they are dropped. A lone surrogate has no
 * UTF-8 form: it is encoded, and so comes back, as U+FFFD.
 */
export class Tokenizer {
  readonly definition: TokenizerDefinition;
  /** One more than the highest id. */
  readonly vocabSize: number;
  readonly #preTokenizer: PreTokenizer;
  readonly #merger: Merger;
  readonly #byteIds: Int32Array;
  readonly #isLossy: boolean;
  readonly #hasToken = (byte: number): boolean => this.#byteIds[byte] !== NO_TOKEN;
  readonly #idOfBytes = new Map<string, number>();
  readonly #added = new Map<number, AddedToken>();
  readonly #idOfAdded = new Map<string, number>();
  /** The bytes of all tokens, one after another, and where each id's begin. */
  readonly #bytes: Uint8Array;
  readonly #offsets: Int32Array;
  readonly #cache = new Map<string, number | Int32Array>();
  readonly #matchers = new Map<boolean, AddedTokenMatcher[]>();
  readonly #wordBytes = new Uint8Array(CACHED_LENGTH * 3);

  /** Errors: `tokenizer-bytes-missing` when a byte has no token; `pattern-unsupported`; `added-token-invalid`. */
  constructor(definition: TokenizerDefinition) {
    this.definition = definition;
    this.#preTokenizer = compilePreTokenizer(definition.preTokenizer);
    const spelt = [...definition.tokens];
    for (const token of definition.addedTokens) {
      this.#added.set(token.id, token);
      this.#idOfAdded.set(token.content, token.id);
      spelt[token.id] = utf8ByteString(token.content);
    }
    for (const [id, token] of definition.tokens.entries()) {
      if (token !== undefined && !this.#idOfBytes.has(token)) this.#idOfBytes.set(token, id);
    }
    this.#byteIds = Int32Array.from({ length: 256 }, (_, byte) => this.#byteId(byte));
    this.#isLossy = this.#byteIds.includes(NO_TOKEN);
    this.#merger = new Merger(this.#byteIds, definition.merges);
    this.vocabSize = spelt.length;
    this.#offsets = new Int32Array(spelt.length + 1);
    for (const [id, token] of spelt.entries()) this.#offsets[id + 1] = (this.#offsets[id] ?? 0) + (token?.length ?? 0);
    this.#bytes = new Uint8Array(this.#offsets[spelt.length] ?? 0);
    for (const [id, token] of spelt.entries()) {
      const start = this.#offsets[id] ?? 0;
      for (let i = 0; i < (token?.length ?? 0); i++) this.#bytes[start + i] = token?.charCodeAt(i) ?? 0;
    }
    for (const parse of [false, true]) {
      const active = definition.addedTokens.filter((token) => parse || !token.special);
      const passes = [false, true].map((normalized) => active.filter((token) => token.normalized === normalized));
      this.#matchers.set(
        parse,
        passes.map((tokens) => new AddedTokenMatcher(tokens)),
      );
    }
  }

  #byteId(byte: number): number {
    const id = this.#idOfBytes.get(String.fromCharCode(byte));
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
    return this.#wrap(options, (out) => {
      for (const piece of decodeChunks(bytes, hasSpaced ? undefined : this.#preTokenizer.isWordBoundary)) {
        if (typeof piece === 'string') this.#encodeText(piece, parse, out);
        else for (const byte of piece.filter(this.#hasToken)) out.push(this.#byteIds[byte] ?? 0);
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

  #encodeText(text: string, parse: boolean, out: IdList): void {
    const encodeWord = (word: string) => this.#encodeWord(word, out);
    const run = (piece: string, [matcher, ...later]: readonly AddedTokenMatcher[]): void => {
      if (matcher)
        matcher.split(
          piece,
          (between) => run(between, later),
          (token) => out.push(token.id),
        );
      else this.#preTokenizer.split(piece, encodeWord);
    };
    if (text.length > 0) run(text, this.#matchers.get(parse) ?? []);
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
    const whole = this.definition.ignoreMerges ? this.#idOfBytes.get(toByteString(bytes)) : undefined;
    if (whole === undefined) this.#merger.merge(this.#isLossy ? bytes.filter(this.#hasToken) : bytes, out);
    else out.push(whole);
    if (!isShort) return;
    if (this.#cache.size >= CACHED_WORDS) this.#cache.clear();
    const ids = out.toArray(start);
    this.#cache.set(detach(word), ids.length === 1 ? (ids[0] ?? 0) : ids);
  }

  /** The text of token ids; bytes in it that are not UTF-8 become U+FFFD. See `decodeBytes`. */
  decode(ids: Iterable<number>, options: DecodeOptions = {}): string {
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(this.decodeBytes(ids, options));
  }

  /** The exact bytes of token ids. An id without a token adds nothing: models have rows that no token uses. */
  decodeBytes(ids: Iterable<number>, options: DecodeOptions = {}): Uint8Array {
    const skip = options.skipSpecialTokens ?? false;
    let out = new Uint8Array(256);
    let length = 0;
    for (const id of ids) {
      if (skip && this.isSpecial(id)) continue;
      const start = this.#offsets[id] ?? 0;
      const end = this.#offsets[id + 1] ?? start;
      if (length + end - start > out.length) {
        const grown = new Uint8Array((length + end - start) * 2);
        grown.set(out);
        out = grown;
      }
      for (let i = start; i < end; i++) out[length++] = this.#bytes[i] ?? 0;
    }
    return out.slice(0, length);
  }

  /** A decoder that takes one id at a time, for text as it is generated. */
  streamDecoder(options: DecodeOptions = {}): StreamDecoder {
    return new StreamDecoder((id) => this.decodeBytes([id], options));
  }

  /** The id of a token given as text or bytes (an added token by its text); undefined when there is none. */
  idOf(token: string | Uint8Array): number | undefined {
    if (typeof token !== 'string') return this.#idOfBytes.get(toByteString(token));
    return this.#idOfAdded.get(token) ?? this.#idOfBytes.get(utf8ByteString(token));
  }

  /** The bytes of a token; undefined when no token has the id. */
  tokenOf(id: number): Uint8Array | undefined {
    const bytes = this.decodeBytes([id]);
    return bytes.length > 0 ? bytes : undefined;
  }

  isSpecial(id: number): boolean {
    return this.#added.get(id)?.special ?? false;
  }
}
