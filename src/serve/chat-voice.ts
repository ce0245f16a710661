// How /v1/chat/completions words an answer: what the model says, what it thought, and which tools it calls.
import type { LanguageModel } from '../generate/model.ts';
import { ReplyParts, type ReplyPart } from '../generate/reply-parts.ts';
import type { Completion } from '../generate/reply.ts';
import type { Tool, ToolCall, ToolCallStyle } from '../generate/tool-calls.ts';
import { decodingOf } from '../generate/tool-style.ts';
import type { Totals, Voice } from './answer.ts';
import type { Progress } from './follow.ts';
import type { ChatLogprob, Located } from './logprobs.ts';
import { chatLogprobs, TokenLocator } from './logprobs.ts';
import type { ChatRequest } from './requests.ts';

export interface ChatForm {
  /** Undefined: the request has no tools, and what looks like a call is text. */
  readonly style: ToolCallStyle | undefined;
  readonly tools: readonly Tool[];
  /** The prompt ended within <think>. */
  readonly startsThinking: boolean;
  /** Control tokens that stand in the text. */
  readonly kept: readonly number[];
}

/** One reply of a request as it comes. */
class Spoken {
  readonly parts: ReplyParts;
  readonly locator: TokenLocator;
  hasBegun = false;
  calls = 0;

  constructor(model: LanguageModel, form: ChatForm) {
    this.parts = new ReplyParts(form);
    this.locator = new TokenLocator(model.tokenizer, decodingOf(form.kept));
  }
}

export class ChatVoice implements Voice {
  readonly #model: LanguageModel;
  readonly #request: ChatRequest;
  readonly #head: { readonly id: string; readonly created: number; readonly model: string };
  readonly #replies: readonly Spoken[];

  constructor(model: LanguageModel, request: ChatRequest, form: ChatForm) {
    this.#model = model;
    this.#request = request;
    this.#head = {
      id: `chatcmpl-${crypto.randomUUID()}`,
      created: Math.floor(Date.now() / 1000),
      model: request.model ?? model.name,
    };
    this.#replies = Array.from({ length: request.n ?? 1 }, () => new Spoken(model, form));
  }

  chunks(progress: Progress): readonly object[] {
    const { index, text, completion } = progress;
    const reply = this.#replies[index];
    if (!reply) return [];
    const chunks: object[] = [];
    const add = (delta: object, finishReason: string | null = null, logprobs: object | null = null) =>
      chunks.push({
        ...this.#head,
        object: 'chat.completion.chunk',
        choices: [{ index, delta, logprobs, finish_reason: finishReason }],
        ...(this.#request.stream_options?.include_usage && { usage: null }),
      });
    if (!reply.hasBegun) add({ role: 'assistant', content: '' });
    reply.hasBegun = true;
    const deltas = this.#read(reply, text, completion).flatMap((part) => deltasOf(part, reply));
    let logprobs = this.#logprobs(reply, progress);
    // A token may show no text of its own, and yet has a probability.
    if (deltas.length === 0 && logprobs && logprobs.content.length > 0) deltas.push({ content: '' });
    for (const delta of deltas) {
      add(delta, null, logprobs);
      // All that one step brought stands with the first of what it shows.
      logprobs = logprobs && { content: [] };
    }
    if (completion) add({}, finishReason(completion, reply.calls));
    return chunks;
  }

  usageChunk(totals: Totals): object {
    return { ...this.#head, object: 'chat.completion.chunk', choices: [], ...totals };
  }

  whole(completions: readonly Completion[], totals: Totals): object {
    const choices = completions.flatMap((completion, index) => {
      const reply = this.#replies[index];
      if (!reply) return [];
      const parts = this.#read(reply, completion.text, completion);
      const said = (type: 'text' | 'reasoning') =>
        parts.map((part) => (part.type !== 'call' && part.type === type ? part.text : '')).join('');
      const calls = parts.flatMap((part) => (part.type === 'call' ? [callOf(part.call)] : []));
      const [text, reasoning] = [said('text'), said('reasoning')];
      const message = {
        role: 'assistant',
        content: text === '' && calls.length > 0 ? null : text,
        refusal: null,
        ...(reasoning !== '' && { reasoning_content: reasoning }),
        ...(calls.length > 0 && { tool_calls: calls }),
      };
      const logprobs = this.#logprobs(reply, { index, completion, ...completion });
      return { index, message, logprobs, finish_reason: finishReason(completion, calls.length) };
    });
    return { ...this.#head, object: 'chat.completion', choices, ...totals };
  }

  /** The parts that a piece makes sure of; calls beyond the first are left out where the request wants one at a time. */
  #read(reply: Spoken, text: string, completion: Completion | undefined): readonly ReplyPart[] {
    const parts = [...reply.parts.push(text), ...(completion ? reply.parts.flush() : [])];
    const most = this.#request.parallel_tool_calls === false ? 1 : Infinity;
    let calls = reply.calls;
    return parts.filter(({ type }) => type !== 'call' || calls++ < most);
  }

  #logprobs({ locator }: Spoken, { text, tokens, completion }: Progress): { content: ChatLogprob[] } | null {
    const { logprobs, top_logprobs: most = 0, stop = [] } = this.#request;
    if (!logprobs) return null;
    const located: Located[] = locator.take(tokens, text);
    if (completion) located.push(...locator.flush(completion.finishReason === 'stop' && stop.length > 0));
    return { content: chatLogprobs(this.#model.tokenizer, located, most) };
  }
}

function callOf({ name, arguments: given }: ToolCall) {
  const id = `call_${crypto.randomUUID().replaceAll('-', '').slice(0, 24)}`;
  return { id, type: 'function', function: { name, arguments: JSON.stringify(given) } } as const;
}

/** A call is known once it has ended; its name comes first, then its arguments. */
function deltasOf(part: ReplyPart, reply: Spoken): object[] {
  if (part.type !== 'call') return [part.type === 'text' ? { content: part.text } : { reasoning_content: part.text }];
  const index = reply.calls++;
  const { function: made, ...head } = callOf(part.call);
  return [
    { tool_calls: [{ index, ...head, function: { name: made.name, arguments: '' } }] },
    { tool_calls: [{ index, function: { arguments: made.arguments } }] },
  ];
}

function finishReason({ finishReason: reason }: Completion, calls: number): string {
  return reason === 'stop' && calls > 0 ? 'tool_calls' : reason;
}
