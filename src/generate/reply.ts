// What generate and chat answer: text that can be read as it comes, awaited whole, or both.
import type { Choice } from './sampler.ts';
import type { FinishReason } from './stream.ts';

export interface Usage {
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Of the prompt's tokens, those that did not have to be computed. */
  readonly cachedTokens: number;
}

/** What is known of a text at its end. */
export interface Details {
  readonly usage: Usage;
  /** Its tokens, with their log-probabilities and, where `topLogprobs` asks for them, the likeliest others. */
  readonly tokens: readonly Choice[];
  /** Of the prompt's tokens from the second on, where `promptLogprobs` asks for it. */
  readonly promptTokens: readonly Choice[];
  /** The token by which the model ended the text, if it did; it is not among `tokens`. */
  readonly stopToken?: Choice | undefined;
}

export interface Completion<O = unknown> extends Details {
  readonly text: string;
  /**
   * With a schema, the value that the text stands for; not among the keys that a copy takes.
   * Errors: `no-object` where the text was cut short, or where a schema of zod asks for what no text can be kept to.
   */
  readonly object: O;
  /** 'cancelled': a loop over the text was left before its end. */
  readonly finishReason: FinishReason | 'cancelled';
}

/** Pieces of a text, and at the end why it ended. */
export type TextStream = AsyncGenerator<string, FinishReason, undefined>;

/**
 * A text in the making. Nothing is generated before someone asks; then it goes on beside other texts, and each turn of a
 * `for await` takes the next piece, `await` all of them. Both may be used together. Leaving the only loop early cancels the
 * rest.
 */
export class Reply<O = unknown> implements AsyncIterable<string>, PromiseLike<Completion<O>> {
  readonly #stream: TextStream;
  readonly #details: () => Details;
  readonly #read: (text: string, finishReason: string) => O;
  readonly #pieces: string[] = [];
  #finishReason: Completion['finishReason'] | undefined;
  #failure: { readonly error: unknown } | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  #readers = 0;

  /** `details` are asked for at the end; `read` makes an object of the text, where there is to be one. */
  constructor(stream: TextStream, details: () => Details, read: (text: string, finishReason: string) => O) {
    this.#stream = stream;
    this.#details = details;
    this.#read = read;
  }

  /** What is known so far. */
  get details(): Details {
    return this.#details();
  }

  /** Makes sure of the piece after `seen` others; false where the text has ended. Readers take turns. */
  async #advance(seen: number): Promise<boolean> {
    const turn = this.#turn.then(async () => {
      if (seen < this.#pieces.length || this.#finishReason) return;
      if (this.#failure) throw this.#failure.error;
      try {
        const { done, value } = await this.#stream.next();
        if (done) this.#finishReason = value;
        else this.#pieces.push(value);
      } catch (error) {
        this.#failure = { error };
        throw error;
      }
    });
    this.#turn = turn.catch(() => undefined);
    await turn;
    return seen < this.#pieces.length;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
    this.#readers++;
    try {
      for (let seen = 0; await this.#advance(seen); seen++) yield this.#pieces[seen] ?? '';
    } finally {
      this.#readers--;
      if (this.#readers === 0 && !this.#finishReason && !this.#failure) {
        this.#finishReason = 'cancelled';
        await this.#stream.return('stop');
      }
    }
  }

  async #whole(): Promise<Completion<O>> {
    this.#readers++;
    try {
      while (await this.#advance(this.#pieces.length));
    } finally {
      this.#readers--;
    }
    const text = this.#pieces.join('');
    const finishReason = this.#finishReason ?? 'cancelled';
    const read = this.#read;
    const completion = {
      text,
      finishReason,
      ...this.#details(),
      get object() {
        return read(text, finishReason);
      },
    };
    return Object.defineProperty(completion, 'object', { enumerable: false });
  }

  // oxlint-disable-next-line unicorn/no-thenable -- being awaitable is what a reply is for
  then<A = Completion<O>, B = never>(
    onDone?: ((completion: Completion<O>) => A | PromiseLike<A>) | null,
    onError?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#whole().then(onDone, onError);
  }
}
