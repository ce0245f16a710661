// Byte strings and the GPT-2 alphabet. A byte string is a JavaScript string whose every char code is one byte (0 to
// 255): it is a cheap map key, and holds what is not valid UTF-8.

/**
 * The printable stand-in of each byte, by byte (GPT-2, `bytes_to_unicode`): printable Latin-1 stands for itself,
 * the other 68 bytes take the code points from U+0100 on, in order.
 */
export const BYTE_CHARS: readonly string[] = makeByteChars();

/** The bytes in the order of their stand-ins' code points: the order in which byte-level vocabularies number them. */
export const BYTES_IN_VOCAB_ORDER: readonly number[] = BYTE_CHARS.map((_, byte) => byte).sort(
  (a, b) => (BYTE_CHARS[a] ?? '').charCodeAt(0) - (BYTE_CHARS[b] ?? '').charCodeAt(0),
);

const CHAR_BYTES: ReadonlyMap<string, string> = new Map(
  BYTE_CHARS.map((char, byte) => [char, String.fromCharCode(byte)]),
);

const encoder = new TextEncoder();
const utf8Decoder = new TextDecoder('utf-8', { ignoreBOM: true });

function makeByteChars(): string[] {
  const isPrintable = (byte: number) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
}

/** The byte string of `bytes[start, end)`. */
export function toByteString(bytes: Uint8Array, start = 0, end = bytes.length): string {
  let out = '';
  for (let i = start; i < end; i++) out += String.fromCharCode(bytes[i] ?? 0);
  return out;
}

/** The byte string of a text's UTF-8 form. */
export function utf8ByteString(text: string): string {
  return toByteString(encoder.encode(text));
}

/** The text whose UTF-8 form a byte string is. */
export function fromUtf8(byteString: string): string {
  return utf8Decoder.decode(Uint8Array.from(byteString, (byte) => byte.charCodeAt(0)));
}

/** A byte string written in the GPT-2 alphabet, as `tokenizer.json` spells tokens. */
export function toByteChars(byteString: string): string {
  let out = '';
  for (let i = 0; i < byteString.length; i++) out += BYTE_CHARS[byteString.charCodeAt(i)] ?? '';
  return out;
}

/** The byte string a token of `tokenizer.json` spells, or undefined when a character is not of the GPT-2 alphabet. */
export function fromByteChars(spelling: string): string | undefined {
  let out = '';
  for (const char of spelling) {
    const byte = CHAR_BYTES.get(char);
    if (byte === undefined) return undefined;
    out += byte;
  }
  return out;
}

/**
 * A copy of a short string (a few hundred characters) that holds no reference to the text it was sliced from.
 * V8 keeps the parent of a long enough slice alive: one cached word would pin a whole book.
 */
export function detach(word: string): string {
  const units: number[] = [];
  for (let i = 0; i < word.length; i++) units.push(word.charCodeAt(i));
  return String.fromCharCode(...units);
}
