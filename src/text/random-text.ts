// Random but repeatable text for tests: every class of character that splitting, encoding or decoding could trip over.

import { Random } from '../tensor/random.ts';

const CHARS = [
  ...'aabcdeſstmdrvelLSTMDREVKk',
  ...'éßÅǅʰаяשمक日はカ한İıﬁ',
  ...'0123456789٣½²Ⅷ௧',
  ...'      \t\v\f\n\n\r\u0085\u00a0\u1680\u2003\u2028\u202f\u3000',
  ..."'''.,!?-_/\"()<|>#$€。「」…’",
  ...'\u0301\u0323\u093f\u200b\u200d\ufe0f\ufeff\u0000\u001f\u007f\u00ad\u202e\uffff',
  ...'🌊🙂👩🏽🇩𐌰𝒜𝟏𠀀\u{e0001}\u{f0000}\u{10ffff}',
];

/** Every code point that is no surrogate, in rows of 64. */
export function* codePointRows(): Generator<string> {
  let row = '';
  let count = 0;
  for (let point = 1; point < 0x110000; point++) {
    if (point >= 0xd800 && point < 0xe000) continue;
    row += String.fromCodePoint(point);
    if (++count % 64 === 0) {
      yield row;
      row = '';
    }
  }
  if (row !== '') yield row;
}

/** A well-formed text of up to `most` characters, in which characters tend to repeat and to keep company. */
export function randomText(seed: number, most: number): string {
  const random = new Random(seed);
  const palette = Array.from({ length: 1 + Math.floor(random.uniform() * 12) }, () => pick());
  let text = '';
  for (let i = Math.floor(random.uniform() * most); i > 0; i--) {
    text += random.uniform() < 0.8 ? (palette[Math.floor(random.uniform() * palette.length)] ?? '') : pick();
  }
  return text;

  function pick(): string {
    return CHARS[Math.floor(random.uniform() * CHARS.length)] ?? '';
  }
}
