// Several replies read side by side, as they come: each turn gives whatever is there first.
import type { Choice } from '../generate/sampler.ts';
import type { Completion, Reply } from '../generate/reply.ts';

export interface Progress {
  /** Which of the replies. */
  readonly index: number;
  readonly text: string;
  /** Tokens that have come since the reply's last turn; their text may come later, where it is held back. */
  readonly tokens: readonly Choice[];
  /** Of the prompt, where they were asked for. */
  readonly promptTokens: readonly Choice[];
  /** With the reply's last turn. */
  readonly completion?: Completion;
}

async function* followOne(reply: Reply, index: number): AsyncGenerator<Progress, void, undefined> {
  let seen = 0;
  for await (const text of reply) {
    const { tokens, promptTokens } = reply.details;
    yield { index, text, tokens: tokens.slice(seen), promptTokens };
    seen = tokens.length;
  }
  const completion = await reply;
  const { tokens, promptTokens } = completion;
  yield { index, text: '', tokens: tokens.slice(seen), promptTokens, completion };
}

/** Nothing is read ahead of whoever asks. Leaving the loop, or an error of one reply, cancels all of them. */
export async function* follow(replies: readonly Reply[]): AsyncGenerator<Progress, void, undefined> {
  const sources = replies.map(followOne);
  const next = async (source: (typeof sources)[number]) => ({ source, result: await source.next() });
  const turns = new Map(sources.map((source) => [source, next(source)]));
  try {
    while (turns.size > 0) {
      const { source, result } = await Promise.race(turns.values());
      if (result.done) {
        turns.delete(source);
        continue;
      }
      yield result.value;
      turns.set(source, next(source));
    }
  } finally {
    for (const turn of turns.values()) turn.catch(() => undefined);
    // Not awaited: a source answers only once the turn it is in has ended, which the caller's signal sees to.
    for (const source of sources) source.return().catch(() => undefined);
  }
}
