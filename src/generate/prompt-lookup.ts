// Guesses the next tokens of a text from the text itself: what followed its last tokens before (prompt lookup decoding).

/** Longest and shortest run of last tokens that is looked for. One alone says too little. */
const LONGEST = 4;
const SHORTEST = 2;

/** Up to `most` tokens that stood after the latest earlier place of the longest run found; none where there is no such place. */
export function lookUp(tokens: readonly number[], most: number): readonly number[] {
  for (let size = LONGEST; size >= SHORTEST; size--) {
    const last = tokens.length - size;
    for (let at = last - 1; at >= 0; at--) {
      let same = 0;
      while (same < size && tokens[at + same] === tokens[last + same]) same++;
      if (same === size) return tokens.slice(at + size, at + size + most);
    }
  }
  return [];
}
