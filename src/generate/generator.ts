// Runs one model on one engine: prompts in chunks, then a token at a time, the state staying where it is. Knows no text.
// Shapes: B rows, T tokens of each, V tokens in the vocabulary.
import type { Buffer, Buffers, Engine, Executable } from '../engines/engine.ts';
import type { Model } from '../liquid/index.ts';
import { stepProgram } from '../liquid/index.ts';
import { LfmError } from '../tensor/index.ts';
import type { Choice, SamplingOptions } from './sampler.ts';
import { Sampler } from './sampler.ts';
import type { State } from './state.ts';
import { capacitiesOf, disposeBuffers, emptyState, growState } from './state.ts';

export interface GeneratorOptions {
  /** Rows that run side by side. Default 1. */
  readonly batch?: number;
  /** Sizes that states grow through, ascending; the last bounds a text. Default: a few, up to the model's context length. */
  readonly capacities?: readonly number[];
  /** Most tokens of a prompt that one run takes: more is faster, to a point, and takes more memory. Default 512. */
  readonly chunk?: number;
}

export interface GenerateOptions extends SamplingOptions {
  /** Default 256. */
  readonly maxTokens?: number | undefined;
  /** Tokens that end the text; they are not part of it. */
  readonly stopIds?: Iterable<number> | undefined;
}

/** 'stop': the model, or a stop string, ended the text. 'length': `maxTokens` or the context was reached. */
export type FinishReason = 'stop' | 'length';

interface Compiled {
  readonly capacity: number;
  readonly length: number | 'T';
  readonly executable: Promise<Executable>;
}

/** Where programs have fixed lengths, a chunk takes the least of these that holds it: few compilations. */
const fixedLengths = [1, 16, 64, 256, 512] as const;

export class Generator implements AsyncDisposable {
  readonly model: Model;
  readonly batch: number;
  /** Tokens that a text may have, its prompt included. */
  readonly contextLength: number;
  readonly #engine: Engine;
  readonly #weights: Buffers;
  readonly #capacities: readonly number[];
  readonly #chunk: number;
  readonly #states = new Set<State>();
  readonly #running = new Set<Promise<unknown>>();
  #compiled: readonly Compiled[] = [];
  #closed = false;

  /** `weights`: a buffer of `engine` for each of the model's `parameterTypes`. They are disposed with the generator. */
  constructor(engine: Engine, model: Model, weights: Buffers, options: GeneratorOptions = {}) {
    this.#engine = engine;
    this.model = model;
    this.#weights = weights;
    this.batch = options.batch ?? 1;
    this.#capacities = options.capacities ?? capacitiesOf(model);
    this.#chunk = options.chunk ?? 512;
    this.contextLength = Math.min(model.contextLength, this.#capacities.at(-1) ?? 0);
  }

  /** Compiles what a text of `tokens` tokens needs, so that the first one need not wait. */
  async prepare(tokens = 1): Promise<void> {
    await this.#compile(this.#capacityFor(tokens), this.#lengthFor(1));
  }

  /** A state that holds nothing; give it back with `release`. */
  async open(tokens = 1): Promise<State> {
    this.#requireOpen();
    const made = emptyState(this.#engine, this.model, this.batch, this.#capacityFor(tokens));
    return this.#track(
      made.then((state) => {
        this.#states.add(state);
        return state;
      }),
    );
  }

  release(state: State): void {
    if (this.#states.delete(state)) disposeBuffers(state.buffers);
  }

  /**
   * Takes in more tokens of each row, in chunks; a row may have none. Answers, for each row that has some, the logits [V]
   * after its last. An abort leaves the state with the chunks that were done.
   * Errors: `context-full`, `bad-token`, `model-closed`, the reason of `signal`.
   */
  async feed(
    state: State,
    rows: readonly (readonly number[])[],
    signal?: AbortSignal,
  ): Promise<(Float32Array | undefined)[]> {
    this.#check(state, rows);
    const longest = Math.max(...rows.map((row) => row.length));
    await this.#reserve(state, Math.max(...rows.map((row, b) => (state.lengths[b] ?? 0) + row.length)));
    const results = new Array<Float32Array | undefined>(this.batch).fill(undefined);
    for (let from = 0; from < longest;) {
      signal?.throwIfAborted();
      this.#requireOpen();
      const length = this.#lengthFor(longest - from);
      const size = length === 'T' ? Math.min(longest - from, this.#chunk) : length;
      const parts = Array.from({ length: this.batch }, (_, b) => (rows[b] ?? []).slice(from, from + size));
      from += size;
      const ends = parts.map((part, b) => part.length > 0 && (rows[b]?.length ?? 0) <= from);
      const logits = await this.#track(this.#step(state, parts, size, length, ends.includes(true)));
      const classes = this.model.head.classes;
      for (const [b, isEnd] of ends.entries()) if (isEnd) results[b] = logits?.subarray(b * classes, (b + 1) * classes);
    }
    return results;
  }

  /**
   * Continues a prompt in row 0 of a new state. Tokens come as they are chosen; the generator's value says why it ended.
   * Errors: those of `feed` and of the sampler, `empty-prompt`, `bad-limit`.
   */
  async *generate(
    prompt: readonly number[],
    options: GenerateOptions = {},
    signal?: AbortSignal,
  ): AsyncGenerator<Choice, FinishReason, undefined> {
    const { maxTokens = 256, stopIds = [] } = options;
    if (!Number.isSafeInteger(maxTokens) || maxTokens < 1)
      throw new LfmError('bad-limit', `maxTokens: expected a whole number from 1; found ${maxTokens}.`);
    if (prompt.length === 0)
      throw new LfmError('empty-prompt', 'A model continues a text of at least one token; the prompt has none.');
    const sampler = new Sampler(options, prompt);
    const stops = new Set(stopIds);
    const state = await this.open(prompt.length + 1);
    try {
      let next = prompt;
      for (let count = 0; count < maxTokens; count++) {
        if ((state.lengths[0] ?? 0) + next.length > this.contextLength && count > 0) return 'length';
        const [logits] = await this.feed(state, [next], signal);
        if (!logits) throw new LfmError('no-result', 'A step gave no logits.');
        const choice = sampler.sample(logits);
        if (stops.has(choice.id)) return 'stop';
        yield choice;
        next = [choice.id];
      }
      return 'length';
    } finally {
      this.release(state);
    }
  }

  /** Frees everything it took, once what runs has ended. Generations that are under way then fail with `model-closed`. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
    for (const state of this.#states) this.release(state);
    await this.#discard(this.#compiled);
    disposeBuffers(this.#weights);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #requireOpen(): void {
    if (this.#closed) throw new LfmError('model-closed', 'The model was disposed while it was still in use.');
  }

  /** Remembers what must end before anything may be freed. */
  async #track<T>(work: Promise<T>): Promise<T> {
    this.#running.add(work);
    try {
      return await work;
    } finally {
      this.#running.delete(work);
    }
  }

  #check(state: State, rows: readonly (readonly number[])[]): void {
    const { classes } = this.model.head;
    if (rows.length > this.batch)
      throw new LfmError('too-many-rows', `${rows.length} rows were given to a generator of ${this.batch}.`);
    for (const [b, row] of rows.entries()) {
      const bad = row.find((id) => !Number.isInteger(id) || id < 0 || id >= classes);
      if (bad !== undefined) throw new LfmError('bad-token', `Expected tokens from 0 to ${classes - 1}; found ${bad}.`);
      const total = (state.lengths[b] ?? 0) + row.length;
      if (total > this.contextLength) {
        throw new LfmError(
          'context-full',
          `The text has ${total} tokens; the model takes at most ${this.contextLength}: shorten it.`,
        );
      }
    }
  }

  /** The least size for so many tokens, or a compiled one that is not much larger: a step may cost as much as its size. */
  #capacityFor(tokens: number): number {
    const enough = this.#capacities.filter((capacity) => capacity >= tokens);
    const [least = this.contextLength] = enough;
    const isCompiled = (capacity: number) => this.#compiled.some((one) => one.capacity === capacity);
    return enough.find((capacity) => capacity <= 4 * least && isCompiled(capacity)) ?? least;
  }

  /** The program's T for so many tokens; where T may be a symbol one program, and one copy of laid-out weights, serves all. */
  #lengthFor(tokens: number): number | 'T' {
    if (this.#engine.name !== 'xla') return 'T';
    const wanted = Math.min(tokens, this.#chunk);
    return fixedLengths.find((length) => length >= wanted) ?? this.#chunk;
  }

  async #reserve(state: State, tokens: number): Promise<void> {
    if (tokens <= state.capacity) return;
    await this.#track(growState(this.#engine, this.model, state, this.#capacityFor(tokens)));
  }

  /** Compiles once; programs of sizes that no state has are let go first, since each may hold a copy of the weights. */
  async #compile(capacity: number, length: number | 'T'): Promise<Executable> {
    const found = this.#compiled.find((one) => one.capacity === capacity && one.length === length);
    if (found) return found.executable;
    const used = new Set([...this.#states].map((state) => state.capacity)).add(capacity);
    const idle = this.#compiled.filter((one) => !used.has(one.capacity));
    const program = stepProgram(this.model, { batch: this.batch, length, capacity });
    const executable = this.#discard(idle).then(() => this.#engine.compile(program, { bind: this.#weights }));
    this.#compiled = [...this.#compiled.filter((one) => used.has(one.capacity)), { capacity, length, executable }];
    executable.catch(() => (this.#compiled = this.#compiled.filter((one) => one.executable !== executable)));
    return this.#track(executable);
  }

  async #discard(compiled: readonly Compiled[]): Promise<void> {
    await Promise.all(
      compiled.map(({ executable }) =>
        executable.then(
          (ready) => ready.release(),
          () => undefined,
        ),
      ),
    );
  }

  /** One run over the first tokens of each part; answers the logits [B, V] if they are wanted. */
  async #step(
    state: State,
    parts: readonly (readonly number[])[],
    size: number,
    length: number | 'T',
    wanted: boolean,
  ): Promise<Float32Array | undefined> {
    const executable = await this.#compile(state.capacity, length);
    const tokens = new Int32Array(this.batch * size);
    for (const [b, part] of parts.entries()) tokens.set(part, b * size);
    const counts = Int32Array.from(parts, (part) => part.length);
    const given: Record<string, Buffer> = {};
    try {
      given['tokens'] = await this.#engine.upload('int32', [this.batch, size], tokens);
      given['starts'] = await this.#engine.upload('int32', [this.batch], state.lengths);
      given['lengths'] = await this.#engine.upload('int32', [this.batch], counts);
      const { logits, ...buffers } = await executable.run({ ...state.buffers, ...given });
      state.buffers = buffers;
      counts.forEach((count, b) => (state.lengths[b] = (state.lengths[b] ?? 0) + count));
      if (!logits) return undefined;
      try {
        const values = wanted ? await this.#engine.download(logits) : undefined;
        return values instanceof Float32Array ? values : undefined;
      } finally {
        logits.dispose();
      }
    } finally {
      disposeBuffers(given);
    }
  }
}
