// A vocabulary as a trie over bytes, laid out so that a walk over it is a loop: what every mask is made with.
import type { Tokenizer } from '../../text/tokenizer.ts';

export class Vocabulary {
  /** Nodes in the order of a walk from the root, which is node 0: their byte, how deep they stand, the node after all below. */
  readonly byte: Uint8Array;
  readonly depth: Uint16Array;
  readonly after: Int32Array;
  /** The token that ends at a node, and the next one of the same bytes after a token; -1: none. */
  readonly token: Int32Array;
  readonly twin: Int32Array;
  /** One more than the highest id. */
  readonly size: number;
  readonly longest: number;
  readonly #tokenizer: Tokenizer;

  /** `kept`: control tokens that may stand in a text. */
  constructor(tokenizer: Tokenizer, kept: readonly number[]) {
    this.#tokenizer = tokenizer;
    this.size = tokenizer.vocabSize;
    const spelt: { readonly id: number; readonly bytes: Uint8Array }[] = [];
    for (let id = 0; id < this.size; id++) {
      const bytes = tokenizer.isSpecial(id) && !kept.includes(id) ? undefined : tokenizer.tokenOf(id);
      // A depth is 16 bits; no vocabulary has such tokens.
      if (bytes && bytes.length < 2 ** 16) spelt.push({ id, bytes });
    }
    spelt.sort((a, b) => compare(a.bytes, b.bytes) || b.id - a.id);
    const most = spelt.reduce((sum, { bytes }) => sum + bytes.length, 1);
    this.byte = new Uint8Array(most);
    this.depth = new Uint16Array(most);
    this.after = new Int32Array(most);
    this.token = new Int32Array(most).fill(-1);
    this.twin = new Int32Array(this.size).fill(-1);
    this.longest = spelt.reduce((longest, { bytes }) => Math.max(longest, bytes.length), 0);
    let nodes = 1;
    const path = [0];
    let before: Uint8Array = new Uint8Array();
    const leave = (depth: number) => {
      for (let node = path.length > depth ? path.pop() : undefined; node !== undefined;) {
        this.after[node] = nodes;
        node = path.length > depth ? path.pop() : undefined;
      }
    };
    for (const { id, bytes } of spelt) {
      let shared = 0;
      while (shared < before.length && before[shared] === bytes[shared]) shared++;
      leave(shared + 1);
      for (let i = shared; i < bytes.length; i++) {
        this.byte[nodes] = bytes[i] ?? 0;
        this.depth[nodes] = i + 1;
        path.push(nodes++);
      }
      const node = path.at(-1) ?? 0;
      this.twin[id] = this.token[node] ?? -1;
      this.token[node] = id;
      before = bytes;
    }
    leave(0);
  }

  /** How many nodes there are. */
  get nodes(): number {
    return this.after[0] ?? 1;
  }

  bytesOf(id: number): Uint8Array {
    return this.#tokenizer.tokenOf(id) ?? new Uint8Array();
  }
}

function compare(a: Uint8Array, b: Uint8Array): number {
  const most = Math.min(a.length, b.length);
  for (let i = 0; i < most; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

const known = new WeakMap<Tokenizer, Map<string, Vocabulary>>();

/** Made once for each tokenizer and the control tokens of a style of calls. */
export function vocabularyOf(tokenizer: Tokenizer, kept: readonly number[] = []): Vocabulary {
  const all = known.get(tokenizer) ?? new Map<string, Vocabulary>();
  known.set(tokenizer, all);
  const key = kept.join();
  const found = all.get(key) ?? new Vocabulary(tokenizer, kept);
  all.set(key, found);
  return found;
}
