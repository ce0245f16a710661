// Runs one model on one engine: tokens in, logits out, the state staying where it is. Knows no text and no requests.
// Shapes: B rows, T tokens of each, V classes, D features.
import type { Buffer, Buffers, Engine, Executable } from '../engines/engine.ts';
import type { Model, RowScales } from '../liquid/index.ts';
import { keepsLatest, stepProgram, withRoundedRows, withScaledRows } from '../liquid/index.ts';
import type { Dim, Program } from '../tensor/index.ts';
import { hashProgram, LfmError } from '../tensor/index.ts';
import type { Adapter } from './adapter.ts';
import { joined, sha256, toHex } from './digest.ts';
import type { RoundedWeights } from './rounded-weights.ts';
import { roundWeights } from './rounded-weights.ts';
import type { State } from './state.ts';
import { capacitiesOf, disposeBuffers, emptyState, growState } from './state.ts';

export interface GeneratorOptions {
  /** Sizes that states grow through, ascending; the last bounds a text. Default: a few, up to the model's context length. */
  readonly capacities?: readonly number[];
  /** Most tokens of a prompt that one run takes: more is faster, to a point, and takes more memory. Default 512. */
  readonly chunk?: number;
  /** Tells the weights from all others that ever were; given, an engine may keep what it makes of them. */
  readonly identity?: string | undefined;
}

export interface StepOptions {
  /** What comes back of each row: of its last token [V], or of all of its tokens [T, V]. Default 'last'. */
  readonly positions?: 'last' | 'all';
  /** Logits, or the hidden states that they are made of (D in place of V). Default 'logits'. */
  readonly output?: 'logits' | 'hidden';
}

interface Compiled {
  readonly key: string;
  /** Of the states that it serves; a symbol: any. */
  readonly capacity: Dim;
  /** Of the adapters that run in it; absent: the model as it is. */
  readonly kind: string | undefined;
  readonly executable: Promise<Executable>;
}

/** What a program is compiled for. */
interface Shape {
  readonly batch: Dim;
  readonly length: Dim;
  readonly positions: Dim;
  /** Of the state that is to run; `#compile` knows whether it matters. */
  readonly capacity: number;
  readonly output: 'logits' | 'hidden';
  /** Whether packed weights are laid out for many rows: see `withRoundedRows`. */
  readonly many: boolean;
  readonly adapter: Adapter | undefined;
}

/** From so many rows on products of whole rounded rows are the faster ones. */
const MANY_ROWS = 8;

/** Where programs have fixed lengths, a chunk takes the least of these that holds it: few compilations. */
const fixedLengths = [1, 16, 64, 256, 512] as const;
/** Of each weight, what its model is known by. */
const FINGERPRINT_BYTES = 4096;
const fingerprinted = { batch: 1, length: 1, capacity: 16 } as const;
/** Sizes that no state has whose programs are kept all the same, for the next text of that size. */
const IDLE_CAPACITIES = 2;

export class Generator implements AsyncDisposable {
  readonly engine: Engine;
  #model: Model;
  /** Most tokens that one run takes. */
  readonly chunk: number;
  /** Tokens that a text may have, its prompt included. */
  readonly contextLength: number;
  readonly #weights: Buffers;
  /** For steps of many rows, where another form of the weights is faster there. */
  #manyRows: Model | undefined;
  readonly #identity: string | undefined;
  #rounded: Promise<RoundedWeights> | undefined;
  readonly #capacities: readonly number[];
  readonly #states = new Set<State>();
  readonly #adapters = new Map<string, Adapter>();
  /** Removed while states were still made under them. */
  readonly #retired = new Set<Adapter>();
  readonly #running = new Set<Promise<unknown>>();
  /** Whether programs are made for states of one size: on engines of fixed shapes, and where windows or positions go by it. */
  #bySize: boolean;
  /** Whether a token of one row has a program of its own. */
  readonly #oneToken: boolean;
  /** The one used last stands last. */
  #compiled: readonly Compiled[] = [];
  #closed = false;
  #fingerprint: Promise<string> | undefined;

  /** `weights`: a buffer of `engine` for each of the model's `parameterTypes`. They are disposed with the generator. */
  constructor(engine: Engine, model: Model, weights: Buffers, options: GeneratorOptions = {}) {
    this.engine = engine;
    this.#model = model;
    this.#weights = weights;
    this.#manyRows = engine.keepsOneForm ? undefined : withRoundedRows(model);
    this.#bySize = engine.compilesBySize ?? false;
    this.#oneToken = engine.prefersOneToken ?? Object.values(model.states).some(keepsLatest);
    this.#capacities = options.capacities ?? capacitiesOf(model);
    this.#identity = options.identity;
    this.chunk = options.chunk ?? 512;
    this.contextLength = Math.min(model.contextLength, this.#capacities.at(-1) ?? 0);
  }

  get model(): Model {
    return this.#model;
  }

  /** Holds keys and values as int8 from now on. Before that no state may be open. Errors: `bad-scales`. */
  async scaleRows(scales: RowScales): Promise<void> {
    this.#model = withScaledRows(this.model, scales);
    this.#manyRows &&= withScaledRows(this.#manyRows, scales);
    this.#fingerprint = undefined;
    const compiled = this.#compiled;
    this.#compiled = [];
    await this.#track(this.#discard(compiled));
  }

  /** Compiles what a text of `tokens` tokens needs, so that the first one need not wait. */
  async prepare(tokens = 1): Promise<void> {
    const room = { capacity: this.#capacityFor(tokens), lengths: [0] };
    // Packed weights are read for both; after the second they may be let go.
    if (this.#manyRows) await this.#compile(this.#shapeOf(room, MANY_ROWS, {}));
    await this.#compile(this.#shapeOf(room, 1, {}));
  }

  /** Names of the adapters at hand. */
  get adapters(): readonly string[] {
    return [...this.#adapters.keys()];
  }

  /** Takes an adapter over. Errors: `adapter-exists`, `model-closed`. */
  addAdapter(adapter: Adapter): void {
    this.#requireOpen();
    if (this.#adapters.has(adapter.name))
      throw new LfmError('adapter-exists', `There is an adapter ${adapter.name} already: unload it, or choose a name.`);
    this.#adapters.set(adapter.name, adapter);
  }

  /** Forgets an adapter; texts that run under it go on to their end. Errors: `unknown-adapter`. */
  async removeAdapter(name: string): Promise<void> {
    const adapter = this.adapter(name);
    this.#adapters.delete(name);
    this.#retired.add(adapter);
    await this.#track(this.#dropRetired());
  }

  /** Errors: `unknown-adapter` with those there are. */
  adapter(name: string): Adapter {
    const found = this.#adapters.get(name);
    if (found) return found;
    const names = this.adapters.join(', ') || 'none';
    throw new LfmError('unknown-adapter', `There is no adapter ${JSON.stringify(name)}; loaded: ${names}.`);
  }

  /** Frees retired adapters that no state needs, with the programs that only they ran in. */
  async #dropRetired(): Promise<void> {
    const used = new Set([...this.#states].map(({ adapter }) => adapter));
    for (const adapter of [...this.#retired].filter((one) => !used.has(one))) {
      this.#retired.delete(adapter);
      disposeBuffers(adapter.buffers);
    }
    const kinds = new Set([...this.#adapters.values(), ...this.#retired].map(({ kind }) => kind));
    const idle = this.#compiled.filter(({ kind }) => kind !== undefined && !kinds.has(kind));
    this.#compiled = this.#compiled.filter((one) => !idle.includes(one));
    await this.#discard(idle);
  }

  /**
   * A state of `batch` rows that holds nothing and has room for `tokens` in each; give it back with `release`.
   * Errors: `model-closed`; `unknown-adapter` for one that was removed meanwhile.
   */
  async open(tokens = 1, batch = 1, adapter?: Adapter): Promise<State> {
    this.#requireOpen();
    if (adapter && !this.#retired.has(adapter) && this.adapter(adapter.name) !== adapter)
      throw new LfmError('unknown-adapter', `The adapter ${adapter.name} was replaced while the request waited.`);
    const made = emptyState(this.engine, this.model, batch, this.#capacityFor(tokens), adapter);
    return this.#track(
      made.then((state) => {
        this.#states.add(state);
        return state;
      }),
    );
  }

  release(state: State): void {
    if (this.#states.delete(state)) disposeBuffers(state.buffers);
    if (!this.#closed && state.adapter && this.#retired.has(state.adapter)) void this.#track(this.#dropRetired());
  }

  /** Gives each row of a state room for `tokens` tokens. */
  async reserve(state: State, tokens: number): Promise<void> {
    if (tokens <= state.capacity) return;
    this.#requireOpen();
    await this.#track(growState(this.engine, this.model, state, this.#capacityFor(tokens)));
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
    this.#checkRows(state, rows);
    await this.reserve(state, Math.max(...rows.map((row, b) => (state.lengths[b] ?? 0) + row.length)));
    const longest = Math.max(...rows.map((row) => row.length));
    const results = new Array<Float32Array | undefined>(state.lengths.length).fill(undefined);
    for (let from = 0; from < longest; from += this.chunk) {
      signal?.throwIfAborted();
      const parts = results.map((_, b) => rows[b]?.slice(from, from + this.chunk) ?? []);
      const found = await this.step(state, parts);
      for (const [b, logits] of found.entries()) if (logits) results[b] = logits;
    }
    return results;
  }

  /**
   * One run over at most `chunk` tokens of each row, for which the state has room. Answers what `options` ask for, of each
   * row that has tokens.
   * Errors: `model-closed`, what the engine says.
   */
  async step(
    state: State,
    parts: readonly (readonly number[])[],
    options: StepOptions = {},
  ): Promise<(Float32Array | undefined)[]> {
    this.#requireOpen();
    return this.#track(this.#step(state, parts, options));
  }

  /** Errors: `bad-token`, `context-full`, for a text of these tokens. */
  check(tokens: readonly number[], before = 0): void {
    const { classes } = this.model.head;
    const bad = tokens.find((id) => !Number.isInteger(id) || id < 0 || id >= classes);
    if (bad !== undefined) throw new LfmError('bad-token', `Expected tokens from 0 to ${classes - 1}; found ${bad}.`);
    const total = before + tokens.length;
    if (total > this.contextLength) {
      throw new LfmError(
        'context-full',
        `The text has ${total} tokens; the model takes at most ${this.contextLength}: shorten it.`,
      );
    }
  }

  /**
   * What tells this model from others: SHA-256 over its program and the first numbers of each of its weights, in hex; under an
   * adapter, with that one's id. Errors: `unknown-adapter`, `model-closed`.
   */
  async fingerprint(adapter?: string): Promise<string> {
    const own = await (this.#fingerprint ??= this.#track(this.#computeFingerprint()));
    return adapter === undefined ? own : `${own} ${this.adapter(adapter).id}`;
  }

  async #computeFingerprint(): Promise<string> {
    this.#requireOpen();
    const parts = [new TextEncoder().encode(await hashProgram(stepProgram(this.model, fingerprinted)))];
    // One at a time: a download may be a copy of the whole tensor.
    for (const name of Object.keys(this.#weights).toSorted()) {
      const weight = this.#weights[name];
      if (!weight) continue;
      const { buffer, byteOffset, byteLength } = await this.engine.download(weight);
      parts.push(new Uint8Array(buffer, byteOffset, Math.min(byteLength, FINGERPRINT_BYTES)).slice());
    }
    return toHex(await sha256(joined(parts)));
  }

  /** Frees everything it took, once what runs has ended. What is asked of it then fails with `model-closed`. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
    for (const state of this.#states) this.release(state);
    await this.#dropRetired();
    await this.#discard(this.#compiled);
    await (await this.#rounded?.catch(() => undefined))?.dispose();
    for (const { buffers } of this.#adapters.values()) disposeBuffers(buffers);
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

  #checkRows(state: State, rows: readonly (readonly number[])[]): void {
    if (rows.length > state.lengths.length)
      throw new LfmError('too-many-rows', `${rows.length} rows were given for a state of ${state.lengths.length}.`);
    for (const [b, row] of rows.entries()) this.check(row, state.lengths[b] ?? 0);
  }

  /** The least size for so many tokens, or a compiled one that is not much larger: a step may cost as much as its size. */
  #capacityFor(tokens: number): number {
    const enough = this.#capacities.filter((capacity) => capacity >= tokens);
    const [least = this.contextLength] = enough;
    const isCompiled = (capacity: number) => this.#compiled.some((one) => one.capacity === capacity);
    return enough.find((capacity) => capacity <= 4 * least && isCompiled(capacity)) ?? least;
  }

  /** Where sizes may be symbols one program, and one copy of laid-out weights, serves all of them. */
  #shapeOf(
    { capacity, lengths, adapter }: Pick<State, 'capacity' | 'adapter'> & { readonly lengths: ArrayLike<number> },
    longest: number,
    options: StepOptions,
  ): Shape {
    const { positions = 'last', output = 'logits' } = options;
    const batch = lengths.length;
    if (!this.engine.compilesBySize) {
      // A token of each of several rows is a case of its own: kernels may take no more than that of a batch. Under an adapter there
      // is no program for few rows, whose attention over int8 is another one.
      const decodes =
        longest === 1 && (batch > 1 || this.#oneToken || (adapter !== undefined && this.#manyRows !== undefined));
      return {
        batch: batch === 1 ? 1 : 'B',
        length: decodes ? 1 : 'T',
        positions: decodes ? 1 : 'S',
        capacity,
        output,
        adapter,
        many: this.#manyRows !== undefined && !adapter && batch * longest >= MANY_ROWS,
      };
    }
    const length = fixedLengths.find((size) => size >= longest) ?? Math.max(longest, this.chunk);
    return { batch, length, positions: positions === 'all' ? length : 1, capacity, output, adapter, many: false };
  }

  /** Compiles once; programs of sizes that no state has are let go first, since each may hold a copy of the weights. */
  async #compile(shape: Shape): Promise<Executable> {
    const { batch, length, positions, output, adapter, many } = shape;
    const capacity = this.#bySize ? shape.capacity : 'C';
    const kind = adapter?.kind;
    const key = [batch, length, positions, capacity, output, kind, many].join();
    const found = this.#compiled.find((one) => one.key === key);
    if (found) {
      if (found !== this.#compiled.at(-1)) this.#compiled = [...this.#compiled.filter((one) => one !== found), found];
      return found.executable;
    }
    const used = new Set<Dim>([...this.#states].map((state) => state.capacity)).add(capacity);
    const recent = new Set(this.#compiled.toReversed().flatMap((one) => (used.has(one.capacity) ? [] : one.capacity)));
    const kept = new Set([...used, ...[...recent].slice(0, IDLE_CAPACITIES)]);
    const rounded = many ? this.#manyRows : undefined;
    const model = adapter?.model ?? rounded ?? this.model;
    let program: Program;
    try {
      program = stepProgram(model, { batch, length, capacity, positions, hidden: output === 'hidden' });
    } catch (error) {
      if (this.#bySize || !(error instanceof LfmError && error.code === 'unbound-symbol')) throw error;
      this.#bySize = true;
      return this.#compile(shape);
    }
    const idle = this.#compiled.filter((one) => !kept.has(one.capacity));
    const executable = this.#discard(idle).then(async () =>
      this.engine.compile(program, {
        bind: rounded ? await this.#roundedWeights(rounded) : this.#weights,
        fewRows: this.#manyRows !== undefined && !many && !adapter,
      }),
    );
    this.#compiled = [...this.#compiled.filter((one) => !idle.includes(one)), { key, capacity, kind, executable }];
    executable.catch(() => (this.#compiled = this.#compiled.filter((one) => one.executable !== executable)));
    return this.#track(executable);
  }

  async #roundedWeights(model: Model): Promise<Buffers> {
    return (await (this.#rounded ??= roundWeights(this.engine, model, this.#weights, this.#identity))).all;
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

  async #step(
    state: State,
    parts: readonly (readonly number[])[],
    options: StepOptions,
  ): Promise<(Float32Array | undefined)[]> {
    const batch = state.lengths.length;
    const longest = Math.max(1, ...parts.map((part) => part.length));
    const shape = this.#shapeOf(state, longest, options);
    const size = typeof shape.length === 'number' ? shape.length : longest;
    const all = options.positions === 'all';
    const wanted = all ? size : 1;
    const executable = await this.#compile(shape);
    const tokens = new Int32Array(batch * size);
    const positions = new Int32Array(batch * wanted);
    const counts = new Int32Array(batch);
    for (const [b, part] of parts.entries()) {
      tokens.set(part, b * size);
      counts[b] = part.length;
    }
    for (let b = 0; b < batch; b++)
      for (let s = 0; s < wanted; s++) positions[b * wanted + s] = all ? s : Math.max(0, (counts[b] ?? 0) - 1);
    const given: Record<string, Buffer> = {};
    try {
      given['tokens'] = await this.engine.upload('int32', [batch, size], tokens);
      given['starts'] = await this.engine.upload('int32', [batch], state.lengths);
      given['lengths'] = await this.engine.upload('int32', [batch], counts);
      given['positions'] = await this.engine.upload('int32', [batch, wanted], positions);
      const { logits, hidden, ...buffers } = await executable.run({
        ...state.adapter?.buffers,
        ...state.buffers,
        ...given,
      });
      state.buffers = buffers;
      counts.forEach((count, b) => (state.lengths[b] = (state.lengths[b] ?? 0) + count));
      const result = logits ?? hidden;
      if (!result) throw new LfmError('no-result', 'A step gave no result.');
      try {
        const values = await this.engine.download(result);
        if (!(values instanceof Float32Array)) throw new LfmError('no-result', 'A step gave no numbers.');
        const row = values.length / batch;
        return Array.from(counts, (count, b) =>
          count > 0 ? values.subarray(b * row, b * row + (all ? count * (row / wanted) : row)) : undefined,
        );
      } finally {
        result.dispose();
      }
    } finally {
      disposeBuffers(given);
    }
  }
}
