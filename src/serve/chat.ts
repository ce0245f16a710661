// POST /v1/chat/completions: the answer to a conversation.
import type { Context } from 'hono';
import type { LanguageModel } from '../generate/model.ts';
import type { Tool, ToolCallStyle } from '../generate/tool-calls.ts';
import { markersOf, markerTokens, takesTools, toolCallStyleOf } from '../generate/tool-style.ts';
import { answer } from './answer.ts';
import { ChatVoice, type ChatForm } from './chat-voice.ts';
import { RequestError } from './errors.ts';
import { callsWanted, lengthOf, messagesOf, toolsOf } from './messages.ts';
import { textOptions } from './options.ts';
import { requireShort } from './prompts.ts';
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
  const tools = toolsOf(request);
  const wanted = callsWanted(request);
  const work = await begin(c, service, request.model, n);
  try {
    const { model, adapter, signal } = work;
    requireShort(model, lengthOf([messages, tools, request.chat_template_kwargs]));
    const form = formOf(model, service.pool.toolCallStyle(work.record.model), tools);
    const rendered = model.chatTemplate.renderMarked(messages, {
      ...(tools.length > 0 && { tools }),
      variables: request.chat_template_kwargs,
    });
    const startsThinking = /<think>\s*$/.test(rendered.text);
    const mayThink = form.kept.some((id) => id === model.tokenizer.idOf('<think>'));
    const calls = wanted &&
      form.style && {
        ...wanted,
        style: form.style,
        markers: markersOf(model.chatTemplate, form.style),
        thinks: startsThinking ? ('begun' as const) : mayThink ? ('maybe' as const) : ('never' as const),
        kept: form.kept,
      };
    const options = textOptions(request, {
      calls,
      adapter,
      signal,
      tenant: c.var.tenant,
      maxTokens: request.max_completion_tokens ?? request.max_tokens ?? model.contextLength,
      topLogprobs,
      keepSpecialTokens: form.kept,
    });
    const replies = model.samples(model.chatTemplate.tokensOf(rendered), { ...options, n }, false);
    const voice = new ChatVoice(model, request, { ...form, startsThinking });
    const { stream = false, stream_options: { include_usage: includeUsage = false } = {} } = request;
    return await answer(c, service, work, replies, voice, { stream, includeUsage, perPrompt: n });
  } catch (error) {
    work.end();
    throw error;
  }
}

/** Errors: `unsupported-parameter` where the model was not made to call tools. */
function formOf(
  { chatTemplate, tokenizer, name }: LanguageModel,
  wanted: ToolCallStyle | undefined,
  tools: readonly Tool[],
): Omit<ChatForm, 'startsThinking'> {
  if (tools.length > 0 && !takesTools(chatTemplate)) {
    throw new RequestError('unsupported-parameter', `tools: the chat template of ${name} has no place for them.`, {
      status: 400,
      param: 'tools',
    });
  }
  const style = tools.length === 0 ? undefined : (wanted ?? toolCallStyleOf(chatTemplate, tokenizer));
  return { style, tools, kept: markerTokens(tokenizer, style) };
}
