// The tokens of one text on their way from the scheduler to whoever asked for them.
import type { Choice } from './sampler.ts';

/** 'stop': the model, or a stop string, ended the text. 'length': `maxTokens` or the context was reached. */
export type FinishReason = 'stop' | 'length';

/** Tokens wait here until they are asked for; leaving a loop over them cancels the rest. */
export class TokenStream implements AsyncGenerator<Choice, FinishReason, undefined> {
  /** Tokens of the prompt that did not have to be computed. */
  cachedTokens = 0;
  /** Tokens guessed from the text itself, and those of them that were right. */
  guessed = 0;
  guessedRight = 0;
  /** The prompt's tokens from the second on with their log-probabilities, where they were asked for. */
  prompt: readonly Choice[] = [];
  /** The token by which the model ended the text; it is no part of it. */
  stopToken: Choice | undefined;
  readonly #choices: Choice[] = [];
  readonly #cancel: () => Promise<void>;
  readonly #signal: AbortSignal | undefined;
  #end: { readonly reason: FinishReason } | { readonly error: unknown } | undefined;
  #wake: (() => void)[] = [];

  /** `cancel` is called once where the tokens are no longer wanted; it answers once what they took is free. */
  constructor(cancel: () => Promise<void>, signal: AbortSignal | undefined) {
    this.#cancel = cancel;
    this.#signal = signal;
  }

  /** Whether nothing more comes. Asked at every step, it hears of the signal too, which many texts may share. */
  get isEnded(): boolean {
    if (this.#signal?.aborted) this.fail(this.#signal.reason);
    return this.#end !== undefined;
  }

  push(choice: Choice): void {
    // A step may still bring one to a text that nobody wants any more.
    if (this.#end) return;
    this.#choices.push(choice);
    this.#notify();
  }

  end(reason: FinishReason): void {
    this.#finish({ reason });
  }

  fail(error: unknown): void {
    this.#finish({ error });
  }

  async next(): Promise<IteratorResult<Choice, FinishReason>> {
    for (;;) {
      const value = this.#choices.shift();
      if (value) return { done: false, value };
      if (this.#end && 'error' in this.#end) throw this.#end.error;
      if (this.#end) return { done: true, value: this.#end.reason };
      await new Promise<void>((wake) => this.#wake.push(wake));
    }
  }

  async return(): Promise<IteratorResult<Choice, FinishReason>> {
    const wasEnded = this.isEnded;
    this.#choices.length = 0;
    this.end('stop');
    if (!wasEnded) await this.#cancel();
    return { done: true, value: 'stop' };
  }

  async throw(error: unknown): Promise<IteratorResult<Choice, FinishReason>> {
    await this.return();
    throw error;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  #finish(end: { readonly reason: FinishReason } | { readonly error: unknown }): void {
    this.#end ??= end;
    this.#notify();
  }

  #notify(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const wake of waiting) wake();
  }
}
