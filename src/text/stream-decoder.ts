// Decodes token ids one at a time: a token may end in the middle of a character, whose bytes then wait for the next.

/** All that `push` and then `flush` returned is what `Tokenizer.decode` makes of the same ids at once. */
export class StreamDecoder {
  readonly #bytesOf: (id: number) => Uint8Array;
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  readonly #dropsSpace: boolean;
  #atStart = true;

  /** `dropsSpace`: whether a space with which the text begins is left out. */
  constructor(bytesOf: (id: number) => Uint8Array, dropsSpace: boolean) {
    this.#bytesOf = bytesOf;
    this.#dropsSpace = dropsSpace;
  }

  /** The characters that this id completes; often empty within an emoji or a CJK character. */
  push(id: number): string {
    const bytes = this.#bytesOf(id);
    const drops = this.#dropsSpace && this.#atStart && bytes[0] === 0x20;
    if (bytes.length > 0) this.#atStart = false;
    return this.#decoder.decode(drops ? bytes.subarray(1) : bytes, { stream: true });
  }

  /** What is left: U+FFFD for a character that was never completed. The decoder is then as new. */
  flush(): string {
    this.#atStart = true;
    return this.#decoder.decode();
  }
}
