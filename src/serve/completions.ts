// POST /v1/completions: texts continued, with the prompt's own log-probabilities where `echo` asks for them.
import type { Context } from 'hono';
import type { LanguageModel } from '../generate/model.ts';
import type { Completion } from '../generate/reply.ts';
import { answer, type Totals, type Voice } from './answer.ts';
import { RequestError } from './errors.ts';
import type { Progress } from './follow.ts';
import type { CompletionLogprobs, Located } from './logprobs.ts';
import { completionLogprobs, TokenLocator } from './logprobs.ts';
import { textOptions } from './options.ts';
import { encodePrompt, promptsOf } from './prompts.ts';
import type { CompletionRequest } from './requests.ts';
import { completionRequest, readRequest } from './requests.ts';
import type { Env, Service } from './service.ts';
import { begin, readJson } from './service.ts';

/** What OpenAI's endpoint has where a request does not say. */
const MAX_TOKENS = 16;

export async function completions(c: Context<Env>, service: Service): Promise<Response> {
  const request = readRequest(completionRequest, await readJson(c));
  const { n = 1, echo = false, logprobs, max_tokens: maxTokens = MAX_TOKENS } = request;
  if (maxTokens === 0 && !echo) {
    throw new RequestError('invalid-request', 'max_tokens: expected at least 1, unless echo is true.', {
      status: 400,
      param: 'max_tokens',
    });
  }
  const given = promptsOf(request.prompt);
  const work = await begin(c, service, request.model, given.length * n);
  try {
    const { model, adapter, signal } = work;
    const prompts = given.map((prompt) => encodePrompt(model, prompt));
    const options = textOptions(request, {
      signal,
      adapter,
      tenant: c.var.tenant,
      // Where only the prompt is asked for, a token is generated and left out.
      maxTokens: Math.max(1, maxTokens),
      promptLogprobs: echo && logprobs !== undefined,
      topLogprobs: logprobs,
    });
    const replies = prompts.flatMap((prompt) => model.samples(prompt, { ...options, n }));
    const voice = new CompletionVoice(model, request, prompts);
    const { stream = false, stream_options: { include_usage: includeUsage = false } = {} } = request;
    return await answer(c, service, work, replies, voice, {
      stream,
      includeUsage,
      perPrompt: n,
      promptOnly: maxTokens === 0,
    });
  } catch (error) {
    work.end();
    throw error;
  }
}

class CompletionVoice implements Voice {
  readonly #model: LanguageModel;
  readonly #request: CompletionRequest;
  readonly #prompts: readonly (readonly number[])[];
  readonly #head: { readonly id: string; readonly object: string; readonly created: number; readonly model: string };
  readonly #locators: readonly TokenLocator[];
  readonly #begun = new Set<number>();

  constructor(model: LanguageModel, request: CompletionRequest, prompts: readonly (readonly number[])[]) {
    const { n = 1 } = request;
    this.#model = model;
    this.#request = request;
    this.#prompts = prompts;
    this.#head = {
      id: `cmpl-${crypto.randomUUID()}`,
      object: 'text_completion',
      created: Math.floor(Date.now() / 1000),
      model: request.model ?? model.name,
    };
    this.#locators = Array.from({ length: prompts.length * n }, () => new TokenLocator(model.tokenizer));
  }

  chunks(progress: Progress): readonly object[] {
    const { index, completion } = progress;
    const { text, located } = this.#take(progress);
    const usage = this.#request.stream_options?.include_usage ? { usage: null } : {};
    if (text === '' && located.length === 0 && !completion) return [];
    return [
      {
        ...this.#head,
        choices: [
          {
            index,
            text,
            logprobs: this.#logprobs(located),
            finish_reason: completion ? this.#reason(completion) : null,
          },
        ],
        ...usage,
      },
    ];
  }

  usageChunk(totals: Totals): object {
    return { ...this.#head, choices: [], ...totals };
  }

  whole(completions: readonly Completion[], totals: Totals): object {
    const choices = completions.map((completion, index) => {
      const { text, located } = this.#take({ index, completion, ...completion });
      return { index, text, logprobs: this.#logprobs(located), finish_reason: this.#reason(completion) };
    });
    return { ...this.#head, choices, ...totals };
  }

  #logprobs(located: readonly Located[]): CompletionLogprobs | null {
    return this.#request.logprobs === undefined ? null : completionLogprobs(this.#model.tokenizer, located);
  }

  #reason({ finishReason }: Completion): string {
    return this.#request.max_tokens === 0 ? 'length' : finishReason;
  }

  /** The text and the tokens to show, the prompt's before the first of a reply. */
  #take({ index, text, tokens, promptTokens, completion }: Progress): { text: string; located: Located[] } {
    const { n = 1, echo = false, logprobs, max_tokens: maxTokens, stop = [] } = this.#request;
    const prompt = this.#prompts[Math.floor(index / n)] ?? [];
    const locator = this.#locators[index];
    if (!locator) return { text: '', located: [] };
    const located: Located[] = [];
    let shown = '';
    if (echo && !this.#begun.has(index)) {
      shown = this.#model.tokenizer.decode(prompt, { skipSpecialTokens: true });
      if (logprobs !== undefined) located.push(...locator.takePrompt(prompt, promptTokens));
    }
    this.#begun.add(index);
    if (maxTokens === 0) return { text: shown, located };
    if (logprobs !== undefined) {
      located.push(...locator.take(tokens, text));
      if (completion) located.push(...locator.flush(completion.finishReason === 'stop' && stop.length > 0));
      // As OpenAI's does; harnesses count on one token after the prompt, whichever it is.
      if (completion?.stopToken) located.push(...locator.takeLast(completion.stopToken));
    }
    return { text: shown + text, located };
  }
}
