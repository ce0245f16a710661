// A chat that goes on: what was said, as messages and as the very tokens that the model saw, whose state the cache holds.
import { host } from '#host';
import { saveBytes } from '#source';
import { LfmError } from '../tensor/index.ts';
import type { ChatMessage } from './chat.ts';
import type { Turn } from './conversation-file.ts';
import { decodeConversation, encodeConversation } from './conversation-file.ts';
import type { LanguageModel, TextOptions } from './model.ts';
import type { ObjectOf, ObjectSchema } from './object.ts';
import { objectReader } from './object.ts';
import type { Details, TextStream } from './reply.ts';
import { Reply } from './reply.ts';
import type { Tool } from './tool-calls.ts';
import { decodingOf } from './tool-style.ts';

export interface ConversationOptions {
  /** What the model is told before the conversation. */
  readonly system?: string | undefined;
  /** Functions that the model may call, for the template. */
  readonly tools?: readonly Tool[] | undefined;
  /** Cached states are shared among conversations of one tenant only. */
  readonly tenant?: string | undefined;
  /** The adapter that the model answers under, by its name. */
  readonly adapter?: string | undefined;
}

const nothing: Details = {
  usage: { promptTokens: 0, completionTokens: 0, cachedTokens: 0 },
  tokens: [],
  promptTokens: [],
};

export class Conversation {
  readonly #model: LanguageModel;
  readonly #options: ConversationOptions;
  #system: string | undefined;
  #turns: readonly Turn[] = [];
  #isBusy = false;

  /** Errors: `no-chat-template`. */
  constructor(model: LanguageModel, options: ConversationOptions = {}) {
    void model.chatTemplate;
    this.#model = model;
    this.#options = options;
    this.#system = options.system;
  }

  /** Everything said so far. */
  get messages(): readonly ChatMessage[] {
    return this.#messagesOf(this.#turns);
  }

  /** Questions that were answered. */
  get turns(): number {
    return this.#turns.length;
  }

  /**
   * Says something and answers with what the model says to it. Both are remembered once the reply has been read, also where it
   * was cut short; a reply that failed before its first token leaves no trace.
   * Errors, once it is read: `conversation-busy` while another reply is being read, those of `model.chat`.
   */
  say<S extends ObjectSchema | undefined = undefined>(text: string, options: TextOptions<S> = {}): Reply<ObjectOf<S>> {
    let inner: Reply | undefined;
    const answer = (prompt: readonly number[]) =>
      (inner = this.#model.continue(
        prompt,
        { tenant: this.#options.tenant, adapter: this.#options.adapter, ...options },
        false,
      ));
    return new Reply(
      this.#follow(text, answer, options),
      () => inner?.details ?? nothing,
      objectReader(options.schema),
    );
  }

  /** A conversation that begins with this one's past and goes its own way; nothing is computed for it. */
  fork(): Conversation {
    const copy = new Conversation(this.#model, this.#options);
    copy.#system = this.#system;
    copy.#turns = this.#turns;
    return copy;
  }

  /** Forgets the last `turns` questions and answers. Errors: `bad-rewind`, `conversation-busy`. */
  rewind(turns = 1): void {
    this.#requireIdle();
    if (!Number.isSafeInteger(turns) || turns < 0 || turns > this.#turns.length)
      throw new LfmError('bad-rewind', `rewind: expected 0 to ${this.#turns.length} turns; found ${turns}.`);
    this.#turns = this.#turns.slice(0, this.#turns.length - turns);
  }

  /** The conversation and what the cache holds of it, for `fromBytes`: it goes on there without computing its past. */
  async toBytes(): Promise<Uint8Array> {
    this.#requireIdle();
    const { scheduler } = this.#model;
    const turns = this.#turns;
    const tokens = turns.at(-1)?.tokens ?? [];
    const model = await scheduler.generator.fingerprint(this.#options.adapter);
    const state = await scheduler.exportPrefix(tokens, this.#options);
    return encodeConversation({ model, name: this.#model.name, system: this.#system, turns, state });
  }

  /**
   * Becomes the conversation that `toBytes` gave; `system` is that one's.
   * Errors: `bad-conversation` for what is cut short, damaged or none; `newer-conversation`; `wrong-model` for another model's.
   */
  async fromBytes(bytes: Uint8Array): Promise<void> {
    this.#requireIdle();
    const { scheduler, name } = this.#model;
    const model = await scheduler.generator.fingerprint(this.#options.adapter);
    const { system, turns, state } = await decodeConversation(bytes, scheduler.generator.model, { model, name });
    if (state) await scheduler.importPrefix(turns.at(-1)?.tokens ?? [], state, this.#options);
    this.#system = system;
    this.#turns = turns;
  }

  /** Writes the conversation to a file, whole or not at all. Errors: `write-failed`, `disk-full`; `no-files` in a browser. */
  async save(path: string): Promise<void> {
    await saveBytes(path, await this.toBytes());
  }

  /** Becomes the conversation in a file (in a browser: at a URL). Errors: `file-not-found`, those of `fromBytes`. */
  async load(path: string): Promise<void> {
    await this.fromBytes(await host.readBytes(path));
  }

  #requireIdle(): void {
    if (this.#isBusy)
      throw new LfmError(
        'conversation-busy',
        'A reply is still being read: read it to its end, or leave its loop, before going on. A fork may go on meanwhile.',
      );
  }

  #messagesOf(turns: readonly Turn[]): ChatMessage[] {
    const said = turns.flatMap(({ user, answer }): ChatMessage[] => [
      { role: 'user', content: user },
      { role: 'assistant', content: answer },
    ]);
    return this.#system === undefined ? said : [{ role: 'system', content: this.#system }, ...said];
  }

  async *#follow(
    user: string,
    begin: (prompt: readonly number[]) => Reply,
    { keepSpecialTokens }: TextOptions,
  ): TextStream {
    this.#requireIdle();
    const prompt = this.#promptFor(user);
    const inner = begin(prompt);
    this.#isBusy = true;
    let answer = '';
    try {
      for await (const piece of inner) {
        answer += piece;
        yield piece;
      }
      const { finishReason } = await inner;
      return finishReason === 'length' ? 'length' : 'stop';
    } finally {
      const ids = inner.details.tokens.map(({ id }) => id);
      if (ids.length > 0) {
        const isExact = this.#model.tokenizer.decode(ids, decodingOf(keepSpecialTokens)) === answer;
        this.#turns = [...this.#turns, { user, answer, tokens: [...prompt, ...ids], isExact }];
      }
      this.#isBusy = false;
    }
  }

  /**
   * The tokens of the conversation up to the next answer. What the model has seen and said stays as it was, token by token: an
   * answer need not be cut into the tokens that its text would be. Where the template writes the past anew, so are its tokens.
   */
  #promptFor(text: string): number[] {
    const template = this.#model.chatTemplate;
    const { tools } = this.#options;
    const ask = (turns: readonly Turn[], user: string) =>
      template.renderMarked([...this.#messagesOf(turns), { role: 'user', content: user }], { tools });
    const whole = ask(this.#turns, text);
    const last = this.#turns.at(-1);
    if (last?.isExact) {
      const past = ask(this.#turns.slice(0, -1), last.user);
      const seen = past.text + last.answer;
      if (past.mark === whole.mark && whole.text.startsWith(seen))
        return [...last.tokens, ...template.tokensOf({ ...whole, text: whole.text.slice(seen.length) })];
    }
    return template.tokensOf(whole);
  }
}
