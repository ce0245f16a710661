// Log-probabilities of tokens in many rows at once: rows sorted by length, put side by side, and scored at the positions that count.
// Shapes: B rows of T tokens a run, N positions a run.
import type { Buffer, Buffers, Engine, Executable } from '../../engines/engine.ts';
import { disposeBuffers } from '../../generate/state.ts';
import type { Model } from '../../liquid/index.ts';
import type { Program } from '../../tensor/index.ts';
import { LfmError } from '../../tensor/index.ts';
import type { LikelihoodOptions } from './programs.ts';
import type { Scorable } from './families.ts';
import { familiesOf, familyRuns, FamilyRunner } from './families.ts';
import { hiddenProgram, scoreProgram } from './programs.ts';

/** Tokens that a model reads, and at which of them (counted from 0, ascending) which token should follow. */
export interface ScoredRow {
  readonly tokens: readonly number[];
  readonly places: readonly number[];
  readonly labels: readonly number[];
  /** Rows of one number that follow each other begin alike. */
  readonly group?: number;
}

export interface RowScore {
  /** Sum of ln p over the row's labels. */
  readonly logprob: number;
  /** Whether each label has the highest score at its place: what greedy decoding gives. */
  readonly isGreedy: boolean;
}

/** How work is cut: tokens of a run, of which a multiple of `lengths` fits, and positions that are scored at once. */
export interface RunSizes {
  readonly tokens: number;
  readonly positions: number;
  /** Lengths that runs have, ascending, where programs have fixed shapes; each divides `tokens`. */
  readonly lengths?: readonly number[];
}

export interface ScorerOptions extends LikelihoodOptions {
  readonly engine: Engine;
  readonly model: Model;
  /** A buffer of `dtype` for each of the model's `parameterTypes`; they stay the caller's and outlive the scorer. */
  readonly weights: Buffers;
  readonly sizes?: RunSizes;
}

/** Large runs of few shapes for an accelerator, small ones of any shape for a CPU, whose caches they fit. */
const fixedSizes: RunSizes = { tokens: 8192, positions: 2048, lengths: [128, 512, 2048, 8192] };
const looseSizes: RunSizes = { tokens: 1024, positions: 256 };
/** Runs under way before the first one's results are waited for. */
const IN_FLIGHT = 3;

/** Rows of one run, by their places in the list that was given, and the run. */
interface Run {
  readonly rows: readonly number[];
  readonly start: () => Promise<readonly Scorable[]>;
}

export class Scorer {
  readonly #options: ScorerOptions;
  readonly #sizes: RunSizes;
  /** By length; under 0 one for all lengths, and of `scores` one for all. */
  readonly #programs = new Map<number, Promise<Executable>>();
  #scores: Promise<Executable> | undefined;
  readonly #families: FamilyRunner;

  constructor(options: ScorerOptions) {
    this.#options = options;
    this.#families = new FamilyRunner(options.engine, options.model, (program) => this.#compile(program));
    this.#sizes = options.sizes ?? (options.engine.compilesBySize ? fixedSizes : looseSizes);
  }

  /** Most tokens that a row may have. */
  get longest(): number {
    return Math.min(this.#options.model.contextLength, this.#sizes.lengths?.at(-1) ?? Infinity);
  }

  /**
   * Scores in the rows' order. `onProgress` hears of tokens done, padding left out, of all. Errors: `context-full` for a longer row,
   * `bad-token`, those of the engine, the reason of `signal`.
   */
  async score(
    rows: readonly ScoredRow[],
    { onProgress, signal }: { onProgress?: (share: number) => void; signal?: AbortSignal | undefined } = {},
  ): Promise<RowScore[]> {
    for (const row of rows) this.#check(row);
    const scores = rows.map((): RowScore => ({ logprob: 0, isGreedy: true }));
    const total = rows.reduce((sum, { tokens }) => sum + tokens.length, 0);
    let done = 0;
    const pending: (() => Promise<void>)[] = [];
    const finishFirst = async () => void (await pending.shift()?.());
    try {
      for (const run of this.#runsOf(rows)) {
        signal?.throwIfAborted();
        const results = await this.#scored(await run.start());
        pending.push(async () => {
          for (const [row, { logprob, isGreedy }] of await results()) {
            const before = scores[row] ?? { logprob: 0, isGreedy: true };
            scores[row] = { logprob: before.logprob + logprob, isGreedy: before.isGreedy && isGreedy };
          }
          for (const row of run.rows) done += rows[row]?.tokens.length ?? 0;
          onProgress?.(done / total);
        });
        if (pending.length > IN_FLIGHT) await finishFirst();
      }
      while (pending.length > 0) await finishFirst();
    } catch (error) {
      // What is under way is taken in, or its buffers would stay.
      await Promise.allSettled(pending.map((finish) => finish()));
      throw error;
    }
    return scores;
  }

  async release(): Promise<void> {
    const made = await Promise.allSettled([...this.#programs.values(), ...(this.#scores ? [this.#scores] : [])]);
    for (const one of made) if (one.status === 'fulfilled') one.value.release();
    await this.#families.release();
  }

  #check({ tokens, labels }: ScoredRow): void {
    const { classes } = this.#options.model.head;
    const bad = [...tokens, ...labels].find((id) => !Number.isInteger(id) || id < 0 || id >= classes);
    if (bad !== undefined) throw new LfmError('bad-token', `Expected tokens from 0 to ${classes - 1}; found ${bad}.`);
    if (tokens.length > this.longest || tokens.length === 0)
      throw new LfmError(
        'context-full',
        `A text to score has ${tokens.length} tokens; expected 1 to ${this.longest}, which the model's context holds.`,
      );
  }

  /** Where shapes are free, rows that begin alike share their beginning. All others run whole. */
  #runsOf(rows: readonly ScoredRow[]): Run[] {
    const { lengths } = this.#sizes;
    const all = Array.from(rows.keys());
    const { families, alone } = lengths ? { families: [], alone: all } : familiesOf(rows);
    const shared = familyRuns(families).map((run) => ({
      rows: run.flatMap((family) => family.rows),
      start: () => this.#families.run(run, rows),
    }));
    return [...shared, ...this.#wholeRuns(rows, alone)];
  }

  /** Rows by falling length, as many to a run as its tokens hold. */
  #wholeRuns(rows: readonly ScoredRow[], chosen: readonly number[]): Run[] {
    const { tokens, lengths } = this.#sizes;
    const size = (row: number) => rows[row]?.tokens.length ?? 0;
    const lengthOf = (row: number) => lengths?.find((length) => length >= size(row)) ?? size(row);
    const runs: { length: number; rows: number[] }[] = [];
    for (const row of chosen.toSorted((a, b) => size(b) - size(a))) {
      const last = runs.at(-1);
      const length = lengthOf(row);
      const fits = last && (lengths ? last.length === length : true) && (last.rows.length + 1) * last.length <= tokens;
      if (fits) last.rows.push(row);
      else runs.push({ length, rows: [row] });
    }
    return runs.map(({ length, rows: own }) => ({ rows: own, start: () => this.#runWhole(length, own, rows) }));
  }

  async #runWhole(length: number, rows: readonly number[], all: readonly ScoredRow[]): Promise<Scorable[]> {
    const { engine } = this.#options;
    const batch = this.#sizes.lengths ? this.#sizes.tokens / length : rows.length;
    const program = await this.#programFor(length);
    const tokens = new Int32Array(batch * length);
    const [owners, places, labels]: [number[], number[], number[]] = [[], [], []];
    rows.forEach((row, b) => {
      const given = all[row];
      tokens.set(given?.tokens ?? [], b * length);
      given?.places.forEach((place, i) => {
        owners.push(row);
        places.push(b * length + place);
        labels.push(given.labels[i] ?? 0);
      });
    });
    const uploaded = await engine.upload('int32', [batch, length], tokens);
    const { hidden } = await program.run({ tokens: uploaded }).finally(() => uploaded.dispose());
    if (!hidden) throw new LfmError('no-result', 'A run over rows gave no hidden states.');
    return [{ hidden, owners, places, labels }];
  }

  /** Starts the scoring of hidden states, which it takes over; what comes back waits for it, once, and must be called. */
  async #scored(given: readonly Scorable[]): Promise<() => Promise<[number, RowScore][]>> {
    const parts: { readonly owners: readonly number[]; readonly found: Buffers }[] = [];
    const drop = () => parts.forEach(({ found }) => disposeBuffers(found));
    try {
      const scoring = await this.#scoring();
      for (const { hidden, owners, places, labels } of given) {
        for (let from = 0; from < places.length; from += this.#sizes.positions) {
          const to = Math.min(places.length, from + this.#sizes.positions);
          const inputs = {
            places: await this.#column(places.slice(from, to)),
            labels: await this.#column(labels.slice(from, to)),
          };
          const found = await scoring.run({ hidden, ...inputs }).finally(() => disposeBuffers(inputs));
          parts.push({ owners: owners.slice(from, to), found });
        }
      }
    } catch (error) {
      drop();
      throw error;
    } finally {
      for (const { hidden } of given) hidden.dispose();
    }
    return async () => {
      try {
        const results: [number, RowScore][] = [];
        for (const { owners, found } of parts) {
          const [logprobs, greedy] = [await this.#numbers(found['logprobs']), await this.#numbers(found['greedy'])];
          owners.forEach((owner, at) =>
            results.push([owner, { logprob: logprobs[at] ?? NaN, isGreedy: greedy[at] === 1 }]),
          );
        }
        return results;
      } finally {
        drop();
      }
    };
  }

  /** Of as many elements as a run scores, where that is fixed. */
  #column(values: readonly number[]): Promise<Buffer> {
    const filled = new Int32Array(this.#sizes.lengths ? this.#sizes.positions : values.length);
    filled.set(values);
    return this.#options.engine.upload('int32', [filled.length], filled);
  }

  async #numbers(buffer: Buffer | undefined): Promise<Float32Array> {
    const values = buffer && (await this.#options.engine.download(buffer));
    if (values instanceof Float32Array) return values;
    throw new LfmError('no-result', 'A run over rows gave no scores.');
  }

  #programFor(length: number): Promise<Executable> {
    const { model, dtype } = this.#options;
    const { tokens, lengths } = this.#sizes;
    const key = lengths ? length : 0;
    const known = this.#programs.get(key);
    if (known) return known;
    const shape = lengths ? { batch: tokens / length, length } : { batch: 'B', length: 'T' };
    const made = this.#compile(hiddenProgram(model, { ...shape, dtype }));
    this.#programs.set(key, made);
    return made;
  }

  #scoring(): Promise<Executable> {
    const { model, dtype } = this.#options;
    const { tokens, positions, lengths } = this.#sizes;
    const shape = lengths ? { states: tokens, positions } : { states: 'M', positions: 'N' };
    return (this.#scores ??= this.#compile(scoreProgram(model, { ...shape, dtype })));
  }

  #compile(program: Program): Promise<Executable> {
    const { engine, weights } = this.#options;
    const wanted = new Set(program.inputs.map(({ name }) => name));
    return engine.compile(program, {
      bind: Object.fromEntries(Object.entries(weights).filter(([name]) => wanted.has(name))),
    });
  }
}
