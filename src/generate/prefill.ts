// A prompt on its way into a state of its own, a chunk at a time: what the cache holds of it first, then the rest computed.
import type { Adapter } from './adapter.ts';
import type { Generator, StepOptions } from './generator.ts';
import type { Lender, PrefixCache, Snapshot } from './prefix-cache.ts';
import type { State } from './state.ts';
import { disposeBuffers } from './state.ts';

export interface PrefillOptions {
  /** Which tree of the cache it shares. */
  readonly key: string;
  readonly adapter?: Adapter | undefined;
  /** Room for tokens after the prompt. */
  readonly room: number;
  /** What comes back of each chunk. Absent: the logits after its last token. */
  readonly step?: StepOptions;
  /** Tokens of which what the cache holds will do: what comes back of them is lost. Asked once the prompt's turn has come. */
  readonly reusable: () => number;
  /** Every chunk begins at a multiple of its size, so that the same prompt always runs in the same shapes. */
  readonly aligned: boolean;
}

/** Prompts of fewer new tokens are not cut for the sake of a snapshot before the last: they are soon computed again. */
const WORTH_CUTTING = 64;
/** Tokens that another prompt must share for this one to wait for it. */
const WORTH_WAITING = 16;

export class Prefill {
  readonly tokens: readonly number[];
  /** Tokens that the cache had. */
  cachedTokens = 0;
  /** Tokens that were taken in. */
  computedTokens = 0;
  /** Of the chunk that ran last. */
  result: Float32Array | undefined;
  readonly #generator: Generator;
  readonly #cache: PrefixCache;
  readonly #options: PrefillOptions;
  #state: State | undefined;
  #snapshots: Snapshot[] = [];

  constructor(generator: Generator, cache: PrefixCache, tokens: readonly number[], options: PrefillOptions) {
    this.#generator = generator;
    this.#cache = cache;
    this.tokens = tokens;
    this.#options = options;
  }

  /** Tokens that are in the state. */
  get position(): number {
    return this.#state?.lengths[0] ?? 0;
  }

  get isDone(): boolean {
    return this.position === this.tokens.length;
  }

  /** The state it fills, from the first step on. */
  get state(): State | undefined {
    return this.#state;
  }

  /**
   * Whether this one, not begun yet, had better begin once another that is under way has ended: by then the cache has what they
   * share, which is more than what the other still computes.
   */
  gainsFrom(other: Prefill): boolean {
    const [mine, theirs] = [this.#options, other.#options];
    if (!this.#cache.isEnabled || mine.step?.output === 'hidden' || mine.key !== theirs.key) return false;
    const rest = other.tokens.length - other.position;
    const least = Math.max(rest, WORTH_WAITING);
    if (rest === 0 || this.tokens.length < least || other.tokens.length < least) return false;
    for (let i = 0; i < least; i++) if (this.tokens[i] !== other.tokens[i]) return false;
    return true;
  }

  /** Takes in the next tokens, at most `most`. */
  async step(most: number): Promise<void> {
    const { key, adapter, room, step, reusable, aligned } = this.#options;
    const { length } = this.tokens;
    if (!this.#state) {
      const tokens = Math.min(length + room, this.#generator.contextLength);
      this.#state = await this.#generator.open(tokens, 1, adapter);
      const end = Math.min(reusable(), length - 1);
      if (end > 0 && this.#cache.isEnabled)
        this.#snapshots = [...(await this.#cache.restore(key, this.tokens, this.#state, end, aligned ? most : 1))];
      this.cachedTokens = this.position;
    }
    const state = this.#state;
    const start = this.position;
    const { needsSnapshots } = this.#cache;
    let end = Math.min(length, start + most);
    if (aligned) end = Math.min(length, (Math.floor(start / most) + 1) * most);
    else if (needsSnapshots && end === length && length - this.cachedTokens > WORTH_CUTTING)
      end = Math.max(length - 1, start + 1);
    const [result] = await this.#generator.step(state, [this.tokens.slice(start, end)], step);
    this.result = result;
    this.computedTokens += end - start;
    const since = end - Math.max(this.cachedTokens, this.#snapshots.at(-1)?.position ?? 0);
    const wanted = aligned ? end % most === 0 : end === length - 1 || since >= this.#cache.spacing(state);
    if (needsSnapshots && wanted) this.#snapshots.push(await this.#cache.snapshot(state, 0));
    // What others may reuse of an aligned one is what no other has changed since.
    if (aligned && end === length && this.#cache.isEnabled)
      await this.#cache.insert(key, this.tokens.slice(0, length - (length % most)), state, 0, this.takeSnapshots());
  }

  /** What others may copy of it while it is under way. */
  get lender(): Lender | undefined {
    const { key, aligned } = this.#options;
    if (aligned || !this.#state) return undefined;
    return { key, tokens: this.tokens, state: this.#state, row: 0, snapshots: this.#snapshots };
  }

  /** Has the cache take over what was taken in of a prompt that nobody continues. */
  async keep(): Promise<void> {
    const { key, aligned } = this.#options;
    const tokens = this.tokens.slice(0, this.position);
    if (!aligned && this.#state && tokens.length > 0 && this.#cache.isEnabled)
      await this.#cache.insert(key, tokens, this.#state, 0, this.takeSnapshots(), true);
  }

  /** Hands the snapshots over. */
  takeSnapshots(): readonly Snapshot[] {
    const snapshots = this.#snapshots;
    this.#snapshots = [];
    return snapshots;
  }

  /** Hands the state over. */
  take(): State | undefined {
    const state = this.#state;
    this.#state = undefined;
    return state;
  }

  /** Frees what it still holds. */
  release(): void {
    const state = this.take();
    if (state) this.#generator.release(state);
    for (const { buffers } of this.takeSnapshots()) disposeBuffers(buffers);
  }
}
