// Applies BPE merges to one word: a short word by scanning for the lowest rank, a long one with a heap.

import { PairTable } from './pair-table.ts';

/** Above this many units the quadratic scan loses to the heap. */
const SCAN_LIMIT = 48;
/** For words up to this many units the linked list is made once and kept. */
const KEPT_LENGTH = 1 << 12;
const NO_RANK = 0x7fffffff;

/** A growing list of token ids. */
export class IdList {
  #ids = new Int32Array(256);
  length = 0;

  push(id: number): void {
    if (this.length === this.#ids.length) {
      const grown = new Int32Array(this.length * 2);
      grown.set(this.#ids);
      this.#ids = grown;
    }
    this.#ids[this.length++] = id;
  }

  /** A copy of the ids from `start` on. */
  toArray(start = 0): Int32Array {
    return this.#ids.slice(start, this.length);
  }
}

/** The merge rules of a vocabulary. */
export class Merger {
  readonly #unitIds: Int32Array;
  readonly #ranks: PairTable;
  readonly #results: Int32Array;
  readonly #ids = new Int32Array(SCAN_LIMIT);
  readonly #pairRanks = new Int32Array(SCAN_LIMIT);
  #links: Links | undefined;

  /**
   * @param unitIds the token id of each unit that words are made of: of the 256 bytes, or of characters by number
   * @param merges (left id, right id, resulting id) of each rule, the first rule first. Of two rules for one pair the
   *   later counts, as in the `tokenizers` library.
   */
  constructor(unitIds: Int32Array, merges: Int32Array) {
    const count = merges.length / 3;
    this.#unitIds = unitIds;
    this.#ranks = new PairTable(count);
    this.#results = new Int32Array(count);
    for (let rank = 0; rank < count; rank++) {
      this.#ranks.set(merges[rank * 3] ?? 0, merges[rank * 3 + 1] ?? 0, rank);
      this.#results[rank] = merges[rank * 3 + 2] ?? 0;
    }
  }

  /** Appends the tokens of a word given as its units. */
  merge(word: Uint8Array | Int32Array, out: IdList): void {
    if (word.length <= SCAN_LIMIT) this.#mergeShort(word, out);
    else this.#mergeLong(word, out);
  }

  #rankOf(left: number, right: number): number {
    const rank = this.#ranks.get(left, right);
    return rank < 0 ? NO_RANK : rank;
  }

  #mergeShort(word: Uint8Array | Int32Array, out: IdList): void {
    const ids = this.#ids;
    const ranks = this.#pairRanks;
    let length = word.length;
    for (let i = 0; i < length; i++) ids[i] = this.#unitIds[word[i] ?? 0] ?? 0;
    for (let i = 0; i + 1 < length; i++) ranks[i] = this.#rankOf(ids[i] ?? 0, ids[i + 1] ?? 0);
    while (length > 1) {
      let best = NO_RANK;
      let at = 0;
      for (let i = 0; i + 1 < length; i++) {
        const rank = ranks[i] ?? NO_RANK;
        if (rank < best) {
          best = rank;
          at = i;
        }
      }
      if (best === NO_RANK) break;
      ids[at] = this.#results[best] ?? 0;
      length--;
      for (let i = at + 1; i < length; i++) {
        ids[i] = ids[i + 1] ?? 0;
        ranks[i] = ranks[i + 1] ?? NO_RANK;
      }
      if (at > 0) ranks[at - 1] = this.#rankOf(ids[at - 1] ?? 0, ids[at] ?? 0);
      if (at + 1 < length) ranks[at] = this.#rankOf(ids[at] ?? 0, ids[at + 1] ?? 0);
    }
    for (let i = 0; i < length; i++) out.push(ids[i] ?? 0);
  }

  #mergeLong(word: Uint8Array | Int32Array, out: IdList): void {
    const length = word.length;
    const links = length <= KEPT_LENGTH ? (this.#links ??= new Links(KEPT_LENGTH)) : new Links(length);
    const { ids, next, previous, ranks, heap } = links;
    const offer = (at: number) => {
      const right = next[at] ?? length;
      const rank = right < length ? this.#rankOf(ids[at] ?? 0, ids[right] ?? 0) : NO_RANK;
      ranks[at] = rank;
      if (rank !== NO_RANK) heap.push(rank, at);
    };
    for (let i = 0; i < length; i++) {
      ids[i] = this.#unitIds[word[i] ?? 0] ?? 0;
      next[i] = i + 1;
      previous[i] = i - 1;
    }
    for (let i = 0; i < length; i++) offer(i);
    while (heap.pop()) {
      const at = heap.position;
      if (ranks[at] !== heap.rank) continue;
      const right = next[at] ?? length;
      const after = next[right] ?? length;
      ids[at] = this.#results[heap.rank] ?? 0;
      next[at] = after;
      if (after < length) previous[after] = at;
      ranks[right] = NO_RANK;
      offer(at);
      const before = previous[at] ?? -1;
      if (before >= 0) offer(before);
    }
    for (let i = 0; i < length; i = next[i] ?? length) out.push(ids[i] ?? 0);
  }
}

/** The tokens of a long word as a linked list, by the position of their first unit. */
class Links {
  readonly ids: Int32Array;
  readonly next: Int32Array;
  readonly previous: Int32Array;
  /** The rank a position has with its right neighbour; a heap entry that differs is out of date. */
  readonly ranks: Int32Array;
  readonly heap = new RankHeap();

  constructor(length: number) {
    this.ids = new Int32Array(length);
    this.next = new Int32Array(length);
    this.previous = new Int32Array(length);
    this.ranks = new Int32Array(length);
  }
}

/** A binary heap of (rank, position), lowest first, packed into one exact float each: rank * 2^32 + position. */
class RankHeap {
  #keys = new Float64Array(64);
  #size = 0;
  /** Of the entry last popped. */
  rank = 0;
  position = 0;

  push(rank: number, position: number): void {
    if (this.#size === this.#keys.length) {
      const grown = new Float64Array(this.#size * 2);
      grown.set(this.#keys);
      this.#keys = grown;
    }
    const keys = this.#keys;
    const key = rank * 0x100000000 + position;
    let at = this.#size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if ((keys[parent] ?? 0) <= key) break;
      keys[at] = keys[parent] ?? 0;
      at = parent;
    }
    keys[at] = key;
  }

  /** Takes the lowest entry into `rank` and `position`; false when there is none. */
  pop(): boolean {
    if (this.#size === 0) return false;
    const keys = this.#keys;
    const top = keys[0] ?? 0;
    const last = keys[--this.#size] ?? 0;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= this.#size) break;
      if (child + 1 < this.#size && (keys[child + 1] ?? 0) < (keys[child] ?? 0)) child++;
      if ((keys[child] ?? 0) >= last) break;
      keys[at] = keys[child] ?? 0;
      at = child;
    }
    keys[at] = last;
    this.rank = Math.floor(top / 0x100000000);
    this.position = top - this.rank * 0x100000000;
    return true;
  }
}
