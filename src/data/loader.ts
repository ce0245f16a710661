// Training batches from one or several token sources: shuffled windows, mixed by weight, resumable to the same batches.
// Shapes: B rows of a batch, T labels a row.

import { LfmError } from '../tensor/error.ts';
import { marksOfText } from './marks.ts';
import type { TokenReader } from './packed.ts';
import { hashIntegers, permutation } from './permutation.ts';

export interface LoaderSource {
  readonly name: string;
  readonly reader: TokenReader;
  /** Identity of the content: a cursor is refused by other content. */
  readonly fingerprint: string;
  /** Share of the rows, relative to the other sources' weights. Default 1. */
  readonly weight?: number;
  /** Marks of the tokens (marks.ts). Absent: those of a text. */
  readonly marks?: TokenReader | undefined;
  /** Its tokens stand in rows of T, so that windows begin at rows. */
  readonly inRows?: boolean;
}

export interface LoaderOptions {
  readonly sources: readonly LoaderSource[];
  /** Rows a batch of this part (B). */
  readonly batchSize: number;
  /** Labels a row (T). */
  readonly length: number;
  readonly seed: number;
  /** With `parts` processes, this one's number from 0. All parts together see each window once an epoch. */
  readonly part?: number;
  readonly parts?: number;
  /** Given: batches hold marks, those of a text made with this token, which closes its documents. */
  readonly endOfText?: number | undefined;
  /** Where an earlier loader stopped; its options other than batchSize, part and parts must be the same. */
  readonly cursor?: LoaderCursor;
}

/** Plain JSON: everything that decides the following batches, given the options. */
export interface LoaderCursor {
  readonly version: 1;
  readonly seed: number;
  readonly length: number;
  readonly sources: readonly SourceCursor[];
}

export interface SourceCursor {
  readonly name: string;
  readonly fingerprint: string;
  readonly weight: number;
  /** Full passes done, and windows taken of the present one. */
  readonly epoch: number;
  readonly position: number;
  /** Rows taken in all epochs. */
  readonly taken: number;
}

export interface Batch {
  /** [B, T + 1] row-major: inputs are the first T of a row, labels the last T. */
  readonly tokens_BT: Int32Array;
  /** The tokens' marks, where they were asked for. */
  readonly marks_BT?: Int32Array;
  /** Index of each row's source. */
  readonly sources_B: readonly number[];
}

export interface Loader {
  /** The next batch. Never ends: a source that is used up begins its next epoch, shuffled anew. */
  next(): Promise<Batch>;
  /** Where the loader stands after the batches asked for so far. */
  cursor(): LoaderCursor;
}

/**
 * A loader over sources that each hold at least T + 1 tokens. In each epoch a source is cut into windows from an offset
 * of its own, and visited in an order of its own: each token is a label at most once an epoch, and fewer than 2T are not.
 * Rows go to the source that is furthest behind its share, so proportions are exact to one row at any time.
 * The rows of all parts' batches together depend on batchSize * parts only.
 * Errors: `loader-options`, `loader-source-too-short`, `cursor-mismatch`.
 */
export function createLoader(options: LoaderOptions): Loader {
  const { sources, batchSize, length, seed, part = 0, parts = 1, endOfText } = options;
  checkOptions(options);
  if (options.cursor !== undefined) checkCursor(options.cursor, options);
  const total = sources.reduce((sum, { weight = 1 }) => sum + weight, 0);
  const state = sources.map((source, i) => new SourceState(source, i, seed, length, options.cursor?.sources[i]));
  let rows = state.reduce((sum, { taken }) => sum + taken, 0);

  function snapshot(): LoaderCursor {
    return { version: 1, seed, length, sources: state.map((source) => source.cursor()) };
  }

  function pick(): number {
    rows++;
    let best = 0;
    let furthest = -Infinity;
    for (const [i, { weight, taken }] of state.entries()) {
      const behind = (weight / total) * rows - taken;
      if (behind > furthest) [best, furthest] = [i, behind];
    }
    return best;
  }

  async function next(): Promise<Batch> {
    const tokens_BT = new Int32Array(batchSize * (length + 1));
    const marks_BT = endOfText === undefined ? undefined : new Int32Array(tokens_BT.length);
    const sources_B: number[] = [];
    const reads: (() => Promise<void>)[] = [];
    for (let row = 0; row < batchSize * parts; row++) {
      const i = pick();
      const start = state[i]?.take() ?? 0;
      if (Math.floor(row / batchSize) !== part) continue;
      const at = sources_B.push(i) - 1;
      const row_T = (all: Int32Array) => all.subarray(at * (length + 1), (at + 1) * (length + 1));
      const into = row_T(tokens_BT);
      const marks = marks_BT && row_T(marks_BT);
      reads.push(async () => {
        await sources[i]?.reader.read(start, into);
        if (!marks || endOfText === undefined) return;
        if (sources[i]?.marks) await sources[i].marks.read(start, marks);
        else marksOfText(into, endOfText, marks);
      });
    }
    await Promise.all(reads.map((read) => read()));
    return { tokens_BT, ...(marks_BT && { marks_BT }), sources_B };
  }

  return { next, cursor: snapshot };
}

/** One source's place in its shuffled windows. */
class SourceState {
  readonly #source: LoaderSource;
  readonly #length: number;
  readonly #keys: readonly number[];
  readonly weight: number;
  taken: number;
  #epoch: number;
  #position: number;
  #windows = 0;
  #offset = 0;
  #order: (index: number) => number = (index) => index;

  constructor(source: LoaderSource, index: number, seed: number, length: number, from: SourceCursor | undefined) {
    this.#source = source;
    this.#length = length;
    this.#keys = [seed, index];
    this.weight = source.weight ?? 1;
    this.taken = from?.taken ?? 0;
    this.#epoch = from?.epoch ?? 0;
    this.#position = from?.position ?? 0;
    this.#shuffle();
    if (this.#position > this.#windows)
      throw mismatch(`it stands beyond the ${this.#windows} windows of ${source.name}`);
  }

  /** Where the next window begins, in tokens. */
  take(): number {
    if (this.#position === this.#windows) {
      this.#epoch++;
      this.#position = 0;
      this.#shuffle();
    }
    this.taken++;
    return this.#offset + this.#order(this.#position++) * this.#length;
  }

  cursor(): SourceCursor {
    const { name, fingerprint } = this.#source;
    return { name, fingerprint, weight: this.weight, epoch: this.#epoch, position: this.#position, taken: this.taken };
  }

  #shuffle(): void {
    const labels = this.#source.reader.length - 1;
    const key = hashIntegers(...this.#keys, this.#epoch);
    // An offset of its own puts the seams between windows elsewhere in each epoch; it must leave a window.
    const room = this.#source.inRows ? 1 : Math.min(this.#length, labels - this.#length + 1);
    this.#offset = hashIntegers(key, 1) % room;
    this.#windows = Math.floor((labels - this.#offset) / this.#length);
    this.#order = permutation(this.#windows, key);
  }
}

function checkOptions({ sources, batchSize, length, seed, part = 0, parts = 1 }: LoaderOptions): void {
  const refuse = (message: string): never => {
    throw new LfmError('loader-options', message);
  };
  for (const [name, value] of Object.entries({ batchSize, length, parts })) {
    if (!Number.isSafeInteger(value) || value < 1) refuse(`${name} must be a whole number above 0, found ${value}`);
  }
  if (!Number.isSafeInteger(seed) || seed < 0) refuse(`seed must be a whole number from 0 on, found ${seed}`);
  if (!Number.isSafeInteger(part) || part < 0 || part >= parts) refuse(`part must be 0 to ${parts - 1}, found ${part}`);
  if (sources.length === 0) refuse('expected at least one source of tokens');
  for (const { name, reader, weight = 1 } of sources) {
    if (!(weight > 0 && weight < Infinity)) refuse(`the weight of ${name} must be above 0, found ${weight}`);
    if (reader.length < length + 1) {
      throw new LfmError(
        'loader-source-too-short',
        `${name} has ${reader.length} tokens; windows of ${length} need at least ${length + 1}: use shorter windows or more text`,
      );
    }
  }
}

/** A cursor comes from a file: it must be well formed, and made with these options. */
function checkCursor(cursor: LoaderCursor, { seed, length, sources }: LoaderOptions): void {
  if (cursor.version !== 1) throw mismatch(`its version is ${String(cursor.version)}, expected 1`);
  if (cursor.seed !== seed) throw mismatch(`its seed is ${cursor.seed}, now ${seed}`);
  if (cursor.length !== length) throw mismatch(`its windows have ${cursor.length} tokens, now ${length}`);
  if (cursor.sources.length !== sources.length) {
    throw mismatch(`it has ${cursor.sources.length} sources, now ${sources.length}`);
  }
  for (const [i, { name, fingerprint, weight = 1 }] of sources.entries()) {
    const saved = cursor.sources[i];
    if (saved?.name !== name) throw mismatch(`source ${i} was ${saved?.name}, now ${name}`);
    if (saved.weight !== weight) throw mismatch(`the weight of ${name} was ${saved.weight}, now ${weight}`);
    if (saved.fingerprint !== fingerprint) throw mismatch(`the content of ${name} is not what it was`);
    for (const count of [saved.epoch, saved.position, saved.taken]) {
      if (!Number.isSafeInteger(count) || count < 0) throw mismatch(`its place in ${name} is damaged`);
    }
  }
}

function mismatch(message: string): LfmError {
  return new LfmError('cursor-mismatch', `the saved position does not fit this data: ${message}`);
}
