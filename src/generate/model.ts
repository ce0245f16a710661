// A language model ready for use: text in, text out. Where its files come from is not known here.
import type { Engine } from '../engines/engine.ts';
import { openAdapter } from '#source';
import type { Model } from '../liquid/index.ts';
import type { ParameterReader } from '../models/index.ts';
import type { Tokenizer } from '../text/tokenizer.ts';
import { LfmError } from '../tensor/index.ts';
import { loadAdapter } from './adapter.ts';
import type { ChatMessage, ChatOptions, ChatTemplate } from './chat.ts';
import type { ConversationOptions } from './conversation.ts';
import { Conversation } from './conversation.ts';
import type { Generator } from './generator.ts';
import type { AskedCalls } from './grammar/calls.ts';
import type { ObjectOf, ObjectSchema } from './object.ts';
import { objectReader } from './object.ts';
import type { TextStream } from './reply.ts';
import { Reply } from './reply.ts';
import type { ReplyForm } from './reply-form.ts';
import { replyForm } from './reply-form.ts';
import type { Choice, SamplingOptions } from './sampler.ts';
import type { CacheStatistics } from './prefix-cache.ts';
import type { GenerateOptions, RequestOptions, Scheduler } from './scheduler.ts';
import type { FetchOptions } from './source.ts';
import { disposeBuffers } from './state.ts';
import { StopFinder } from './stop.ts';
import type { FinishReason, TokenStream } from './stream.ts';
import { decodingOf } from './tool-style.ts';

export interface TextOptions<S extends ObjectSchema | undefined = ObjectSchema | undefined> extends Omit<
  GenerateOptions,
  'n' | 'stopIds' | 'constraint' | 'draft'
> {
  /** A smaller model of the same vocabulary that guesses ahead: the same tokens, sooner. Default: the one that was loaded with this. */
  readonly draft?: LanguageModel | undefined;
  /** Tokens that the draft guesses at once. Default 4; 0: it does not. */
  readonly draftTokens?: number | undefined;
  /** The text is JSON of this schema, a JSON Schema or one of zod, and the reply's `object` its value. */
  readonly schema?: S;
  /** The text matches this whole regular expression, in the spelling of JavaScript. */
  readonly regex?: string | undefined;
  /** The text is the rule `root` of this grammar: `root ::= "yes" | "no"`. Of schema, regex and grammar only one. */
  readonly grammar?: string | undefined;
  /** The text is calls of tools, or has such where it calls at all; with `keepSpecialTokens`, in place of the three above. */
  readonly calls?: AskedCalls | undefined;
  /** The text ends before any of these, even where one lies across tokens. */
  readonly stop?: string | readonly string[] | undefined;
  /** Control tokens that the model writes, all or these, stand in the text, as `parseToolCalls` needs them. Default false. */
  readonly keepSpecialTokens?: boolean | readonly number[] | undefined;
  /** Ends the generation with the signal's reason as error. */
  readonly signal?: AbortSignal | undefined;
}

export interface LanguageModelParts {
  readonly name: string;
  readonly scheduler: Scheduler;
  readonly tokenizer: Tokenizer;
  /** Where the checkpoint holds each parameter: an adapter names its matrices so. */
  readonly parameters: Pick<ParameterReader, 'rowsIn'>;
  /** Absent: a base model, which does not chat. */
  readonly chatTemplate?: ChatTemplate | undefined;
  /** Used where a call does not say. */
  readonly sampling?: SamplingOptions;
  /** Tokens that end a text. */
  readonly stopIds?: readonly number[];
  /** Guesses ahead where a request does not say; disposed with the model where it is its own. */
  readonly draft?:
    | { readonly model: LanguageModel; readonly tokens?: number | undefined; readonly isOwned: boolean }
    | undefined;
  readonly engine: Engine;
  /** Whether the engine is closed with the model. */
  readonly ownsEngine?: boolean;
  /** Goes with requests for files by URL, as those of adapters are in a browser. */
  readonly headers?: FetchOptions['headers'];
  /** Closes what weights may be read from again. */
  readonly close?: () => Promise<void>;
}

export class LanguageModel implements AsyncDisposable {
  readonly name: string;
  readonly tokenizer: Tokenizer;
  /** The same model over token ids, for those who have no text. */
  readonly scheduler: Scheduler;
  readonly #parts: LanguageModelParts;
  /** Models that may guess for this one. */
  readonly #drafts = new WeakSet<LanguageModel>();

  /** Takes over the scheduler. Errors: `vocabulary-mismatch`, `draft-mismatch`. */
  constructor(parts: LanguageModelParts) {
    const { name, tokenizer, scheduler } = parts;
    requireFit(tokenizer, scheduler.generator.model);
    this.name = name;
    this.tokenizer = tokenizer;
    this.scheduler = scheduler;
    this.#parts = parts;
    if (parts.draft) this.#requireDraft(parts.draft.model);
  }

  /** One step of the model, for measurements. */
  get generator(): Generator {
    return this.scheduler.generator;
  }

  /** The architecture: layers, parameters, states. */
  get definition(): Model {
    return this.generator.model;
  }

  /** Tokens that prompt and answer may have together. */
  get contextLength(): number {
    return this.generator.contextLength;
  }

  /** Whether it has a chat template. */
  get chats(): boolean {
    return this.#parts.chatTemplate !== undefined;
  }

  /** Tokens that end its texts. */
  get stopIds(): readonly number[] {
    return this.#parts.stopIds ?? [];
  }

  /** The engine it runs on, for people. */
  get engine(): string {
    return this.#parts.engine.description;
  }

  /** What is kept of earlier texts for those that begin alike, and what that has spared. */
  get cache(): CacheStatistics {
    return this.scheduler.cache;
  }

  /** Names of the adapters that requests may ask for. */
  get adapters(): readonly string[] {
    return this.generator.adapters;
  }

  /**
   * Loads a LoRA adapter from a folder of peft's (in a browser: its URL) for requests that name it as their `adapter`; what runs
   * goes on. Errors: `adapter-exists`, `adapter-missing`, `adapter-mismatch` for another model's, `bad-adapter` for what is not
   * plain LoRA, `safetensors-…` for a damaged file.
   */
  async loadAdapter(name: string, folder: string): Promise<void> {
    const source = await openAdapter(folder, { headers: this.#parts.headers });
    try {
      const { engine, parameters } = this.#parts;
      const adapter = await loadAdapter(engine, this.definition, parameters, source, name);
      try {
        this.generator.addAdapter(adapter);
      } catch (error) {
        disposeBuffers(adapter.buffers);
        throw error;
      }
    } finally {
      await source.close();
    }
  }

  /** Forgets an adapter; texts that run under it go on to their end. Errors: `unknown-adapter`. */
  async unloadAdapter(name: string): Promise<void> {
    await this.generator.removeAdapter(name);
  }

  /**
   * Continues a text. Calls under way at the same time share the model's steps. Errors, once the reply is read: `context-full`,
   * `empty-prompt`, `bad-limit`, `bad-sampling`, `queue-full`, `model-closed`, the signal's reason; `bad-schema`, `bad-regex`,
   * `bad-grammar` or `bad-tools` for what cannot be followed or is too large.
   */
  generate<S extends ObjectSchema | undefined = undefined>(
    text: string,
    options: TextOptions<S> = {},
  ): Reply<ObjectOf<S>> {
    return this.continue(this.encode(text), options);
  }

  /** Answers the last message. Errors: `no-chat-template` for a base model, `bad-messages`, and those of `generate`. */
  chat<S extends ObjectSchema | undefined = undefined>(
    messages: readonly ChatMessage[],
    options: TextOptions<S> & ChatOptions = {},
  ): Reply<ObjectOf<S>> {
    return this.continue(this.chatTemplate.encode(messages, options), options, options.continueFinalMessage ?? false);
  }

  /** How `ReplyParts` is to read the answer to these messages. Errors: as `chat`. */
  replyForm(messages: readonly ChatMessage[], options: ChatOptions = {}): ReplyForm {
    return replyForm(this.chatTemplate, this.tokenizer, messages, options);
  }

  /** A chat that remembers what was said, and the state that goes with it. Errors: `no-chat-template`. */
  conversation(options: ConversationOptions = {}): Conversation {
    return new Conversation(this, options);
  }

  /**
   * Continues a text, or a prompt given as tokens, `n` times; it is computed once. Reading one reply sets all of them going.
   * `goesOn`: as text that goes on where theirs ends, not as an answer.
   * Errors: as `generate`.
   */
  samples<S extends ObjectSchema | undefined = undefined>(
    text: string | readonly number[],
    { n, ...options }: TextOptions<S> & { readonly n: number },
    goesOn = true,
  ): readonly Reply<ObjectOf<S>>[] {
    const prompt = typeof text === 'string' ? this.encode(text) : text;
    let streams: Promise<readonly TokenStream[]> | undefined;
    const open = async () => {
      const settings = await this.#settings(options, goesOn);
      return this.scheduler.generateAll(prompt, { ...settings, n }, options.signal);
    };
    return Array.from({ length: n }, (_, i) =>
      this.#reply(prompt, options, goesOn, async () => (await (streams ??= open()))[i]),
    );
  }

  /** Continues tokens; `goesOn`: as text that goes on where theirs ends. Errors: those of `generate`. */
  continue<S extends ObjectSchema | undefined = undefined>(
    prompt: readonly number[],
    options: TextOptions<S> = {},
    goesOn = true,
  ): Reply<ObjectOf<S>> {
    return this.#reply(prompt, options, goesOn, async () =>
      this.scheduler.generate(prompt, await this.#settings(options, goesOn), options.signal),
    );
  }

  /**
   * Natural logarithms of the probabilities of each choice as the text's continuation; the text is computed once. Where a
   * choice's beginning makes another token of the text's end, that token counts too, for every choice.
   * Errors: `empty-prompt` where text or choice has no token, and those of `generate`.
   */
  async score(
    text: string,
    choices: readonly string[],
    { signal, ...options }: RequestOptions & { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<readonly number[]> {
    const prompt = this.encode(text);
    const wholes = choices.map((choice) => this.encode(text + choice));
    const shared = Math.min(prompt.length, ...wholes.map((whole) => commonLength(prompt, whole)));
    const continuations = wholes.map((whole) => whole.slice(shared));
    return this.scheduler.score(prompt.slice(0, shared), continuations, options, signal);
  }

  /**
   * A text as one vector [hiddenSize]: the mean of the hidden states after the last norm, or that of the last token.
   * Errors: those of `generate`.
   */
  async embed(
    text: string,
    {
      pooling = 'mean',
      signal,
      ...options
    }: RequestOptions & { readonly pooling?: 'mean' | 'last'; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<Float32Array> {
    return this.scheduler.embed(this.encode(text), pooling, options, signal);
  }

  /** A text as the model's tokens. */
  encode(text: string): number[] {
    return Array.from(this.tokenizer.encode(text));
  }

  /** Errors: `no-chat-template`. */
  get chatTemplate(): ChatTemplate {
    const { chatTemplate } = this.#parts;
    if (chatTemplate) return chatTemplate;
    throw new LfmError(
      'no-chat-template',
      `${this.name} is a base model: it has no chat template and was not trained to answer. Use generate, which continues a text.`,
    );
  }

  async #settings(
    { schema, regex, grammar, calls, ...options }: TextOptions,
    goesOn: boolean,
  ): Promise<GenerateOptions> {
    const { sampling = {}, stopIds } = this.#parts;
    const { draft: model = this.#parts.draft?.model, draftTokens = this.#parts.draft?.tokens ?? 4, ...rest } = options;
    const given = Object.entries(rest).filter(([, value]) => value !== undefined);
    const draft =
      model && draftTokens !== 0 ? { generator: this.#requireDraft(model), tokens: draftTokens } : undefined;
    const settings = { ...sampling, ...Object.fromEntries(given), stopIds, draft };
    if ([schema, regex, grammar, calls].every((asked) => asked === undefined)) return settings;
    const { constraintOf } = await import('./grammar/index.ts');
    return { ...settings, constraint: constraintOf({ schema, regex, grammar, calls }, this.tokenizer, goesOn) };
  }

  /** Errors: `draft-mismatch`: a draft's guesses are token ids, which must mean the same in both models. */
  #requireDraft(draft: LanguageModel): Generator {
    if (!this.#drafts.has(draft)) {
      const [mine, theirs] = [this.tokenizer, draft.tokenizer];
      const id = Array.from({ length: Math.max(mine.vocabSize, theirs.vocabSize) }, (_, i) => i).find(
        (i) => mine.tokenOf(i)?.join() !== theirs.tokenOf(i)?.join(),
      );
      if (id !== undefined)
        throw new LfmError(
          'draft-mismatch',
          `${draft.name} cannot guess for ${this.name}: their tokenizers differ, as in token ${id}. Give a draft of the same family.`,
        );
      this.#drafts.add(draft);
    }
    return draft.generator;
  }

  #reply<S extends ObjectSchema | undefined>(
    prompt: readonly number[],
    options: TextOptions<S>,
    goesOn: boolean,
    open: () => Promise<TokenStream | undefined>,
  ): Reply<ObjectOf<S>> {
    const tokens: Choice[] = [];
    let stream: TokenStream | undefined;
    const begin = async () => (stream = await open());
    const details = () => ({
      usage: {
        promptTokens: prompt.length,
        completionTokens: tokens.length,
        cachedTokens: stream?.cachedTokens ?? 0,
      },
      tokens,
      promptTokens: stream?.prompt ?? [],
      stopToken: stream?.stopToken,
    });
    return new Reply(this.#stream(begin, options, goesOn, tokens), details, objectReader(options.schema));
  }

  async *#stream(
    begin: () => Promise<TokenStream | undefined>,
    { stop = [], keepSpecialTokens }: TextOptions,
    goesOn: boolean,
    seen: Choice[],
  ): TextStream {
    const decoder = this.tokenizer.streamDecoder({ ...decodingOf(keepSpecialTokens), continues: goesOn });
    const stops = new StopFinder(typeof stop === 'string' ? [stop] : stop);
    const tokens = await begin();
    if (!tokens) throw new LfmError('no-result', 'A request gave no stream.');
    try {
      let reason: FinishReason | undefined;
      while (!reason) {
        const { done, value } = await tokens.next();
        if (!done) seen.push(value);
        const piece = stops.push(done ? decoder.flush() : decoder.push(value.id));
        if (piece !== '') yield piece;
        if (stops.found) return 'stop';
        if (done) reason = value;
      }
      const rest = stops.flush();
      if (rest !== '') yield rest;
      return reason;
    } finally {
      await tokens.return();
    }
  }

  /** Frees its memory on the engine; replies under way fail with `model-closed`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.scheduler.close();
    const { draft } = this.#parts;
    if (draft?.isOwned) await draft.model[Symbol.asyncDispose]();
    if (this.#parts.ownsEngine) await this.#parts.engine.close();
    await this.#parts.close?.();
  }
}

/** How many tokens two texts begin with alike. */
function commonLength(a: readonly number[], b: readonly number[]): number {
  const most = Math.min(a.length, b.length);
  for (let i = 0; i < most; i++) if (a[i] !== b[i]) return i;
  return most;
}

/** A vocabulary may be smaller than the model's, whose size is often rounded up, but not larger. */
export function requireFit(tokenizer: Tokenizer, model: Model): void {
  if (tokenizer.vocabSize <= model.head.classes) return;
  throw new LfmError(
    'vocabulary-mismatch',
    `The tokenizer has ${tokenizer.vocabSize} tokens, the model ${model.head.classes}: they do not belong together.`,
  );
}
