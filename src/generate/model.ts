// A language model ready for use: text in, text out. Where its files come from is not known here.
import type { Engine } from '../engines/engine.ts';
import type { Model } from '../liquid/index.ts';
import type { Tokenizer } from '../text/tokenizer.ts';
import { LfmError } from '../tensor/index.ts';
import type { ChatMessage, ChatOptions, ChatTemplate } from './chat.ts';
import type { FinishReason, Generator } from './generator.ts';
import type { TextStream } from './reply.ts';
import { Reply } from './reply.ts';
import type { SamplingOptions } from './sampler.ts';
import { StopFinder } from './stop.ts';

export interface TextOptions extends SamplingOptions {
  /** Most tokens to generate. Default 256. */
  readonly maxTokens?: number | undefined;
  /** The text ends before any of these, even where one lies across tokens. */
  readonly stop?: string | readonly string[] | undefined;
  /** Control tokens that the model writes stand in the text, as `parseToolCalls` needs them. Default false. */
  readonly keepSpecialTokens?: boolean | undefined;
  /** Ends the generation with the signal's reason as error. */
  readonly signal?: AbortSignal | undefined;
}

export interface LanguageModelParts {
  readonly name: string;
  readonly generator: Generator;
  readonly tokenizer: Tokenizer;
  /** Absent: a base model, which does not chat. */
  readonly chatTemplate?: ChatTemplate | undefined;
  /** Used where a call does not say. */
  readonly sampling?: SamplingOptions;
  /** Tokens that end a text. */
  readonly stopIds?: readonly number[];
  readonly engine: Engine;
  /** Whether the engine is closed with the model. */
  readonly ownsEngine?: boolean;
}

export class LanguageModel implements AsyncDisposable {
  readonly name: string;
  readonly tokenizer: Tokenizer;
  /** The same model over token ids, for those who have no text. */
  readonly generator: Generator;
  readonly #parts: LanguageModelParts;

  /** Takes over the generator. Errors: `vocabulary-mismatch`. */
  constructor(parts: LanguageModelParts) {
    const { name, tokenizer, generator } = parts;
    requireFit(tokenizer, generator.model);
    this.name = name;
    this.tokenizer = tokenizer;
    this.generator = generator;
    this.#parts = parts;
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

  /** The engine it runs on, for people. */
  get engine(): string {
    return this.#parts.engine.description;
  }

  /**
   * Continues a text. Errors, once the reply is read: `context-full`, `empty-prompt`, `bad-limit`, `bad-sampling`,
   * `model-closed`, the signal's reason.
   */
  generate(text: string, options: TextOptions = {}): Reply {
    return this.#reply(Array.from(this.tokenizer.encode(text)), options, true);
  }

  /** Answers the last message. Errors: `no-chat-template` for a base model, `bad-messages`, and those of `generate`. */
  chat(messages: readonly ChatMessage[], options: TextOptions & ChatOptions = {}): Reply {
    const { chatTemplate } = this.#parts;
    if (!chatTemplate) {
      throw new LfmError(
        'no-chat-template',
        `${this.name} is a base model: it has no chat template and was not trained to answer. Use generate, which continues a text.`,
      );
    }
    return this.#reply(chatTemplate.encode(messages, options), options, options.continueFinalMessage ?? false);
  }

  /** `continues`: the answer goes on where the prompt's text ends. */
  #reply(prompt: readonly number[], options: TextOptions, continues: boolean): Reply {
    const usage = { promptTokens: prompt.length, completionTokens: 0 };
    return new Reply(
      this.#stream(prompt, options, continues, () => usage.completionTokens++),
      () => ({ ...usage }),
    );
  }

  async *#stream(prompt: readonly number[], options: TextOptions, continues: boolean, onToken: () => void): TextStream {
    const { sampling = {}, stopIds } = this.#parts;
    const { stop = [], signal, maxTokens, keepSpecialTokens = false } = options;
    const decoder = this.tokenizer.streamDecoder({ skipSpecialTokens: !keepSpecialTokens, continues });
    const stops = new StopFinder(typeof stop === 'string' ? [stop] : stop);
    const tokens = this.generator.generate(prompt, { ...merge(sampling, options), maxTokens, stopIds }, signal);
    try {
      let reason: FinishReason | undefined;
      while (!reason) {
        const { done, value } = await tokens.next();
        if (!done) onToken();
        const piece = stops.push(done ? decoder.flush() : decoder.push(value.id));
        if (piece !== '') yield piece;
        if (stops.found) return 'stop';
        if (done) reason = value;
      }
      const rest = stops.flush();
      if (rest !== '') yield rest;
      return reason;
    } finally {
      await tokens.return('stop');
    }
  }

  /** Frees its memory on the engine; replies under way fail with `model-closed`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.generator.close();
    if (this.#parts.ownsEngine) await this.#parts.engine.close();
  }
}

/** The call's options, and the model's where it gives none. */
function merge(defaults: SamplingOptions, options: SamplingOptions): SamplingOptions {
  return {
    temperature: options.temperature ?? defaults.temperature,
    topK: options.topK ?? defaults.topK,
    topP: options.topP ?? defaults.topP,
    minP: options.minP ?? defaults.minP,
    repetitionPenalty: options.repetitionPenalty ?? defaults.repetitionPenalty,
    seed: options.seed,
  };
}

/** A vocabulary may be smaller than the model's, whose size is often rounded up, but not larger. */
export function requireFit(tokenizer: Tokenizer, model: Model): void {
  if (tokenizer.vocabSize <= model.head.classes) return;
  throw new LfmError(
    'vocabulary-mismatch',
    `The tokenizer has ${tokenizer.vocabSize} tokens, the model ${model.head.classes}: they do not belong together.`,
  );
}
