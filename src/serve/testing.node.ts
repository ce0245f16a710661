// For tests: servers on free ports, requests with any header, and a model that says what it is told to.
import { request as httpRequest } from 'node:http';
import { openEngine } from '#engine';
import { ChatTemplate } from '../generate/chat.ts';
import { Generator } from '../generate/generator.ts';
import { load } from '../generate/load.ts';
import { LanguageModel } from '../generate/model.ts';
import type { GenerateOptions } from '../generate/scheduler.ts';
import { Scheduler } from '../generate/scheduler.ts';
import { TokenStream } from '../generate/stream.ts';
import { corpus, upload } from '../generate/testing.node.ts';
import { defineModel, initialise, layer, shortConv, swiglu } from '../liquid/index.ts';
import { trainBpe } from '../text/bpe-train.ts';
import { Tokenizer } from '../text/tokenizer.ts';
import type { RunningServer, ServeOptions } from './server.node.ts';
import { serve } from './server.node.ts';

export const brook: ServeOptions['models'] = [
  { name: 'brook-7m', load: (signal) => load('brook-7m', { engine: { name: 'onnx', threads: 1 }, signal }) },
];

/** Once its first model is loaded. */
export async function startServer(options: Partial<ServeOptions> = {}): Promise<RunningServer> {
  const server = await serve({ models: brook, port: 0, onRequest: () => undefined, ...options });
  await server.ready;
  return server;
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly text: string;
}

/** As fetch, with any header: fetch sets some of its own. */
export function raw(url: string, headers: Record<string, string>, body?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest(url, { method: body === undefined ? 'GET' : 'POST', headers }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (piece: string) => (text += piece));
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, text }));
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

export const json = { 'content-type': 'application/json' };

export const post = (url: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> =>
  raw(url, { ...json, ...headers }, JSON.stringify(body));

export const ask = (url: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> =>
  post(`${url}/v1/completions`, body, headers);

class Counted extends TokenStream {
  readonly #count: () => void;

  constructor(count: () => void, signal: AbortSignal | undefined) {
    super(async () => undefined, signal);
    this.#count = count;
    signal?.addEventListener('abort', () => this.fail(signal.reason));
  }

  override next(): ReturnType<TokenStream['next']> {
    this.#count();
    return super.next();
  }
}

/** Says `replies` in turn, token by token, and keeps the prompts; after the last it says nothing, and does not end. */
class Script extends Scheduler {
  /** Tokens that were asked for. */
  taken = 0;
  readonly prompts: number[][] = [];
  replies: readonly (readonly number[])[] = [];

  override generateAll(
    prompt: readonly number[],
    { n = 1, maxTokens = 256 }: GenerateOptions,
    signal?: AbortSignal,
  ): TokenStream[] {
    this.generator.check(prompt);
    this.prompts.push([...prompt]);
    return Array.from({ length: n }, () => {
      const [reply] = this.replies;
      this.replies = this.replies.slice(1);
      const stream = new Counted(() => this.taken++, signal);
      if (!reply) return stream;
      for (const id of reply.slice(0, maxTokens)) stream.push({ id, logprob: -0.5 });
      stream.end(reply.length > maxTokens ? 'length' : 'stop');
      return stream;
    });
  }
}

const controls = ['<|tool_call_start|>', '<|tool_call_end|>', '<think>', '</think>'];

/** A model of random weights that says what `say` is given, or what it likes; `template` is its chat template. */
export async function scriptedModel(template: string, isScripted = true) {
  const trained = (await trainBpe([corpus], { vocabSize: 300 })).definition;
  const added = controls
    .filter((content) => !trained.addedTokens.some((token) => token.content === content))
    .map((content, i) => ({ id: trained.tokens.length + i, content, special: true, normalized: false }));
  const tokenizer = new Tokenizer({ ...trained, addedTokens: [...trained.addedTokens, ...added] });
  const definition = defineModel({
    vocabSize: tokenizer.vocabSize,
    hiddenSize: 8,
    contextLength: 4096,
    layers: [layer(shortConv({ kernel: 3 }), swiglu({ intermediateSize: 8 }))],
  });
  const engine = await openEngine({ name: 'reference' });
  const generator = new Generator(engine, definition, await upload(engine, definition, initialise(definition, 1)));
  const scheduler = new Script(generator);
  const chatTemplate = new ChatTemplate(tokenizer, { default: template }, { bos_token: '<|startoftext|>' });
  const parameters = { rowsIn: () => undefined };
  const model = new LanguageModel({
    name: 'scripted',
    scheduler: isScripted ? scheduler : new Scheduler(generator),
    tokenizer,
    parameters,
    chatTemplate,
    engine,
    ownsEngine: true,
  });
  return {
    model,
    say: (...texts: readonly string[]) => {
      scheduler.replies = texts.map((text) =>
        Array.from(tokenizer.encode(text, { addSpecialTokens: false, parseSpecialTokens: true })),
      );
    },
    /** Tokens that were read of what it says. */
    taken: () => scheduler.taken,
    /** The prompt that was asked last, with its control tokens. */
    prompt: () => tokenizer.decode(scheduler.prompts.at(-1) ?? []),
  };
}
