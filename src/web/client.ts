// The entry point `lfm/worker`: a model that runs in a worker of this browser tab, with the shape of a LanguageModel's chat.
import * as z from 'zod';
import type { ChatMessage, ChatOptions } from '../generate/chat.ts';
import type { TextOptions } from '../generate/model.ts';
import type { Details, TextStream } from '../generate/reply.ts';
import type { ObjectOf, ObjectSchema } from '../generate/object.ts';
import { isTyped, objectReader } from '../generate/object.ts';
import { Reply } from '../generate/reply.ts';
import type { ReplyForm } from '../generate/reply-form.ts';
import type { JsonObject } from '../files/json.ts';
import { LfmError } from '../tensor/error.ts';
import type { Answer, Line, Numbered, Question, SentOptions } from './messages.ts';
import type { TabInfo, TabLoadSettings, TabProgress, TabStatus } from './messages.ts';

export type { TabEngine, TabInfo, TabProgress, TabStatus } from './messages.ts';
export type { ChatMessage, ChatOptions } from '../generate/chat.ts';
export type { Completion, Details, Reply, Usage } from '../generate/reply.ts';

export interface TabOptions extends TabLoadSettings {
  readonly onProgress?: ((progress: TabProgress) => void) | undefined;
  /** Ends the loading, and the worker with it. */
  readonly signal?: AbortSignal | undefined;
  /** The worker's script, where it is not beside this file. */
  readonly worker?: string | URL | undefined;
}

const nothing: Details = {
  usage: { promptTokens: 0, completionTokens: 0, cachedTokens: 0 },
  tokens: [],
  promptTokens: [],
};

/**
 * Loads a model into a worker of its own: by the URL of a folder with config.json, model.safetensors and tokenizer.json, or of a
 * .gguf file. The browser keeps the weights. Dispose it, or hold it with `await using`: the worker's memory is freed then.
 * Errors: those of `load`, `onnx-library-missing`, `tab-failed`; the reason of `signal`.
 */
export async function loadInTab(url: string | URL, options: TabOptions = {}): Promise<TabModel> {
  const { onProgress, signal, worker: script = new URL('./worker.js', import.meta.url), ...settings } = options;
  signal?.throwIfAborted();
  const worker = new Worker(script, { type: 'module', name: 'lfm' });
  const talk = new Talk(worker);
  const failed = new Promise<never>((_, reject) => {
    const fail = ({ message }: ErrorEvent) =>
      reject(new LfmError('tab-failed', `The worker of ${String(script)} failed: ${message || 'it did not load'}.`));
    worker.addEventListener('error', fail);
    signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  try {
    const whole = (given: string | URL) => new URL(given, globalThis.location?.href).href;
    const adapters = Object.entries(settings.adapters ?? {}).map(([name, folder]) => [name, whole(folder)]);
    const asked = { ...settings, adapters: Object.fromEntries(adapters) };
    const info = await Promise.race([failed, opened(talk, whole(url), asked, onProgress)]);
    return new TabModel(talk, info, () => worker.terminate());
  } catch (error) {
    worker.terminate();
    throw error;
  }
}

async function opened(
  talk: Talk,
  url: string,
  settings: TabLoadSettings,
  onProgress: TabOptions['onProgress'],
): Promise<TabInfo> {
  for await (const answer of talk.ask({ kind: 'load', url, settings })) {
    if (answer.kind === 'progress') onProgress?.(answer);
    if (answer.kind === 'loaded') return answer.info;
  }
  throw new LfmError('tab-failed', 'The worker ended before the model was loaded.');
}

/** A model in a worker. */
export class TabModel implements AsyncDisposable {
  readonly info: TabInfo;
  readonly #talk: Talk;
  readonly #end: () => void;

  /** Takes the line over. */
  constructor(talk: Talk, info: TabInfo, end: () => void) {
    this.#talk = talk;
    this.info = info;
    this.#end = end;
  }

  /** Tokens that prompt and answer may have together. */
  get contextLength(): number {
    return this.info.contextLength;
  }

  /** Whether it has a chat template. */
  get chats(): boolean {
    return this.info.chats;
  }

  /** Answers the last message. Errors, once the reply is read: as LanguageModel's. */
  chat(messages: readonly ChatMessage[], options: TextOptions & ChatOptions = {}): Reply {
    return this.#write((sent) => ({ kind: 'chat', messages, options: sent }), options);
  }

  /** How `ReplyParts` is to read the answer to these messages. Errors: as `chat`. */
  async replyForm(messages: readonly ChatMessage[], options: ChatOptions = {}): Promise<ReplyForm> {
    for await (const answer of this.#talk.ask({ kind: 'form', messages, options }))
      if (answer.kind === 'form') return answer.form;
    throw closed();
  }

  /** Continues a text. Errors, once the reply is read: as LanguageModel's. */
  generate(text: string, options: TextOptions = {}): Reply {
    return this.#write((sent) => ({ kind: 'generate', text, options: sent }), options);
  }

  /**
   * Asks for what `lfm serve` has under a path, of this model: OpenAI's protocol. It takes the place of `fetch` in clients of that
   * protocol; the host of a URL says nothing. Errors: `model-closed`, the signal's reason.
   */
  readonly fetch = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const request = new Request(input, init);
    const { pathname, search } = new URL(request.url);
    const leaving = new AbortController();
    const body = ['GET', 'HEAD'].includes(request.method) ? null : await request.text();
    const signal = AbortSignal.any([request.signal, leaving.signal]);
    const answers = this.#talk.ask(
      {
        kind: 'request',
        method: request.method,
        path: `${pathname}${search}`,
        type: request.headers.get('content-type'),
        body,
      },
      signal,
    );
    const { value: head } = await answers.next();
    if (head?.kind !== 'head') throw closed();
    const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start(controller) {
        signal.addEventListener('abort', () => {
          controller.error(signal.reason);
          // It may wait for somebody to read on.
          void answers.return();
        });
      },
      async pull(controller) {
        const { value } = await answers.next();
        if (value?.kind === 'bytes') controller.enqueue(value.bytes);
        else controller.close();
      },
      cancel: () => leaving.abort(new LfmError('cancelled', 'The answer was left.')),
    });
    return new Response(stream, { status: head.status, headers: head.headers });
  };

  /** Texts under way, the state cache and the memory of the engine. */
  async status(): Promise<TabStatus> {
    for await (const answer of this.#talk.ask({ kind: 'status' })) if (answer.kind === 'status') return answer.status;
    throw closed();
  }

  /** Ends the worker; replies under way fail with `model-closed`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#end();
    this.#talk.close();
  }

  #write<S extends ObjectSchema | undefined>(
    question: (options: SentOptions) => Question,
    { signal, schema, ...options }: TextOptions<S> & ChatOptions,
  ): Reply<ObjectOf<S>> {
    let details = nothing;
    const asked = async () => question({ ...options, schema: await sentSchema(schema) });
    const stream = this.#stream(asked, signal, (found) => (details = found));
    return new Reply(stream, () => details, objectReader(schema));
  }

  async *#stream(
    question: () => Promise<Question>,
    signal: AbortSignal | undefined,
    onEnd: (details: Details) => void,
  ): TextStream {
    for await (const answer of this.#talk.ask(await question(), signal)) {
      if (answer.kind === 'piece') yield answer.text;
      if (answer.kind === 'end') {
        onEnd(answer.details);
        return answer.finishReason;
      }
    }
    throw closed();
  }
}

function closed(): LfmError {
  return new LfmError('model-closed', 'The worker was ended while it was still in use.');
}

/** After these answers more come. */
const unfinished: ReadonlySet<Answer['kind']> = new Set(['piece', 'progress', 'head', 'bytes']);

interface Asked {
  readonly answers: Answer[];
  wake: () => void;
}

/** Questions and their answers over one line. */
export class Talk {
  readonly #line: Line;
  readonly #asked = new Map<number, Asked>();
  #last = 0;
  #isClosed = false;

  constructor(line: Line) {
    this.#line = line;
    line.addEventListener('message', ({ data }: MessageEvent<Numbered<Answer>>) => {
      const asked = this.#asked.get(data.id);
      asked?.answers.push(data);
      asked?.wake();
    });
  }

  /** Answers as they come; leaving the loop cancels what is still under way. Errors: the worker's, `model-closed`, the signal's. */
  async *ask(question: Question, signal?: AbortSignal): AsyncGenerator<Answer, void, undefined> {
    if (this.#isClosed) throw closed();
    signal?.throwIfAborted();
    const id = ++this.#last;
    const asked: Asked = { answers: [], wake: () => undefined };
    this.#asked.set(id, asked);
    const onAbort = () => asked.wake();
    signal?.addEventListener('abort', onAbort);
    let isOver = false;
    this.#line.postMessage({ ...question, id }, {});
    try {
      for (;;) {
        signal?.throwIfAborted();
        if (this.#isClosed) throw closed();
        const answer = asked.answers.shift();
        if (!answer) {
          await new Promise<void>((resolve) => (asked.wake = resolve));
          continue;
        }
        isOver = !unfinished.has(answer.kind);
        if (answer.kind === 'failed') throw new LfmError(answer.code, answer.message);
        yield answer;
        if (isOver) return;
      }
    } finally {
      signal?.removeEventListener('abort', onAbort);
      this.#asked.delete(id);
      if (!isOver && !this.#isClosed) this.#line.postMessage({ kind: 'cancel', id }, {});
    }
  }

  close(): void {
    this.#isClosed = true;
    for (const { wake } of this.#asked.values()) wake();
  }
}

/** A schema of zod has code in it, which cannot be sent. */
async function sentSchema(schema: ObjectSchema | undefined): Promise<JsonObject | undefined> {
  if (!isTyped(schema)) return schema;
  return z.toJSONSchema(schema, { io: 'input' }) as JsonObject;
}
