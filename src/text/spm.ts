// SentencePiece's BPE as a GGUF file holds it: tokens with scores, from which the merges follow.

/** Stands for a space. */
export const SPM_MARK = '\u2581';

/**
 * Every pair of tokens that make a normal token, the best scored first: SentencePiece joins, of all neighbours that make a
 * token, those with the highest score. Of one token's pairs the longer left half comes first, as transformers orders them
 * (`generate_merges`); SentencePiece takes the one that stands leftmost, which differs only where both overlap in a text.
 * @param ids the id of each token's text; @param scores of each id
 */
export function spmMerges(
  ids: ReadonlyMap<string, number>,
  isNormal: (id: number) => boolean,
  scores: ArrayLike<number>,
): [left: string, right: string][] {
  const found: { left: string; right: string; score: number; order: number }[] = [];
  for (const [token, id] of ids) {
    if (!isNormal(id)) continue;
    const chars = Array.from(token);
    let left = '';
    for (const char of chars.slice(0, -1)) {
      left += char;
      const right = token.slice(left.length);
      const pair = [ids.get(left), ids.get(right)];
      if (!pair.every((half) => half !== undefined && isNormal(half))) continue;
      found.push({ left, right, score: scores[id] ?? 0, order: found.length });
    }
  }
  const length = (text: string) => Array.from(text).length;
  found.sort((a, b) => b.score - a.score || length(b.left) - length(a.left) || length(b.right) - length(a.right));
  return found.map(({ left, right }) => [left, right]);
}
