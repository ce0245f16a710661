// Texts cut into sentences and words, for counting.

/** Short forms whose period ends no sentence, without it. */
const shortForms = new Set(
  'mr mrs ms dr prof sr jr st vs etc e.g i.e cf no vol fig inc ltd co corp gen col capt lt rev hon gov sen rep jan feb mar apr jun jul aug sep sept oct nov dec u.s u.k a.m p.m ph.d approx dept est'.split(
    ' ',
  ),
);

/**
 * Sentences of a text: a run that ends in ., ! or ?, perhaps with quotes or brackets behind, before white space and whatever may begin a
 * sentence. A period behind a short form, an initial or before a small letter ends none.
 */
export function sentencesOf(text: string): string[] {
  const sentences: string[] = [];
  let start = 0;
  for (const { 0: end, index } of text.matchAll(/[.!?…]+["'”’)\]*_]*(?=\s|$)/gu)) {
    const stop = index + end.length;
    const next = /\S/u.exec(text.slice(stop))?.[0];
    const last = /\S+$/u.exec(text.slice(start, index))?.[0].replace(/^["'“‘([*_]+/u, '') ?? '';
    const isPeriod = end[0] === '.';
    if (isPeriod && next !== undefined && /\p{Ll}/u.test(next)) continue;
    if (isPeriod && next !== undefined && (shortForms.has(last.toLowerCase()) || /^\p{Lu}$/u.test(last))) continue;
    // A list's number, as in "1. Wash it", belongs to what follows.
    if (isPeriod && /^\d+$/.test(last) && /(^|\n)\s*\d+$/.test(text.slice(start, index)) && next !== undefined)
      continue;
    sentences.push(text.slice(start, stop).trim());
    start = stop;
  }
  const rest = text.slice(start).trim();
  return rest === '' ? sentences : [...sentences, rest];
}

/** Runs of letters, marks of them, digits and underscores. */
export function wordCount(text: string): number {
  return text.match(/[\p{L}\p{M}\p{N}\p{Join_Control}_]+/gu)?.length ?? 0;
}

/** At least one capital letter and no small one. */
export function isCapital(text: string): boolean {
  return /\p{Uppercase}/u.test(text) && !/[\p{Lowercase}\p{Lt}]/u.test(text);
}

/** At least one small letter and no capital one. */
export function isSmall(text: string): boolean {
  return /\p{Lowercase}/u.test(text) && !/[\p{Uppercase}\p{Lt}]/u.test(text);
}

/** Words in capitals: hyphens hold a word together, an English short form behind an apostrophe is a word of its own. */
export function capitalWordCount(text: string): number {
  const apart = text.replaceAll('’', "'").replaceAll(/(n't|'(?:s|m|d|ll|re|ve))(?![\p{L}])/giu, ' $1');
  return apart.split(/[\s,;:!?()[\]{}<>"“”@#$%&*`…]+|--+|\.(?=\s|$)/u).filter(isCapital).length;
}
