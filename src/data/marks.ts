// Marks: what training must know of a token besides its id. A mark is the sum of those that hold.

/** The token counts as a label: the model is trained to say it. */
export const COUNTS = 1;
/** The token begins a document, as an input: it and those after it do not see what stands before. */
export const BEGINS = 2;
/** How many marks there can be. */
export const MARK_COUNT = 4;

/**
 * Of a text, whose documents are closed by `endOfText`: every token counts, and the closing token, once it has been said,
 * begins the next document, which is predicted from it.
 */
export function marksOfText(tokens: Int32Array, endOfText: number, into: Int32Array): void {
  for (let at = 0; at < tokens.length; at++) into[at] = tokens[at] === endOfText ? COUNTS + BEGINS : COUNTS;
}

/** Document numbers of marked rows of `length` tokens, from 0 in each row. */
export function segmentsOf(marks: Int32Array, length: number): Int32Array {
  const segments = new Int32Array(marks.length);
  for (let at = 0, document = 0; at < marks.length; at++) {
    if (at % length === 0) document = 0;
    else if ((marks[at] ?? 0) & BEGINS) document++;
    segments[at] = document;
  }
  return segments;
}
