// Whether a text shares runs of words with texts that it must not have seen, such as benchmarks.

/** Words a run has: as long as GPT-3's shortest (Brown et al. 2020, appendix C). */
const RUN = 8;

/** Lower-case words of letters and digits, in any script; what stands between them does not matter. */
function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
}

/** A number of 52 bits for a run; two runs in 2^26 of them meet by chance with odds of one half. */
function hashOf(words: readonly string[], from: number): number {
  let [high, low] = [0x811c9dc5, 0x1b873593];
  for (let i = from; i < from + RUN; i++) {
    const word = words[i] ?? '';
    for (let at = 0; at <= word.length; at++) {
      const code = at === word.length ? 32 : word.charCodeAt(at);
      high = Math.imul(high ^ code, 0x01000193);
      low = Math.imul(low ^ code, 0x5bd1e995) ^ (low >>> 13);
    }
  }
  return (high >>> 6) * 2 ** 26 + (low >>> 6);
}

export class ContaminationIndex {
  readonly #runs = new Map<number, number>();
  readonly #names: string[] = [];

  /** Runs of words known so far. */
  get size(): number {
    return this.#runs.size;
  }

  /** `name`: of the benchmark. A text of fewer than 8 words has no runs, and marks nothing. */
  add(name: string, text: string): void {
    let place = this.#names.lastIndexOf(name);
    if (place < 0) place = this.#names.push(name) - 1;
    const words = wordsOf(text);
    for (let i = 0; i + RUN <= words.length; i++) {
      const hash = hashOf(words, i);
      if (!this.#runs.has(hash)) this.#runs.set(hash, place);
    }
  }

  /** The first run of 8 words that the text shares, and with what. */
  find(text: string): { readonly name: string; readonly words: string } | undefined {
    const words = wordsOf(text);
    for (let i = 0; i + RUN <= words.length; i++) {
      const place = this.#runs.get(hashOf(words, i));
      if (place !== undefined) return { name: this.#names[place] ?? '', words: words.slice(i, i + RUN).join(' ') };
    }
    return undefined;
  }
}
