// One text that must match a grammar: which tokens it may go on with, and whether it may end.
import { LfmError } from '../../tensor/error.ts';
import type { Grammar, Position } from './grammar.ts';

export interface MatcherOptions {
  /** Whether decoding drops a space that the text begins with. */
  readonly dropsSpace: boolean;
  /** Tokens that end a text. */
  readonly stopIds: readonly number[];
}

export class Matcher {
  readonly #grammar: Grammar;
  readonly #stopIds: readonly number[];
  #position: Position;
  #dropsSpace: boolean;

  constructor(grammar: Grammar, { dropsSpace, stopIds }: MatcherOptions) {
    this.#grammar = grammar;
    this.#position = grammar.start;
    this.#dropsSpace = dropsSpace;
    this.#stopIds = stopIds;
  }

  /** Whether the text is whole: nothing may follow, or there is no token to end it with. */
  get isOver(): boolean {
    const { isComplete, ways } = this.#position;
    return isComplete && (ways.length === 0 || this.#stopIds.length === 0);
  }

  /**
   * Makes logits [V] of tokens that may not follow -Infinity. Errors: `no-token` where that leaves none, and those of a grammar
   * with too many readings.
   */
  apply(logits: Float32Array): void {
    const ends = this.#stopIds.map((id) => logits[id] ?? -Infinity);
    const mask = this.#grammar.mask(this.#position, this.#dropsSpace);
    let left = 0;
    for (const [i, word] of mask.entries()) {
      left |= word;
      if (word === 0) logits.fill(-Infinity, i * 32, i * 32 + 32);
      else if (word !== 0xffffffff)
        for (let bit = 0; bit < 32; bit++) if ((word & (1 << bit)) === 0) logits[i * 32 + bit] = -Infinity;
    }
    logits.fill(-Infinity, mask.length * 32);
    const { isComplete } = this.#position;
    for (const [i, id] of this.#stopIds.entries())
      if (id < logits.length) logits[id] = isComplete ? (ends[i] ?? 0) : -Infinity;
    if (left === 0 && !(isComplete && this.#stopIds.length > 0))
      throw new LfmError('no-token', 'The vocabulary has no token that goes on as the schema, regex or grammar asks.');
  }

  /** Goes on with a token that `apply` allowed, and that ends no text. */
  accept(id: number): void {
    const bytes = this.#grammar.vocabulary.bytesOf(id);
    const next = this.#grammar.advance(
      this.#position,
      this.#dropsSpace && bytes[0] === 0x20 ? bytes.subarray(1) : bytes,
    );
    if (!next) throw new LfmError('no-token', `The token ${id} does not go on as the schema, regex or grammar asks.`);
    this.#dropsSpace = false;
    this.#position = next;
  }
}
