// Guesses of a text's next tokens, checked by the model in one run (speculative decoding: Leviathan et al. 2023, arXiv 2211.17192):
// from the text itself, or by a smaller model.
import type { Generator } from './generator.ts';
import type { Snapshot } from './prefix-cache.ts';
import { PrefixCache } from './prefix-cache.ts';
import { lookUp } from './prompt-lookup.ts';
import type { Sampler } from './sampler.ts';
import type { State } from './state.ts';
import { disposeBuffers } from './state.ts';

/** One text's. */
export interface Guesser {
  /** Most tokens that it guesses at once. */
  readonly most: number;
  /**
   * At most `most` tokens that may follow the text, which is longer at each call. A sampler draws as the text's own will: whoever
   * guesses by scores chooses with it.
   */
  guess(text: readonly number[], most: number, sampler: () => Sampler): Promise<readonly number[]>;
  release(): void;
}

/** Guesses what followed the same words before. */
export function promptLookup(most: number): Guesser {
  return { most, guess: async (text, limit) => lookUp(text, limit), release: () => undefined };
}

/** A model that guesses for another of the same vocabulary, and how many tokens at once. */
export interface Draft {
  readonly generator: Generator;
  readonly tokens: number;
}

/** Continues the text with a smaller model. Its state follows the text, and goes back where a guess was wrong. */
export class DraftGuesser implements Guesser {
  readonly most: number;
  readonly #generator: Generator;
  readonly #classes: number;
  /** Keeps nothing: it copies states. */
  readonly #cache: PrefixCache;
  #state: State | undefined;
  /** The tokens in the state. */
  #held: number[] = [];
  /** Before the last guess. */
  #before: Snapshot | undefined;

  /** `classes`: of the model that is guessed for; none beyond them are guessed. */
  constructor({ generator, tokens }: Draft, classes: number) {
    this.most = tokens;
    this.#generator = generator;
    this.#classes = Math.min(classes, generator.model.head.classes);
    this.#cache = new PrefixCache(generator, 0);
  }

  async guess(text: readonly number[], most: number, sampler: () => Sampler): Promise<readonly number[]> {
    const draft = this.#generator;
    const isForeign = (id: number) => id >= this.#classes;
    if (text.length + most > draft.contextLength || text.slice(this.#held.length).some(isForeign)) return [];
    this.#state ??= await draft.open(text.length + most);
    const state = this.#state;
    await draft.reserve(state, text.length + most);
    await this.#goBack(state, text);
    // A long prompt is taken in by chunks, between which the text goes on without guesses.
    let logits = await this.#take(state, text.slice(this.#held.length, this.#held.length + draft.chunk));
    if (this.#held.length < text.length) return [];
    this.#forgetSnapshot();
    this.#before = await this.#cache.snapshot(state, 0);
    const draws = sampler();
    const guess: number[] = [];
    for (;;) {
      const { id } = draws.sample(logits.subarray(0, this.#classes));
      guess.push(id);
      if (guess.length === most) return guess;
      logits = await this.#take(state, [id]);
    }
  }

  async #take(state: State, tokens: readonly number[]): Promise<Float32Array> {
    const [logits = new Float32Array()] = await this.#generator.step(state, [tokens]);
    this.#held.push(...tokens);
    return logits;
  }

  /** Lets the state hold a beginning of the text. */
  async #goBack(state: State, text: readonly number[]): Promise<void> {
    const wrong = this.#held.findIndex((id, at) => id !== text[at]);
    if (wrong < 0 || !this.#before) return;
    if (Object.keys(this.#before.buffers).length > 0) await this.#cache.restoreSnapshot(this.#before, state, 0);
    else state.lengths[0] = wrong;
    this.#held.length = state.lengths[0] ?? 0;
  }

  #forgetSnapshot(): void {
    if (this.#before) disposeBuffers(this.#before.buffers);
    this.#before = undefined;
  }

  release(): void {
    this.#forgetSnapshot();
    if (this.#state) this.#generator.release(this.#state);
    this.#state = undefined;
    this.#held = [];
  }
}
