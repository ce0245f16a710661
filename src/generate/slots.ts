// Texts that are being continued side by side: each has a slot of one batch of states, joins and leaves between steps, and
// gets a token a step. Batches come in few sizes.
import type { Adapter } from './adapter.ts';
import type { Generator } from './generator.ts';
import type { Lender, PrefixCache } from './prefix-cache.ts';
import type { Row } from './row.ts';
import type { State } from './state.ts';
import { copyRow, disposeBuffers } from './state.ts';

export interface SlotsOptions {
  /** Most texts side by side. */
  readonly most: number;
  /** Every step in a batch of `most`, whoever is there: the same shapes always, and nothing kept for the cache. */
  readonly fixed: boolean;
  /** Under which all of them run. */
  readonly adapter?: Adapter | undefined;
  /** For one text that guesses: others do not join it. */
  readonly isAlone?: boolean;
}

export class Slots {
  readonly options: SlotsOptions;
  readonly #generator: Generator;
  readonly #cache: PrefixCache;
  #rows: (Row | undefined)[] = [];
  #state: State | undefined;

  constructor(generator: Generator, cache: PrefixCache, options: SlotsOptions) {
    this.#generator = generator;
    this.#cache = cache;
    this.options = options;
  }

  /** Texts that have a slot. */
  get count(): number {
    return this.#rows.reduce((sum, row) => sum + (row ? 1 : 0), 0);
  }

  /** What others may copy of its texts while they go on. */
  get lenders(): readonly Lender[] {
    const state = this.#state;
    if (!state || this.options.fixed) return [];
    return this.#rows.flatMap((row, b) =>
      row && !row.isBroken ? { key: row.key, tokens: row.text, state, row: b, snapshots: row.snapshots } : [],
    );
  }

  /**
   * Gives a text a slot and copies what its state holds there. Where nobody else is there and `gives` is set, the state itself
   * becomes the batch's. Answers whether it did.
   */
  async join(row: Row, from: State, gives: boolean): Promise<boolean> {
    const tokens = row.text.length;
    if (!this.#state && gives && !this.options.fixed) {
      this.#state = from;
      this.#rows = [row];
      return true;
    }
    const free = () => this.#rows.indexOf(undefined);
    if (!this.#state || free() < 0) await this.#resize(this.#sizeFor(this.count + 1), tokens);
    const state = this.#state;
    if (!state) return false;
    await this.#generator.reserve(state, tokens);
    await copyRow(this.#generator.engine, this.#generator.model, from, 0, state, free());
    this.#rows[free()] = row;
    return false;
  }

  /** One step: a token for each text, or several where a guess was right. Those that end give their slots back. */
  async step(): Promise<void> {
    const state = this.#state;
    if (!state || this.count === 0) return;
    try {
      await this.#advance(state);
    } catch (error) {
      for (const row of this.#rows) row?.stream.fail(error);
    }
    await this.sweep();
  }

  /** Frees the slots of texts that have ended or are no longer wanted. */
  async sweep(): Promise<void> {
    for (const [b, row] of this.#rows.entries()) if (row?.stream.isEnded) await this.#leave(row, b);
    if (this.count === 0) this.#release();
  }

  /** Goes on in a smaller batch where one will do. */
  async settle(): Promise<void> {
    const size = this.#sizeFor(this.count);
    if (this.#state && size < this.#rows.length && !this.options.fixed) await this.#resize(size, 1);
  }

  /** Ends all texts with an error. */
  fail(error: unknown): void {
    for (const row of this.#rows) {
      row?.stream.fail(error);
      row?.release();
    }
    this.#release();
  }

  #release(): void {
    if (this.#state) this.#generator.release(this.#state);
    this.#state = undefined;
    this.#rows = [];
  }

  #sizeFor(count: number): number {
    const { most, fixed } = this.options;
    return fixed ? most : Math.min(most, 2 ** Math.ceil(Math.log2(Math.max(1, count))));
  }

  async #resize(batch: number, tokens: number): Promise<void> {
    const old = this.#state;
    const longest = Math.max(tokens, ...this.#rows.map((row) => row?.text.length ?? 0));
    const room = Math.min(longest, this.#generator.contextLength);
    const next = await this.#generator.open(room, batch, this.options.adapter);
    const rows = new Array<Row | undefined>(batch).fill(undefined);
    try {
      let at = 0;
      for (const [b, row] of this.#rows.entries()) {
        if (!row || !old) continue;
        await copyRow(this.#generator.engine, this.#generator.model, old, b, next, at);
        rows[at++] = row;
      }
    } catch (error) {
      this.#generator.release(next);
      throw error;
    }
    if (old) this.#generator.release(old);
    this.#state = next;
    this.#rows = rows;
  }

  async #advance(state: State): Promise<void> {
    const [only] = this.#rows.length === 1 ? this.#rows : [];
    const guess = only ? await only.guess() : [];
    const longest = Math.max(...this.#rows.map((row) => row?.text.length ?? 0));
    await this.#generator.reserve(state, Math.min(longest + guess.length, this.#generator.contextLength));
    if (only && guess.length > 0) return this.#verify(only, state, guess);
    // What of each text is not in its state: its newest token, or more after a wrong guess.
    const parts = this.#rows.map((row, b) => row?.text.slice(state.lengths[b]) ?? []);
    const results = await this.#generator.step(state, parts);
    for (const [b, row] of this.#rows.entries()) {
      const logits = results[b];
      if (!row || !logits) continue;
      row.take(logits);
      await this.#remember(row, state, b);
    }
  }

  /**
   * Takes in a guess with the text's own last tokens in one run, and keeps as much of it as would have been chosen. A wrong
   * guess leaves states of fixed size with what should not be there: they go back to before, and the tokens that were right
   * come again with the next step.
   */
  async #verify(row: Row, state: State, guess: readonly number[]): Promise<void> {
    const pending = row.text.slice(state.lengths[0]);
    const before = await this.#cache.snapshot(state, 0);
    try {
      const [results = new Float32Array()] = await this.#generator.step(state, [[...pending, ...guess]], {
        positions: 'all',
      });
      const { classes } = this.#generator.model.head;
      let right = 0;
      for (let at = pending.length - 1; !row.stream.isEnded; at++, right++) {
        const id = row.take(results.subarray(at * classes, (at + 1) * classes));
        if (id === undefined || id !== guess[right]) break;
      }
      row.countGuesses(guess.length, right);
      if (right < guess.length && Object.keys(before.buffers).length > 0)
        await this.#cache.restoreSnapshot(before, state, 0);
      else state.lengths[0] = before.position + pending.length + right;
    } finally {
      disposeBuffers(before.buffers);
    }
    await this.#remember(row, state, 0);
  }

  /** Takes a snapshot where the last one is far enough behind. */
  async #remember(row: Row, state: State, b: number): Promise<void> {
    const length = state.lengths[b] ?? 0;
    if (!this.options.fixed && length - row.lastSnapshot >= this.#cache.spacing(state))
      row.keepSnapshot(await this.#cache.snapshot(state, b));
  }

  /** Frees a slot; what it holds is kept for texts that begin alike. */
  async #leave(row: Row, b: number): Promise<void> {
    const state = this.#state;
    const length = state?.lengths[b] ?? 0;
    this.#rows[b] = undefined;
    try {
      if (state && this.#cache.isEnabled && !this.options.fixed && length > 0 && !row.isBroken) {
        if (this.#cache.needsSnapshots && length > row.lastSnapshot)
          row.keepSnapshot(await this.#cache.snapshot(state, b));
        const isOver = this.#rows.length === 1;
        await this.#cache.insert(row.key, row.text.slice(0, length), state, b, row.takeSnapshots(), isOver);
      }
    } finally {
      row.release();
      if (state) state.lengths[b] = 0;
    }
  }
}
