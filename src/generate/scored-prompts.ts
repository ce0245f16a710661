// Log-probabilities of prompts that were asked for, kept for prompts that begin alike: with them, the state that the cache
// holds of that beginning is of use to the next prompt too. What was used longest ago goes first.
import type { Choice } from './sampler.ts';

interface Scored {
  readonly key: string;
  readonly tokens: readonly number[];
  /** Of the tokens from the second on. */
  readonly choices: readonly Choice[];
}

/** Tokens over all prompts: a few megabytes. */
export const MOST_SCORED_TOKENS = 1 << 14;

export class ScoredPrompts {
  #entries: readonly Scored[] = [];
  #tokens = 0;

  /** Over all prompts that are kept. */
  get tokens(): number {
    return this.#tokens;
  }

  /** Choices of the tokens from the second on, as far as a prompt kept under the same key begins like this one. */
  find(key: string, tokens: readonly number[]): readonly Choice[] {
    let best: { readonly entry: Scored; readonly length: number } | undefined;
    for (const entry of this.#entries) {
      if (entry.key !== key || entry.tokens[0] !== tokens[0]) continue;
      const differs = entry.tokens.findIndex((id, i) => id !== tokens[i]);
      const length = differs < 0 ? entry.tokens.length : differs;
      if (length > (best?.length ?? 0)) best = { entry, length };
    }
    if (!best) return [];
    const { entry, length } = best;
    this.#entries = [...this.#entries.filter((other) => other !== entry), entry];
    return entry.choices.slice(0, length - 1);
  }

  keep(key: string, tokens: readonly number[], choices: readonly Choice[]): void {
    this.#entries = [...this.#entries, { key, tokens, choices }];
    this.#tokens += tokens.length;
    const past = this.#entries.findIndex(({ tokens: { length } }) => {
      if (this.#tokens <= MOST_SCORED_TOKENS) return true;
      this.#tokens -= length;
      return false;
    });
    this.#entries = past < 0 ? [] : this.#entries.slice(past);
  }

  clear(): void {
    this.#entries = [];
    this.#tokens = 0;
  }
}
