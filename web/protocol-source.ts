// OpenAI's protocol as a source of answers, read from its event stream: of this machine's server, or of a model in the tab.
import { eventData } from '../src/serve/event-data.ts';
import type { ModelReport } from '../src/serve/inspect.ts';
import type { Asked, Chance, ChatSource, ModelInfo, Piece, Turn } from './source.ts';

/** As fetch. Errors: fit to be shown. */
export type Send = (path: string, init?: Asking) => Promise<Response>;

interface Asking {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string;
  readonly signal?: AbortSignal;
}

export function protocolSource(send: Send): ChatSource {
  const ask = async (path: string, body?: object, signal?: AbortSignal): Promise<Response> => {
    const sent = body && {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    };
    const response = await send(path, { ...sent, ...(signal && { signal }) });
    if (response.ok) return response;
    const { error }: ErrorBody = await response.json().catch(() => ({}));
    throw new Refused(error?.message ?? `The server answered with status ${response.status}.`, error?.code ?? '');
  };
  const askFor = (asked: Asked, signal: AbortSignal) =>
    ask(asked.mode === 'chat' ? '/v1/chat/completions' : '/v1/completions', bodyOf(asked), signal);
  return {
    async models() {
      const { data }: { data: ServedModel[] } = await (await ask('/v1/models')).json();
      return data.map((model): ModelInfo => ({ ...model, contextLength: model.context_length }));
    },
    async *answer(asked, signal) {
      const response = await askFor(asked, signal).catch((error: unknown) => {
        // Whether a model chats is known once it is loaded, which the first question does.
        if (!(error instanceof Refused) || error.code !== 'no_chat_template') throw error;
        const turns = asked.turns.filter(({ role }) => role !== 'system');
        return askFor({ ...asked, mode: 'continue', turns }, signal);
      });
      if (!response.body) throw new Error('The server sent no answer.');
      // Whoever stops reading frees the model's place on the server.
      for await (const data of eventData(response.body)) {
        if (data === '[DONE]') return;
        const chunk: Chunk = JSON.parse(data);
        if (chunk.error) throw new Error(chunk.error.message);
        yield pieceOf(chunk);
      }
      throw new Error('The server ended the answer in the middle.');
    },
    async inspect(model) {
      const report: ModelReport = await (await ask(`/v1/models/${encodeURIComponent(model)}/inspect`)).json();
      return report;
    },
  };
}

class Refused extends Error {
  readonly code: string;

  constructor(message: string, code: string) {
    super(message);
    this.code = code;
  }
}

interface ServedModel {
  readonly id: string;
  readonly loaded: boolean;
  readonly parent?: string | null;
  readonly chats?: boolean;
  readonly context_length?: number;
  readonly engine?: string;
}

interface ErrorBody {
  readonly error?: { readonly message: string; readonly code?: string | null };
}

interface Logprob {
  readonly token: string;
  readonly logprob: number;
  readonly top_logprobs?: readonly Logprob[];
}

/** What a chunk of either endpoint may hold. */
interface Chunk extends ErrorBody {
  readonly choices?: readonly {
    readonly text?: string;
    readonly delta?: {
      readonly content?: string | null;
      readonly reasoning_content?: string | null;
      readonly tool_calls?: readonly {
        readonly index: number;
        readonly id?: string;
        readonly function?: { readonly name?: string; readonly arguments?: string };
      }[];
    };
    readonly logprobs?: {
      readonly content?: readonly Logprob[];
      readonly tokens?: readonly string[];
      readonly token_logprobs?: readonly (number | null)[];
      readonly top_logprobs?: readonly (Readonly<Record<string, number>> | null)[];
    } | null;
    readonly finish_reason?: string | null;
  }[];
  readonly usage?: {
    readonly prompt_tokens: number;
    readonly completion_tokens: number;
    readonly prompt_tokens_details?: { readonly cached_tokens?: number };
  } | null;
  readonly timings?: { readonly predicted_per_second: number };
}

const CHOICES_SHOWN = 8;

function bodyOf({ model, mode, turns, sampling, probabilities, schema, tools }: Asked): object {
  const { maxTokens, temperature, topP, topK, minP, repetitionPenalty, seed } = sampling;
  const common = {
    // Without one, the first is meant.
    model: model === '' ? undefined : model,
    temperature,
    top_p: topP,
    top_k: topK,
    min_p: minP,
    repetition_penalty: repetitionPenalty,
    seed,
    max_tokens: maxTokens,
    stream: true,
    stream_options: { include_usage: true },
  };
  if (mode === 'continue') {
    const prompt = turns.map(({ content }) => content).join('');
    return { ...common, prompt, ...(probabilities && { logprobs: CHOICES_SHOWN }) };
  }
  return {
    ...common,
    messages: turns.map(messageOf),
    ...(probabilities && { logprobs: true, top_logprobs: CHOICES_SHOWN }),
    ...(schema !== undefined && { response_format: { type: 'json_schema', json_schema: { name: 'answer', schema } } }),
    ...(tools !== undefined && { tools }),
  };
}

function messageOf({ role, content, reasoning, toolCalls, toolCallId }: Turn): object {
  return {
    role,
    content,
    reasoning_content: reasoning,
    tool_calls: toolCalls?.map(({ id, name, arguments: text }) => ({
      id,
      type: 'function',
      function: { name, arguments: text },
    })),
    tool_call_id: toolCallId,
  };
}

function pieceOf({ choices = [], usage, timings }: Chunk): Piece {
  const [choice] = choices;
  const { delta, logprobs } = choice ?? {};
  const calls = delta?.tool_calls?.map(({ index, id, function: called }) => ({
    index,
    ...(id !== undefined && { id }),
    ...called,
  }));
  return {
    text: delta?.content ?? choice?.text ?? '',
    reasoning: delta?.reasoning_content ?? '',
    ...(logprobs && { chances: chancesOf(logprobs) }),
    ...(calls && { toolCalls: calls }),
    ...(choice?.finish_reason && { finish: choice.finish_reason }),
    ...(usage && {
      usage: {
        promptTokens: usage.prompt_tokens,
        completionTokens: usage.completion_tokens,
        cachedTokens: usage.prompt_tokens_details?.cached_tokens ?? 0,
        tokensPerSecond: timings?.predicted_per_second ?? 0,
      },
    }),
  };
}

/** Both endpoints' forms as one. */
function chancesOf({
  content,
  tokens = [],
  token_logprobs: logprobs = [],
  top_logprobs: tops = [],
}: Logprobs): Chance[] {
  const likeliestFirst = (others: Chance['others']) => others.toSorted((a, b) => b.logprob - a.logprob);
  if (content) {
    return content.map(({ token, logprob, top_logprobs: top = [] }) => ({
      text: token,
      logprob,
      others: likeliestFirst(top.map((each) => ({ text: each.token, logprob: each.logprob }))),
    }));
  }
  return tokens.map((text, index) => ({
    text,
    logprob: logprobs[index] ?? 0,
    others: likeliestFirst(Object.entries(tops[index] ?? {}).map(([other, logprob]) => ({ text: other, logprob }))),
  }));
}

type Logprobs = NonNullable<NonNullable<Chunk['choices']>[number]['logprobs']>;
