// The bytes of every token, one after another in one array: what decoding copies from.

export class TokenBytes {
  readonly #bytes: Uint8Array;
  /** Where each id's bytes begin, and where the last ones end. */
  readonly #offsets: Int32Array;

  /** @param tokens the byte string of each id; a hole where the id stands for nothing */
  constructor(tokens: readonly (string | undefined)[]) {
    this.#offsets = new Int32Array(tokens.length + 1);
    for (const [id, token] of tokens.entries()) this.#offsets[id + 1] = (this.#offsets[id] ?? 0) + (token?.length ?? 0);
    this.#bytes = new Uint8Array(this.#offsets[tokens.length] ?? 0);
    for (const [id, token] of tokens.entries()) {
      const start = this.#offsets[id] ?? 0;
      for (let i = 0; i < (token?.length ?? 0); i++) this.#bytes[start + i] = token?.charCodeAt(i) ?? 0;
    }
  }

  /** The bytes of all ids that `leavesOut` does not name, joined. An id without a token adds nothing. */
  join(ids: Iterable<number>, leavesOut: (id: number) => boolean): Uint8Array {
    let out = new Uint8Array(256);
    let length = 0;
    for (const id of ids) {
      if (leavesOut(id)) continue;
      const start = this.#offsets[id] ?? 0;
      const end = this.#offsets[id + 1] ?? start;
      if (length + end - start > out.length) {
        const grown = new Uint8Array((length + end - start) * 2);
        grown.set(out);
        out = grown;
      }
      for (let i = start; i < end; i++) out[length++] = this.#bytes[i] ?? 0;
    }
    return out.slice(0, length);
  }
}
