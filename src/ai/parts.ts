// From what a model answers, as it comes, to the parts of the AI SDK's streams and to its whole results.
import type {
  JSONObject,
  LanguageModelV4Content,
  LanguageModelV4FinishReason,
  LanguageModelV4GenerateResult,
  LanguageModelV4StreamPart,
  LanguageModelV4Usage,
  SharedV4Warning,
} from '@ai-sdk/provider';
import { LfmError } from '../tensor/error.ts';

export interface TokenLogprob {
  /** Where the model is in this process or a worker. */
  id?: number;
  /** Absent in a worker, which has no tokenizer on this side. */
  token?: string;
  logprob: number;
  top?: Omit<TokenLogprob, 'top'>[];
}

/** What an answer is made of, wherever it comes from. The first is 'begin', the last 'end'. */
export type AnswerEvent =
  | {
      readonly type: 'begin';
      readonly id: string;
      readonly modelId: string;
      readonly warnings?: readonly SharedV4Warning[];
    }
  | { readonly type: 'text' | 'reasoning'; readonly text: string }
  /** A call begins; its input follows. */
  | { readonly type: 'call'; readonly id: string; readonly name: string }
  | { readonly type: 'input'; readonly text: string }
  | {
      readonly type: 'end';
      readonly finishReason: string;
      readonly promptTokens: number | undefined;
      readonly cachedTokens: number | undefined;
      readonly completionTokens: number | undefined;
      /** Of the tokens, those of thoughts, where it is known. */
      readonly reasoningTokens?: number | undefined;
      readonly logprobs?: TokenLogprob[] | undefined;
    };

type Block =
  | { readonly type: 'text' | 'reasoning'; readonly id: string }
  | { readonly type: 'call'; readonly id: string; readonly name: string; input: string };

/**
 * A failure in the middle is a part of its own, since what came before it stands; one before the beginning is thrown, and so is
 * what `signal` ends.
 */
export async function* streamParts(
  events: AsyncGenerator<AnswerEvent, void, undefined>,
  warnings: readonly SharedV4Warning[],
  signal: AbortSignal,
): AsyncGenerator<LanguageModelV4StreamPart, void, undefined> {
  let open: Block | undefined;
  let blocks = 0;
  let calls = 0;
  let hasBegun = false;
  let hasThought = false;
  const close = (): LanguageModelV4StreamPart[] => {
    const block = open;
    open = undefined;
    if (!block) return [];
    if (block.type !== 'call') return [{ type: `${block.type}-end`, id: block.id }];
    const { id, name, input } = block;
    return [
      { type: 'tool-input-end', id },
      { type: 'tool-call', toolCallId: id, toolName: name, input },
    ];
  };
  try {
    for await (const event of events) {
      signal.throwIfAborted();
      switch (event.type) {
        case 'begin':
          yield { type: 'stream-start', warnings: [...warnings, ...(event.warnings ?? [])] };
          yield { type: 'response-metadata', id: event.id, modelId: event.modelId, timestamp: new Date() };
          hasBegun = true;
          break;
        case 'text':
        case 'reasoning':
          hasThought ||= event.type === 'reasoning';
          if (open?.type !== event.type) {
            yield* close();
            open = { type: event.type, id: String(blocks++) };
            yield { type: `${event.type}-start`, id: open.id };
          }
          yield { type: `${event.type}-delta`, id: open.id, delta: event.text };
          break;
        case 'call':
          yield* close();
          calls++;
          open = { type: 'call', id: event.id, name: event.name, input: '' };
          yield { type: 'tool-input-start', id: event.id, toolName: event.name };
          break;
        case 'input':
          if (open?.type !== 'call') break;
          open.input += event.text;
          yield { type: 'tool-input-delta', id: open.id, delta: event.text };
          break;
        case 'end':
          yield* close();
          yield {
            type: 'finish',
            finishReason: finishReasonOf(event.finishReason, calls),
            usage: usageOf(event, hasThought),
            ...(event.logprobs && { providerMetadata: { lfm: { logprobs: event.logprobs.map(jsonOf) } } }),
          };
      }
    }
  } catch (error) {
    if (!hasBegun || signal.aborted) throw error;
    yield* close();
    yield { type: 'error', error };
    yield {
      type: 'finish',
      finishReason: { unified: 'error', raw: error instanceof LfmError ? error.code : undefined },
      usage: usageOf({ promptTokens: undefined, cachedTokens: undefined, completionTokens: undefined }, hasThought),
    };
  }
}

/** The same parts as one result. Errors: those of the stream. */
export async function collect(
  parts: AsyncGenerator<LanguageModelV4StreamPart, void, undefined>,
): Promise<LanguageModelV4GenerateResult> {
  const content: LanguageModelV4Content[] = [];
  let warnings: SharedV4Warning[] = [];
  let response: LanguageModelV4GenerateResult['response'];
  for await (const part of parts) {
    const last = content.at(-1);
    switch (part.type) {
      case 'stream-start':
        ({ warnings } = part);
        break;
      case 'response-metadata': {
        const { type: _, ...metadata } = part;
        response = metadata;
        break;
      }
      case 'text-start':
        content.push({ type: 'text', text: '' });
        break;
      case 'reasoning-start':
        content.push({ type: 'reasoning', text: '' });
        break;
      case 'text-delta':
      case 'reasoning-delta':
        if (last?.type === 'text' || last?.type === 'reasoning') last.text += part.delta;
        break;
      case 'tool-call':
        content.push(part);
        break;
      case 'error':
        throw part.error;
      case 'finish': {
        const { type: _, ...end } = part;
        return { content, warnings, ...end, ...(response && { response }) };
      }
    }
  }
  throw new LfmError('answer-cut', 'The answer ended before it was whole.');
}

function finishReasonOf(raw: string, calls: number): LanguageModelV4FinishReason {
  if (raw === 'length') return { unified: 'length', raw };
  if (raw !== 'stop' && raw !== 'tool_calls') return { unified: 'other', raw };
  return { unified: calls > 0 ? 'tool-calls' : 'stop', raw };
}

type Counts = Pick<
  AnswerEvent & { type: 'end' },
  'promptTokens' | 'cachedTokens' | 'completionTokens' | 'reasoningTokens'
>;

function usageOf(
  { promptTokens, cachedTokens, completionTokens: total, reasoningTokens }: Counts,
  hasThought: boolean,
): LanguageModelV4Usage {
  const reasoning = hasThought ? reasoningTokens : total && 0;
  return {
    inputTokens: {
      total: promptTokens,
      noCache: promptTokens === undefined ? undefined : promptTokens - (cachedTokens ?? 0),
      cacheRead: cachedTokens,
      cacheWrite: undefined,
    },
    outputTokens: {
      total,
      text: total === undefined || reasoning === undefined ? undefined : total - reasoning,
      reasoning,
    },
  };
}

/** JSON has no -Infinity. */
function jsonOf({ id, token, logprob, top }: TokenLogprob): JSONObject {
  return {
    ...(id !== undefined && { id }),
    ...(token !== undefined && { token }),
    logprob: Math.max(logprob, -9999),
    ...(top && { top: top.map(jsonOf) }),
  };
}
