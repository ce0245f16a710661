// Texts as rows to score: a prompt with what follows it, and a long text in windows.
import type { Tokenizer } from '../../text/tokenizer.ts';
import type { ScoredRow } from './scorer.ts';

/** As many tokens of `tokens` from `from` on, each predicted from those before it. */
function rowOf(tokens: readonly number[], from: number): ScoredRow {
  const labels = tokens.slice(from);
  return { tokens: tokens.slice(0, -1), places: labels.map((_, i) => from - 1 + i), labels };
}

/**
 * lm_eval's pair: white space at the context's end goes to the continuation, and what the continuation's tokens are follows from
 * those of both together. `before` is what stands before a text that has no token of its own.
 */
export function pairRow(tokenizer: Tokenizer, context: string, continuation: string, before: number): ScoredRow {
  const own = context.trimEnd();
  const whole = Array.from(tokenizer.encode(context + continuation));
  const { length } = tokenizer.encode(own);
  return length === 0 ? rowOf([before, ...whole], 1) : rowOf(whole, length);
}

/**
 * A text's tokens, all of them predicted once, in windows of at most `length` tokens (lm_eval's rolling windows): the first begins
 * behind the token `before`, the others behind the last token of the one before, and the last reaches back as far as it may.
 */
export function rollingRows(tokens: readonly number[], before: number, length: number): ScoredRow[] {
  const all = [before, ...tokens];
  const rows: ScoredRow[] = [];
  for (let done = 0; done < tokens.length; done += length) {
    const end = Math.min(done + length, tokens.length);
    const start = Math.max(0, end - length);
    rows.push(rowOf(all.slice(start, end + 1), done - start + 1));
  }
  return rows;
}
