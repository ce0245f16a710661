// Answers of a model in this process, or in a worker of this browser tab.
import type { SharedV4Warning } from '@ai-sdk/provider';
import type { JsonObject } from '../files/json.ts';
import type { ChatMessage, ChatOptions } from '../generate/chat.ts';
import type { TextOptions } from '../generate/model.ts';
import { ReplyParts, type ReplyPart } from '../generate/reply-parts.ts';
import type { Completion } from '../generate/reply.ts';
import type { ReplyForm } from '../generate/reply-form.ts';
import type { Choice } from '../generate/sampler.ts';
import type { Call } from './call.ts';
import { unsupported } from './call.ts';
import type { AnswerEvent, TokenLogprob } from './parts.ts';

/** Types that are the same in every package: a draft is a class of ours, a schema of zod one of some version of it. */
type Options = Omit<TextOptions<JsonObject | undefined> & ChatOptions, 'draft'>;
type Writing = AsyncIterable<string> & PromiseLike<Pick<Completion, 'finishReason' | 'usage' | 'tokens'>>;

/** What is needed of a LanguageModel, or of a TabModel, which has neither tokenizer nor embeddings. */
export interface LocalModel {
  readonly contextLength: number;
  readonly chats: boolean;
  readonly tokenizer?: { decode(ids: readonly number[]): string };
  chat(messages: readonly ChatMessage[], options?: Options): Writing;
  generate(text: string, options?: Options): Writing;
  replyForm(messages: readonly ChatMessage[], options?: ChatOptions): ReplyForm | Promise<ReplyForm>;
  embed?(text: string, options?: { readonly signal?: AbortSignal | undefined }): Promise<Float32Array>;
  encode?(text: string): readonly number[];
}

/** Errors: those of `LanguageModel.chat`. */
export async function* answerLocally(
  model: LocalModel,
  modelId: string,
  call: Call,
): AsyncGenerator<AnswerEvent, void, undefined> {
  const { form, writing, warnings } = await ask(model, modelId, call);
  const parts = new ReplyParts({ ...form, tools: call.tools });
  const begin: AnswerEvent = { type: 'begin', id: `lfm-${crypto.randomUUID()}`, modelId, warnings };
  let hasBegun = false;
  for await (const piece of writing) {
    if (!hasBegun) yield begin;
    hasBegun = true;
    for (const part of parts.push(piece)) yield* eventsOf(part);
  }
  if (!hasBegun) yield begin;
  for (const part of parts.flush()) yield* eventsOf(part);
  const { finishReason, usage, tokens } = await writing;
  const end = tokens.findIndex(({ id }) => id === form.endOfThought);
  yield {
    type: 'end',
    finishReason,
    ...usage,
    reasoningTokens: end < 0 ? undefined : end + 1,
    logprobs: call.wantsLogprobs ? tokens.map((token) => logprobOf(model, token)) : undefined,
  };
}

async function ask(
  model: LocalModel,
  modelId: string,
  call: Call,
): Promise<{ readonly form: ReplyForm; readonly writing: Writing; readonly warnings: SharedV4Warning[] }> {
  const { messages, tools, sampling, maxTokens = model.contextLength, stop, variables, signal } = call;
  const { schema, regex, grammar, adapter } = call;
  const options = { ...sampling, maxTokens, stop, schema, regex, grammar, adapter, signal };
  const warnings: SharedV4Warning[] = [];
  if (!model.chats) {
    const details = `${modelId} is a base model: it goes on with the text of the messages and does not answer it`;
    warnings.push({ type: 'compatibility', feature: 'chat', details });
    if (tools.length > 0) warnings.push(unsupported('tools', `${modelId} has no chat template`));
    const text = messages.map(({ content }) => content).join('\n\n');
    return { form: { kept: [], startsThinking: false }, writing: model.generate(text, options), warnings };
  }
  const chat = { variables, ...(tools.length > 0 && { tools }) };
  const form = await model.replyForm(messages, chat);
  if (tools.length > 0 && form.style === undefined)
    warnings.push(unsupported('tools', `the chat template of ${modelId} has no place for them`));
  return { form, writing: model.chat(messages, { ...options, ...chat, keepSpecialTokens: form.kept }), warnings };
}

function* eventsOf(part: ReplyPart): Generator<AnswerEvent> {
  if (part.type !== 'call') return yield part;
  const { name, arguments: given } = part.call;
  yield { type: 'call', id: `call_${crypto.randomUUID().replaceAll('-', '').slice(0, 24)}`, name };
  yield { type: 'input', text: JSON.stringify(given) };
}

function logprobOf({ tokenizer }: LocalModel, { id, logprob, top }: Choice): TokenLogprob {
  const named = (each: { readonly id: number; readonly logprob: number }) => ({
    ...each,
    ...(tokenizer && { token: tokenizer.decode([each.id]) }),
  });
  return { ...named({ id, logprob }), ...(top && { top: top.map(named) }) };
}
