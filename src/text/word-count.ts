// Counts the distinct words of a corpus in bounded memory: what BPE training needs to know of it.

import { detach } from './bytes.ts';
import type { PreTokenizer } from './pre-tokenize.ts';

export interface WordLimits {
  /** Distinct words kept. */
  words: number;
  /** UTF-16 units of all kept words together. */
  units: number;
}

/** Words longer than this are counted in pieces: text without spaces, or no text at all, must not fill the memory. */
const LONGEST_WORD = 256;

/**
 * A table of word counts within limits. When it overflows, the rarest words are dropped: all those seen up to
 * the lowest count that frees half of the limits. A dropped word that returns starts from nought,
 * so counts of rare words are lower bounds; frequent words are exact. The result depends on the text only.
 */
export class WordCounter {
  readonly #limits: WordLimits;
  readonly #preTokenizer: PreTokenizer;
  readonly #slots = new Map<string, number>();
  #counts = new Float64Array(1024);
  #units = 0;
  /** The highest count that was ever dropped; 0 while every count is exact. */
  droppedCount = 0;

  constructor(preTokenizer: PreTokenizer, limits: WordLimits) {
    this.#preTokenizer = preTokenizer;
    this.#limits = limits;
  }

  get size(): number {
    return this.#slots.size;
  }

  /** Counts the words of a well-formed text. */
  add(text: string): void {
    if (text.length > 0) this.#preTokenizer.split(text, this.#countWord, true);
  }

  readonly #countWord = (word: string): void => {
    const slot = this.#slots.get(word);
    if (slot !== undefined) this.#counts[slot] = (this.#counts[slot] ?? 0) + 1;
    else if (word.length <= LONGEST_WORD) this.#insert(detach(word));
    else this.#countPieces(word);
  };

  #countPieces(word: string): void {
    for (let start = 0; start < word.length;) {
      let end = Math.min(start + LONGEST_WORD, word.length);
      // Not between the halves of a surrogate pair.
      if ((word.charCodeAt(end - 1) & 0xfc00) === 0xd800) end--;
      this.#countWord(word.slice(start, end));
      start = end;
    }
  }

  #insert(word: string): void {
    if (this.#slots.size >= this.#limits.words || this.#units + word.length > this.#limits.units) this.#prune();
    const slot = this.#slots.size;
    if (slot === this.#counts.length) {
      const grown = new Float64Array(slot * 2);
      grown.set(this.#counts);
      this.#counts = grown;
    }
    this.#slots.set(word, slot);
    this.#counts[slot] = 1;
    this.#units += word.length;
  }

  #prune(): void {
    const { words, units } = this.#limits;
    const entries = [...this.entries()];
    const cutoff = this.#cutoff(entries, words / 2, units / 2);
    this.droppedCount = Math.max(this.droppedCount, cutoff);
    const kept = entries.filter(([, count]) => count > cutoff);
    this.#units = kept.reduce((sum, [word]) => sum + word.length, 0);
    this.#slots.clear();
    for (const [slot, [word, count]] of kept.entries()) {
      this.#slots.set(word, slot);
      this.#counts[slot] = count;
    }
  }

  /** The lowest count such that the words seen more often are within the limits. */
  #cutoff(entries: readonly [string, number][], words: number, units: number): number {
    let [heldWords, heldUnits] = [0, 0];
    for (const [word, count] of entries.toSorted((a, b) => b[1] - a[1])) {
      heldUnits += word.length;
      if (++heldWords > words || heldUnits > units) return count;
    }
    return 0;
  }

  *entries(): IterableIterator<[word: string, count: number]> {
    for (const [word, slot] of this.#slots) yield [word, this.#counts[slot] ?? 0];
  }
}
