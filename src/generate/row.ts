// One text being continued: what it holds, how its next token is chosen, when it ends.
import type { Guesser } from './guesser.ts';
import type { Matcher } from './grammar/matcher.ts';
import type { Snapshot } from './prefix-cache.ts';
import type { SamplingOptions } from './sampler.ts';
import { Sampler } from './sampler.ts';
import { disposeBuffers } from './state.ts';
import type { TokenStream } from './stream.ts';

export interface RowOptions extends SamplingOptions {
  readonly maxTokens: number;
  readonly stopIds: Iterable<number>;
  /** Asked one after another, until one guesses. */
  readonly guessers: readonly Guesser[];
  /** What the text must match. */
  readonly constraint?: Constraint | undefined;
}

/** Makes what follows each text that must match it. */
export interface Constraint {
  begin(stopIds: readonly number[]): Pick<Matcher, 'apply' | 'accept' | 'isOver'>;
}

export class Row {
  readonly stream: TokenStream;
  /** Which tree of the cache it shares. */
  readonly key: string;
  /** The prompt and what was chosen; the newest is not yet in the state. */
  readonly text: number[];
  /** Tokens at the last snapshot, or at the beginning. */
  lastSnapshot: number;
  /** A damaged model: nothing of it is to be kept. */
  isBroken = false;
  readonly #sampler: Sampler;
  readonly #stops: ReadonlySet<number>;
  readonly #most: number;
  readonly #contextLength: number;
  readonly #guessers: readonly Guesser[];
  readonly #matcher: ReturnType<Constraint['begin']> | undefined;
  #snapshots: Snapshot[] = [];

  /** `sequence`: of several texts of one request. Errors: `bad-sampling`. */
  constructor(
    stream: TokenStream,
    key: string,
    prompt: readonly number[],
    contextLength: number,
    options: RowOptions,
    sequence: number,
  ) {
    this.stream = stream;
    this.key = key;
    this.text = [...prompt];
    this.lastSnapshot = prompt.length;
    this.#sampler = new Sampler(options, prompt, sequence);
    this.#stops = new Set(options.stopIds);
    this.#most = prompt.length + options.maxTokens;
    this.#contextLength = contextLength;
    this.#guessers = options.guessers;
    this.#matcher = options.constraint?.begin([...this.#stops]);
  }

  get guesses(): boolean {
    return this.#guessers.length > 0;
  }

  /** Tokens that may follow: no more than the text may still have. */
  async guess(): Promise<readonly number[]> {
    const room = Math.min(this.#most - this.text.length - 1, this.#contextLength - this.text.length);
    if (room <= 0) return [];
    for (const guesser of this.#guessers) {
      const found = await guesser.guess(this.text, Math.min(guesser.most, room), () => this.#sampler.copy());
      if (found.length > 0) return found;
    }
    return [];
  }

  /** Chooses the next token after logits [V], which are changed. Answers it while the text goes on; else its stream has ended. */
  take(logits: Float32Array): number | undefined {
    try {
      const matcher = this.#matcher;
      const choice = this.#sampler.sample(logits, matcher && ((all) => matcher.apply(all)));
      if (this.#stops.has(choice.id)) {
        this.stream.stopToken = choice;
        this.stream.end('stop');
        return undefined;
      }
      this.#matcher?.accept(choice.id);
      this.text.push(choice.id);
      this.stream.push(choice);
      if (this.#matcher?.isOver) {
        this.stream.end('stop');
        return undefined;
      }
      if (this.text.length < this.#most && this.text.length <= this.#contextLength) return choice.id;
      this.stream.end('length');
    } catch (error) {
      this.isBroken = true;
      this.stream.fail(error);
    }
    return undefined;
  }

  countGuesses(made: number, right: number): void {
    this.stream.guessed += made;
    this.stream.guessedRight += right;
  }

  keepSnapshot(snapshot: Snapshot): void {
    this.#snapshots.push(snapshot);
    this.lastSnapshot = snapshot.position;
  }

  get snapshots(): readonly Snapshot[] {
    return this.#snapshots;
  }

  takeSnapshots(): readonly Snapshot[] {
    const snapshots = this.#snapshots;
    this.#snapshots = [];
    return snapshots;
  }

  release(): void {
    for (const { buffers } of this.takeSnapshots()) disposeBuffers(buffers);
    for (const guesser of this.#guessers) guesser.release();
  }
}
