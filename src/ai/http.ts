// Answers of `lfm serve`, or of another server of OpenAI's protocol, over HTTP.
import * as z from 'zod';
import type { ChatMessage } from '../generate/chat.ts';
import { eventData } from '../serve/event-data.ts';
import { LfmError } from '../tensor/error.ts';
import type { Call } from './call.ts';
import { unsupported } from './call.ts';
import type { AnswerEvent, TokenLogprob } from './parts.ts';
import { ServerError } from './server-error.ts';

export interface Server {
  /** With the version: http://127.0.0.1:8080/v1. */
  readonly baseURL: string;
  readonly apiKey: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly fetch: typeof globalThis.fetch;
}

type Headers = Readonly<Record<string, string | undefined>>;

/** Errors: `ServerError` for what is not 200; `server-unreachable`; the signal's reason. */
export async function post(
  server: Server,
  path: string,
  body: object,
  headers: Headers,
  signal: AbortSignal | undefined,
): Promise<Response> {
  const url = `${server.baseURL.replace(/\/+$/, '')}/${path}`;
  const all: Headers = {
    'content-type': 'application/json',
    ...(server.apiKey !== undefined && { authorization: `Bearer ${server.apiKey}` }),
    ...server.headers,
    ...headers,
  };
  const given = Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]));
  const request = { method: 'POST', headers: Object.fromEntries(given), body: JSON.stringify(body) };
  let response: Response;
  try {
    response = await server.fetch(url, { ...request, ...(signal && { signal }) });
  } catch (cause) {
    if (signal?.aborted) throw signal.reason;
    const message = `There is no answer from ${url}: is the server running? \`lfm serve\` starts one.`;
    throw new ServerError('server-unreachable', message, { url, body, cause });
  }
  if (response.ok) return response;
  const text = await response.text();
  throw ServerError.of(url, body, response, text);
}

const text = z.string().nullish();
const count = z.number().nullish();
const logprob = z.object({ token: z.string(), logprob: z.number() });
const chunkSchema = z.object({
  id: text,
  model: text,
  choices: z
    .array(
      z.object({
        delta: z.object({
          content: text,
          reasoning_content: text,
          tool_calls: z
            .array(
              z.object({
                index: z.number(),
                id: text,
                function: z.object({ name: text, arguments: text }).nullish(),
              }),
            )
            .nullish(),
        }),
        finish_reason: text,
        logprobs: z
          .object({ content: z.array(logprob.extend({ top_logprobs: z.array(logprob).nullish() })).nullish() })
          .nullish(),
      }),
    )
    .default([]),
  usage: z
    .object({
      prompt_tokens: count,
      completion_tokens: count,
      prompt_tokens_details: z.object({ cached_tokens: count }).nullish(),
      completion_tokens_details: z.object({ reasoning_tokens: count }).nullish(),
    })
    .nullish(),
  error: z.object({ message: z.string(), code: text }).optional(),
});

/** Errors: those of `post`; `bad-answer` for what is not the protocol's, `answer-cut`, the server's own. */
export async function* answerOverHttp(
  server: Server,
  modelId: string,
  call: Call,
): AsyncGenerator<AnswerEvent, void, undefined> {
  const response = await post(server, 'chat/completions', bodyOf(modelId, call), call.headers, call.signal);
  const warnings = call.adapter === undefined ? [] : [unsupported('providerOptions.lfm.adapter', 'not over HTTP')];
  let hasBegun = false;
  let finishReason: string | undefined;
  let usage: z.output<typeof chunkSchema>['usage'];
  let calling: number | undefined;
  const logprobs: TokenLogprob[] = [];
  for await (const data of eventsOf(response, call.signal)) {
    const chunk = readChunk(data);
    if (chunk.error) throw new LfmError(chunk.error.code ?? 'server-error', chunk.error.message);
    if (!hasBegun) yield { type: 'begin', id: chunk.id ?? '', modelId: chunk.model ?? modelId, warnings };
    hasBegun = true;
    usage = chunk.usage ?? usage;
    for (const { delta, finish_reason: reason, logprobs: found } of chunk.choices) {
      if (delta.reasoning_content) yield { type: 'reasoning', text: delta.reasoning_content };
      if (delta.content) yield { type: 'text', text: delta.content };
      for (const { index, id, function: called } of delta.tool_calls ?? []) {
        if (index !== calling) yield { type: 'call', id: id ?? `call_${index}`, name: called?.name ?? '' };
        calling = index;
        if (called?.arguments) yield { type: 'input', text: called.arguments };
      }
      for (const { token, logprob, top_logprobs: top } of found?.content ?? [])
        logprobs.push({ token, logprob, ...(top && { top }) });
      finishReason = reason ?? finishReason;
    }
  }
  if (finishReason === undefined) throw new LfmError('answer-cut', 'The server ended its answer before it was whole.');
  yield {
    type: 'end',
    finishReason,
    promptTokens: usage?.prompt_tokens ?? undefined,
    cachedTokens: usage?.prompt_tokens_details?.cached_tokens ?? undefined,
    completionTokens: usage?.completion_tokens ?? undefined,
    reasoningTokens: usage?.completion_tokens_details?.reasoning_tokens ?? undefined,
    logprobs: call.wantsLogprobs ? logprobs : undefined,
  };
}

function readChunk(data: string): z.output<typeof chunkSchema> {
  try {
    return chunkSchema.parse(JSON.parse(data));
  } catch (cause) {
    const message = `Expected a chunk of /v1/chat/completions; found ${data.slice(0, 200)}.`;
    throw new LfmError('bad-answer', message, { cause });
  }
}

function bodyOf(modelId: string, call: Call): object {
  const { sampling, tools, schema, variables } = call;
  return {
    model: modelId,
    messages: call.messages.map(messageOf),
    stream: true,
    stream_options: { include_usage: true },
    max_completion_tokens: call.maxTokens,
    temperature: sampling.temperature,
    top_p: sampling.topP,
    top_k: sampling.topK,
    min_p: sampling.minP,
    typical_p: sampling.typicalP,
    repetition_penalty: sampling.repetitionPenalty,
    presence_penalty: sampling.presencePenalty,
    frequency_penalty: sampling.frequencyPenalty,
    logit_bias: sampling.logitBias,
    seed: sampling.seed,
    stop: call.stop,
    tools: tools.length > 0 ? tools : undefined,
    response_format: schema && { type: 'json_schema', json_schema: { name: 'answer', schema } },
    regex: call.regex,
    grammar: call.grammar,
    logprobs: call.wantsLogprobs || undefined,
    top_logprobs: call.wantsLogprobs ? sampling.topLogprobs : undefined,
    chat_template_kwargs: Object.keys(variables).length > 0 ? variables : undefined,
  };
}

function messageOf({ role, content, reasoning, toolCalls, name, toolCallId }: ChatMessage): object {
  return {
    role,
    content,
    name,
    reasoning_content: reasoning,
    tool_call_id: toolCallId,
    tool_calls: toolCalls?.map(({ id, name: called, arguments: given }) => ({
      id,
      type: 'function',
      function: { name: called, arguments: JSON.stringify(given) },
    })),
  };
}

/** The data of server-sent events, up to [DONE]. Leaving the loop closes the connection. */
async function* eventsOf({ body }: Response, signal: AbortSignal | undefined): AsyncGenerator<string, void, undefined> {
  if (!body) return;
  try {
    for await (const data of eventData(body)) {
      if (data === '[DONE]') return;
      yield data;
    }
  } catch (cause) {
    if (signal?.aborted) throw signal.reason;
    if (cause instanceof LfmError) throw cause;
    throw new LfmError('answer-cut', 'The connection to the server broke before the answer was whole.', { cause });
  }
}
