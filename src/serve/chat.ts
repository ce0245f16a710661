// POST /v1/chat/completions: the answer to a conversation.
import type { Context } from 'hono';
import type { ChatMessage } from '../generate/chat.ts';
import type { LanguageModel } from '../generate/model.ts';
import type { Completion } from '../generate/reply.ts';
import { answer, type Totals, type Voice } from './answer.ts';
import { RequestError } from './errors.ts';
import type { Progress } from './follow.ts';
import type { ChatLogprob, Located } from './logprobs.ts';
import { chatLogprobs, TokenLocator } from './logprobs.ts';
import { textOptions } from './options.ts';
import { requireShort } from './prompts.ts';
import type { ChatRequest } from './requests.ts';
import { chatRequest, readRequest } from './requests.ts';
import type { Env, Service } from './service.ts';
import { begin, readJson } from './service.ts';

export async function chat(c: Context<Env>, service: Service): Promise<Response> {
  const request = readRequest(chatRequest, await readJson(c));
  const { n = 1, logprobs = false, top_logprobs: topLogprobs } = request;
  if (topLogprobs !== undefined && !logprobs) {
    throw new RequestError('invalid-request', 'top_logprobs: expected logprobs to be true with it.', {
      status: 400,
      param: 'top_logprobs',
    });
  }
  const messages = messagesOf(request);
  const work = await begin(c, service, request.model, n);
  try {
    const { model, signal } = work;
    requireShort(
      model,
      messages.reduce((sum, { content }) => sum + content.length, 0),
    );
    const prompt = model.chatTemplate.encode(messages);
    const options = textOptions(request, {
      signal,
      tenant: c.var.tenant,
      maxTokens: request.max_completion_tokens ?? request.max_tokens ?? model.contextLength,
      topLogprobs,
    });
    const replies = model.samples(prompt, { ...options, n });
    const { stream = false, stream_options: { include_usage: includeUsage = false } = {} } = request;
    const asked = { stream, includeUsage, perPrompt: n };
    return await answer(c, service, work, replies, new ChatVoice(model, request), asked);
  } catch (error) {
    work.end();
    throw error;
  }
}

/** `developer` is OpenAI's newer word for `system`. */
function messagesOf({ messages }: ChatRequest): ChatMessage[] {
  return messages.map(({ role, content }) => ({
    role: role === 'developer' ? 'system' : role,
    content: typeof content === 'string' ? content : (content ?? []).map(({ text }) => text).join(''),
  }));
}

class ChatVoice implements Voice {
  readonly #model: LanguageModel;
  readonly #request: ChatRequest;
  readonly #head: { readonly id: string; readonly created: number; readonly model: string };
  readonly #locators: readonly TokenLocator[];
  readonly #begun = new Set<number>();

  constructor(model: LanguageModel, request: ChatRequest) {
    this.#model = model;
    this.#request = request;
    this.#head = {
      id: `chatcmpl-${crypto.randomUUID()}`,
      created: Math.floor(Date.now() / 1000),
      model: request.model ?? model.name,
    };
    this.#locators = Array.from({ length: request.n ?? 1 }, () => new TokenLocator(model.tokenizer));
  }

  chunks(progress: Progress): readonly object[] {
    const { index, text, completion } = progress;
    const logprobs = this.#logprobs(progress);
    const chunks: object[] = [];
    const add = (delta: object, finishReason: string | null, logprobs: object | null) =>
      chunks.push({
        ...this.#head,
        object: 'chat.completion.chunk',
        choices: [{ index, delta, logprobs, finish_reason: finishReason }],
        ...(this.#request.stream_options?.include_usage && { usage: null }),
      });
    if (!this.#begun.has(index)) add({ role: 'assistant', content: '' }, null, null);
    this.#begun.add(index);
    if (text !== '' || (logprobs && logprobs.content.length > 0)) add({ content: text }, null, logprobs);
    if (completion) add({}, completion.finishReason, null);
    return chunks;
  }

  usageChunk(totals: Totals): object {
    return { ...this.#head, object: 'chat.completion.chunk', choices: [], ...totals };
  }

  whole(completions: readonly Completion[], totals: Totals): object {
    const choices = completions.map((completion, index) => ({
      index,
      message: { role: 'assistant', content: completion.text, refusal: null },
      logprobs: this.#logprobs({ index, completion, ...completion }),
      finish_reason: completion.finishReason,
    }));
    return { ...this.#head, object: 'chat.completion', choices, ...totals };
  }

  #logprobs({ index, text, tokens, completion }: Progress): { content: ChatLogprob[] } | null {
    const locator = this.#locators[index];
    const { logprobs, top_logprobs: most = 0, stop = [] } = this.#request;
    if (!logprobs || !locator) return null;
    const located: Located[] = locator.take(tokens, text);
    if (completion) located.push(...locator.flush(completion.finishReason === 'stop' && stop.length > 0));
    return { content: chatLogprobs(this.#model.tokenizer, located, most) };
  }
}
