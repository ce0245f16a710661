// Answers with what replies say: whole once all have ended, or as server-sent events while they come.
import type { Context } from 'hono';
import type { Completion, Reply, Usage } from '../generate/reply.ts';
import { codeOf, RequestError } from './errors.ts';
import type { Progress } from './follow.ts';
import { follow } from './follow.ts';
import type { Env, Service, Work } from './service.ts';
import { report } from './service.ts';
import { eventOf, eventStream } from './sse.ts';

/** How an endpoint words what it answers; one for each request, told of all progress in order. */
export interface Voice {
  /** The chunks of a stream that one step of progress makes, if any. */
  chunks(progress: Progress): readonly object[];
  /** The last chunk of a stream, where the client asks for it. */
  usageChunk(totals: Totals): object;
  /** Of an answer that is not streamed; `completions` in the order of the replies. */
  whole(completions: readonly Completion[], totals: Totals): object;
}

export interface Totals {
  readonly usage: {
    readonly prompt_tokens: number;
    readonly completion_tokens: number;
    readonly total_tokens: number;
    readonly prompt_tokens_details: { readonly cached_tokens: number };
  };
  /** Milliseconds, and tokens a second, over all texts of the request. */
  readonly timings: {
    readonly prompt_ms: number;
    readonly predicted_ms: number;
    readonly predicted_per_second: number;
  };
}

export interface Asked {
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** Replies to each prompt: its tokens are counted once. */
  readonly perPrompt: number;
  /** Only the prompt is wanted: the token that is generated to have it is neither shown nor counted. */
  readonly promptOnly?: boolean;
}

/** Ends the work. Errors: those of the replies, where nothing has been sent yet. */
export async function answer(
  c: Context<Env>,
  service: Service,
  work: Work,
  replies: readonly Reply[],
  voice: Voice,
  asked: Asked,
): Promise<Response> {
  if (!asked.stream) {
    try {
      for await (const _ of progressOf(work, replies, asked));
      const completions = await Promise.all(replies);
      return c.json(voice.whole(completions, totalsOf(work, replies, asked)));
    } finally {
      work.end();
    }
  }
  const events = eventsOf(c, service, work, replies, voice, asked);
  // Until the first token there is a status to tell what is wrong by.
  const first = await events.next();
  work.record.isStreamed = true;
  return eventStream(first, events, {
    stallSeconds: service.limits.stallSeconds,
    outgoing: c.env.outgoing,
  });
}

async function* eventsOf(
  c: Context<Env>,
  service: Service,
  work: Work,
  replies: readonly Reply[],
  voice: Voice,
  asked: Asked,
): AsyncGenerator<string, void, undefined> {
  const { record } = work;
  let hasBegun = false;
  let failure: string | undefined;
  /** Written with what comes next. */
  let waiting = '';
  try {
    for await (const progress of progressOf(work, replies, asked)) {
      for (const chunk of voice.chunks(progress)) waiting += eventOf(JSON.stringify(chunk));
      // Behind a text's end comes another text's token or the end of all, both at once.
      if (progress.completion || waiting === '') continue;
      const events = waiting;
      waiting = '';
      yield events;
      hasBegun = true;
    }
    if (asked.includeUsage) waiting += eventOf(JSON.stringify(voice.usageChunk(totalsOf(work, replies, asked))));
    yield `${waiting}${eventOf('[DONE]')}`;
  } catch (error) {
    if (!hasBegun) throw error;
    const { body } = report(service, record, error);
    failure = codeOf(error);
    // The status has been sent; clients look for an error among the events.
    yield `${waiting}${eventOf(JSON.stringify(body))}`;
  } finally {
    work.end();
    if (record.isStreamed) record.end(c.req.routePath, 200, failure);
  }
}

/** Follows the replies, and writes down what they used, however it ends. */
async function* progressOf({ record }: Work, replies: readonly Reply[], asked: Asked): AsyncGenerator<Progress> {
  const reasons = new Set<string>();
  let isWhole = false;
  try {
    for await (const progress of follow(replies)) {
      record.sawToken();
      if (progress.completion) reasons.add(progress.completion.finishReason);
      yield progress;
    }
    isWhole = true;
  } catch (error) {
    if (!(error instanceof RequestError && error.refusal.status === 499)) reasons.add('error');
    throw error;
  } finally {
    const finish = isWhole || reasons.has('error') ? [...reasons].join(',') : 'cancelled';
    record.sawUsage(usageOf(replies, asked), finish);
  }
}

function usageOf(replies: readonly Reply[], { perPrompt, promptOnly = false }: Asked): Usage {
  const sum = (pick: (usage: Usage, index: number) => number) =>
    replies.reduce((total, { details }, index) => total + pick(details.usage, index), 0);
  const once = (value: number, index: number) => (index % perPrompt === 0 ? value : 0);
  return {
    promptTokens: sum(({ promptTokens }, index) => once(promptTokens, index)),
    cachedTokens: sum(({ cachedTokens }, index) => once(cachedTokens, index)),
    completionTokens: promptOnly ? 0 : sum(({ completionTokens }) => completionTokens),
  };
}

function totalsOf({ record }: Work, replies: readonly Reply[], asked: Asked): Totals {
  const { promptTokens, completionTokens, cachedTokens } = usageOf(replies, asked);
  const first = record.firstTokenMs ?? record.ms;
  const predicted = record.ms - first;
  return {
    usage: {
      prompt_tokens: promptTokens,
      completion_tokens: completionTokens,
      total_tokens: promptTokens + completionTokens,
      prompt_tokens_details: { cached_tokens: cachedTokens },
    },
    timings: {
      prompt_ms: first,
      predicted_ms: predicted,
      // The first token of each text came with its prompt.
      predicted_per_second: predicted > 0 ? Math.max(0, completionTokens - replies.length) / (predicted / 1000) : 0,
    },
  };
}
