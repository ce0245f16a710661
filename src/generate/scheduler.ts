// Shares one generator among all who ask: requests wait in a bounded queue, prompts are taken in by chunks between steps, texts
// are continued side by side, and what was computed is kept for texts that begin alike.
import { LfmError } from '../tensor/index.ts';
import type { Adapter } from './adapter.ts';
import type { Generator, StepOptions } from './generator.ts';
import type { Draft } from './guesser.ts';
import { DraftGuesser, promptLookup } from './guesser.ts';
import type { Job, Scoring } from './jobs.ts';
import { EmbedJob, GenerateJob, ScoreJob } from './jobs.ts';
import { Prefill } from './prefill.ts';
import type { CacheStatistics, Lender, SavedPrefix } from './prefix-cache.ts';
import { PrefixCache } from './prefix-cache.ts';
import type { Constraint } from './row.ts';
import { Row } from './row.ts';
import type { Choice, SamplingOptions } from './sampler.ts';
import { freshSeed } from './sampler.ts';
import { ScoredPrompts } from './scored-prompts.ts';
import { Slots } from './slots.ts';
import { TokenStream } from './stream.ts';

export interface SchedulerOptions {
  /** Most texts that are continued side by side. Default 8. */
  readonly maxBatch?: number | undefined;
  /** Most requests that wait; one more is refused. Default 256. */
  readonly maxQueue?: number | undefined;
  /** Most tokens of a prompt that are taken in between two steps of running texts, or two snapshots. Default 128. */
  readonly chunk?: number | undefined;
  /** Most bytes of state kept for texts that begin alike; 0 keeps none. Default 256 MiB, 0 on the engine xla. */
  readonly cacheBytes?: number | undefined;
  /**
   * Each request gives the same bits whatever runs beside it and whatever is cached: every step is of `maxBatch` rows and
   * every chunk begins at a multiple of its size. It costs what the empty rows cost. Default false: the same up to rounding.
   */
  readonly deterministic?: boolean | undefined;
}

export interface RequestOptions {
  /** Requests of a higher one go first. Default 0. */
  readonly priority?: number | undefined;
  /** Cached states are shared among requests of one tenant only. Default: one for all. */
  readonly tenant?: string | undefined;
  /** The adapter that the model runs under, by its name. Default: none. */
  readonly adapter?: string | undefined;
}

export interface GenerateOptions extends SamplingOptions, RequestOptions {
  /** Default 256. */
  readonly maxTokens?: number | undefined;
  /** Tokens that end the text; they are not part of it. */
  readonly stopIds?: Iterable<number> | undefined;
  /** Texts to generate from one prompt, which is computed once. Default 1. */
  readonly n?: number | undefined;
  /** Whether the prompt's own log-probabilities are wanted, with `topLogprobs` likeliest tokens each. */
  readonly promptLogprobs?: boolean | undefined;
  /** Tokens to guess at once from what the text says elsewhere; the same tokens come, sooner where it repeats itself. Default 0. */
  readonly promptLookup?: number | undefined;
  /** A smaller model that guesses where the text itself gives no guess; the same tokens come. Default: none. */
  readonly draft?: Draft | undefined;
  /** What the text must match; log-probabilities stay the model's own. */
  readonly constraint?: Constraint | undefined;
}

const CACHE_BYTES = 256 * 2 ** 20;
/** A run over fewer tokens takes about as long: it reads the weights all the same. */
const LEAST_COST = 32;

interface Waiting {
  readonly job: Job;
  readonly priority: number;
}

export class Scheduler implements AsyncDisposable {
  readonly generator: Generator;
  readonly #cache: PrefixCache;
  readonly #scored = new ScoredPrompts();
  readonly #slots: Slots;
  /** Of texts under adapters, one of each; and texts that guess, which run alone: a guess is checked in a run over several tokens. */
  #beside: readonly Slots[] = [];
  readonly #maxBatch: number;
  readonly #maxQueue: number;
  readonly #chunk: number;
  readonly #deterministic: boolean;
  /** By priority, and where that is equal by arrival, or by when a chunk of it was last taken in. */
  #waiting: readonly Waiting[] = [];
  /** Work that must not meet a step. */
  #errands: (() => Promise<void>)[] = [];
  #loop: Promise<void> | undefined;
  #closed = false;

  /** Takes over the generator. Errors: `bad-limit`. */
  constructor(generator: Generator, options: SchedulerOptions = {}) {
    const { maxBatch = 8, maxQueue = 256, chunk = 128, deterministic = false } = options;
    const { cacheBytes = generator.engine.name === 'xla' ? 0 : CACHE_BYTES } = options;
    for (const [name, value, least] of [
      ['maxBatch', maxBatch, 1],
      ['maxQueue', maxQueue, 1],
      ['chunk', chunk, 1],
      ['cacheBytes', cacheBytes, 0],
    ] as const)
      requireLimit(name, value, least);
    this.generator = generator;
    this.#cache = new PrefixCache(generator, cacheBytes, () => this.#lenders());
    this.#slots = new Slots(generator, this.#cache, { most: maxBatch, fixed: deterministic });
    this.#maxBatch = maxBatch;
    this.#maxQueue = maxQueue;
    this.#chunk = Math.min(chunk, generator.chunk);
    this.#deterministic = deterministic;
  }

  /** What the cache holds, and what it has spared. */
  get cache(): CacheStatistics {
    return this.#cache.statistics;
  }

  /** Tokens of prompts whose log-probabilities are kept, at most `MOST_SCORED_TOKENS`. */
  get scoredTokens(): number {
    return this.#scored.tokens;
  }

  /** Requests that wait for a place, and texts being continued. */
  get load(): { readonly waiting: number; readonly running: number } {
    const waiting = this.#waiting.filter(({ job }) => !job.prefill.state).length;
    return { waiting, running: this.#running };
  }

  /**
   * Continues a prompt. Errors, thrown here: `empty-prompt`, `bad-limit`, `bad-sampling`, `bad-token`, `context-full`,
   * `queue-full`, `model-closed`; from the stream: the reason of `signal`, `bad-logits`, `model-closed`, what the engine says.
   */
  generate(prompt: readonly number[], options: GenerateOptions = {}, signal?: AbortSignal): TokenStream {
    const [stream] = this.generateAll(prompt, { ...options, n: 1 }, signal);
    if (!stream) throw new LfmError('no-result', 'A request gave no stream.');
    return stream;
  }

  /** The same, `options.n` times from one prompt; each text has random numbers of its own. Errors: those of `generate`. */
  generateAll(prompt: readonly number[], options: GenerateOptions = {}, signal?: AbortSignal): readonly TokenStream[] {
    const { maxTokens = 256, stopIds = [], n = 1, promptLogprobs = false, draft } = options;
    requireLimit('maxTokens', maxTokens, 1);
    requireLimit('n', n, 1);
    const lookUp = options.promptLookup ?? 0;
    requireLimit('promptLookup', lookUp, 0);
    if (draft) requireLimit('draftTokens', draft.tokens, 1);
    this.#check(prompt);
    const key = this.#keyOf(options);
    const given = { ...options, seed: options.seed ?? freshSeed(), maxTokens, stopIds: [...stopIds] };
    const { classes } = this.generator.model.head;
    const guessers = () => [
      ...(lookUp > 0 ? [promptLookup(lookUp)] : []),
      ...(draft ? [new DraftGuesser(draft, classes)] : []),
    ];
    const rows = Array.from({ length: n }, (_, sequence) => {
      const stream = new TokenStream(() => this.#nextTurn(), signal);
      return new Row(stream, key, prompt, this.generator.contextLength, { ...given, guessers: guessers() }, sequence);
    });
    const scored = promptLogprobs ? this.#scoring(prompt, options) : undefined;
    // A token is scored after the one before it: that one must be computed too.
    const prefill = this.#prefill(
      prompt,
      options,
      Math.min(maxTokens, this.#chunk),
      scored ? () => scored.known().length : everything,
      {
        positions: promptLogprobs ? 'all' : 'last',
      },
    );
    this.#enqueue(new GenerateJob(prefill, rows, scored), options);
    return rows.map(({ stream }) => stream);
  }

  /**
   * Natural logarithms of the probabilities that the model gives to each of some continuations of a text, which is computed
   * once. Errors: `empty-prompt` where text or continuation has no token, and those of `generate`.
   */
  async score(
    prompt: readonly number[],
    continuations: readonly (readonly number[])[],
    options: RequestOptions = {},
    signal?: AbortSignal,
  ): Promise<readonly number[]> {
    this.#check(prompt);
    for (const tokens of continuations) {
      if (tokens.length === 0) throw new LfmError('empty-prompt', 'score: a choice adds no token to the prompt.');
      this.generator.check(tokens, prompt.length);
    }
    if (continuations.length === 0) return [];
    const job = new ScoreJob(this.generator, this.#prefill(prompt, options, 1, everything, {}), continuations, signal);
    this.#enqueue(job, options);
    return job.answer;
  }

  /** Hidden states after the last norm, of a text as one vector [D]. Errors: those of `generate`. */
  async embed(
    tokens: readonly number[],
    pooling: 'mean' | 'last',
    options: RequestOptions = {},
    signal?: AbortSignal,
  ): Promise<Float32Array> {
    this.#check(tokens);
    const step = { positions: 'all', output: 'hidden' } as const;
    const job = new EmbedJob(
      this.#prefill(tokens, options, 0, () => 0, step),
      this.generator.model.hiddenSize,
      pooling,
      signal,
    );
    this.#enqueue(job, options);
    return job.answer;
  }

  /** What is kept of a text, in host memory; undefined where it is nothing. */
  exportPrefix(tokens: readonly number[], options: RequestOptions = {}): Promise<SavedPrefix | undefined> {
    return this.exclusively((cache) => cache.export(this.#keyOf(options), tokens));
  }

  /** Keeps what `exportPrefix` gave for the same text, on this model. */
  importPrefix(tokens: readonly number[], saved: SavedPrefix, options: RequestOptions = {}): Promise<void> {
    return this.exclusively((cache) => cache.import(this.#keyOf(options), tokens, saved));
  }

  /** Lets go of all cached states. */
  async clearCache(): Promise<void> {
    await this.exclusively(async () => {
      this.#cache.clear();
      this.#scored.clear();
    });
  }

  /** Does something with the cache between two steps. Errors: `model-closed`, those of the work. */
  exclusively<T>(work: (cache: PrefixCache) => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#closed) return reject(closedError());
      this.#errands.push(() => work(this.#cache).then(resolve, reject));
      this.#start();
    });
  }

  /** Frees everything, the generator too, once the step that runs has ended. Requests under way fail with `model-closed`. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#loop;
    this.#failAll(closedError());
    this.#cache.clear();
    await this.generator.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  get #running(): number {
    return this.#beside.reduce((sum, slots) => sum + slots.count, this.#slots.count);
  }

  /** Texts under way. */
  #lenders(): readonly Lender[] {
    const prompts = this.#waiting.flatMap(({ job }) => job.prefill.lender ?? []);
    return [...prompts, ...[this.#slots, ...this.#beside].flatMap((slots) => slots.lenders)];
  }

  #check(prompt: readonly number[]): void {
    if (this.#closed) throw closedError();
    if (prompt.length === 0)
      throw new LfmError('empty-prompt', 'A model continues a text of at least one token; the prompt has none.');
    this.generator.check(prompt);
  }

  /** What must be equal for states to be shared, beside the generator itself. */
  #keyOf({ tenant = '', adapter }: RequestOptions): string {
    return adapter === undefined ? tenant : `${tenant}\0${this.generator.adapter(adapter).id}`;
  }

  #adapterOf({ adapter }: RequestOptions): Adapter | undefined {
    return adapter === undefined ? undefined : this.generator.adapter(adapter);
  }

  /** What is known of a prompt's log-probabilities, and where the rest is to be kept. */
  #scoring(prompt: readonly number[], options: GenerateOptions): Scoring {
    const top = options.topLogprobs ?? 0;
    const key = `${top}\0${this.#keyOf(options)}`;
    let found: readonly Choice[] | undefined;
    const known = () => (found ??= this.#cache.isEnabled ? this.#scored.find(key, prompt) : []);
    const keep = (choices: readonly Choice[]) => {
      if (this.#cache.isEnabled) this.#scored.keep(key, prompt, choices);
    };
    return { classes: this.generator.model.head.classes, top, known, keep };
  }

  #prefill(
    tokens: readonly number[],
    options: RequestOptions,
    room: number,
    reusable: () => number,
    step: StepOptions,
  ): Prefill {
    const aligned = this.#deterministic;
    // Runs that answer more are cut into other shapes.
    const key = aligned && step.positions === 'all' ? `${this.#keyOf(options)}\0all` : this.#keyOf(options);
    const adapter = this.#adapterOf(options);
    return new Prefill(this.generator, this.#cache, tokens, { key, adapter, room, reusable, step, aligned });
  }

  #enqueue(job: Job, { priority = 0 }: RequestOptions): void {
    if (this.load.waiting >= this.#maxQueue) {
      throw new LfmError('queue-full', `${this.#maxQueue} requests wait already: ask again later, or raise maxQueue.`);
    }
    this.#queue({ job, priority });
    this.#start();
  }

  #queue(one: Waiting): void {
    const at = this.#waiting.findIndex((other) => other.priority < one.priority);
    this.#waiting = this.#waiting.toSpliced(at < 0 ? this.#waiting.length : at, 0, one);
  }

  /** Answers once a turn has begun and ended from now on: what is no longer wanted is free then. */
  async #nextTurn(): Promise<void> {
    if (!this.#closed) await this.exclusively(async () => undefined);
  }

  #start(): void {
    this.#loop ??= this.#run().finally(() => {
      this.#loop = undefined;
      if (!this.#closed && this.#hasWork()) this.#start();
    });
  }

  #hasWork(): boolean {
    return this.#waiting.length > 0 || this.#errands.length > 0 || this.#running > 0;
  }

  async #run(): Promise<void> {
    while (!this.#closed && this.#hasWork()) {
      try {
        await this.#turn();
      } catch (error) {
        // Whatever failed outside a request's own steps leaves nothing to trust.
        this.#failAll(error);
      }
    }
  }

  /** One turn: what is unwanted goes, a chunk of the prompts that wait is taken in, every text being continued gets a token. */
  async #turn(): Promise<void> {
    for (const { job } of this.#waiting) if (job.isCancelled) await this.#finish(job);
    for (const slots of [this.#slots, ...this.#beside]) await slots.sweep();
    for (const errand of this.#errands.splice(0)) await errand();
    if (this.#nextJob()) await this.#takeIn();
    else for (const slots of [this.#slots, ...this.#beside]) await slots.settle();
    for (const slots of [this.#slots, ...this.#beside]) await slots.step();
    this.#beside = this.#beside.filter(({ count }) => count > 0);
  }

  /** The first whose turn it is and that is under way, or that there is a place for. */
  #nextJob(): Job | undefined {
    const started = this.#waiting.flatMap(({ job: { prefill } }) => (prefill.state ? prefill : []));
    const hasPlace = this.#running + started.length < this.#maxBatch;
    const canGo = ({ prefill }: Job) =>
      prefill.state
        ? !prefill.isDone || this.#running < this.#maxBatch
        : hasPlace && !started.some((other) => prefill.gainsFrom(other));
    return this.#waiting.find(({ job }) => canGo(job))?.job;
  }

  /**
   * A chunk's worth of prompts. Those of one priority take turns by chunks, so that a short one need not wait for a long one's
   * end; short ones go several in a turn. Where a prompt is cut does not depend on the others: its sums are the same.
   */
  async #takeIn(): Promise<void> {
    let spent = 0;
    for (let job = this.#nextJob(); job; job = this.#nextJob()) {
      if (job.isCancelled) {
        await this.#finish(job);
        continue;
      }
      const most = this.#most;
      const { prefill } = job;
      const fits = () => spent + Math.min(most, Math.max(1, prefill.tokens.length - prefill.position)) <= most;
      if (spent > 0 && !fits()) return;
      const before = prefill.computedTokens;
      await this.#advance(job, most);
      const computed = prefill.computedTokens - before;
      // What is no prompt, a choice to be scored, has a turn of its own.
      spent += computed === 0 ? most : Math.max(computed, LEAST_COST);
      if (!fits()) this.#moveBack(job);
    }
  }

  /** Tokens of one run. Chunks end where snapshots are taken: short ones make hits better, and cost a prefill next to nothing. */
  get #most(): number {
    const isShort = this.#running > 0 || this.#deterministic || this.#cache.needsSnapshots;
    return isShort ? this.#chunk : this.generator.chunk;
  }

  async #advance(job: Job, most: number): Promise<void> {
    try {
      if (job instanceof GenerateJob) {
        if (job.prefill.isDone || (await job.step(most))) await this.#join(job);
      } else if (await job.step(most)) await this.#finish(job);
    } catch (error) {
      job.fail(error);
      this.#drop(job);
    }
  }

  /** Behind the others of its priority, where it still waits. */
  #moveBack(job: Job): void {
    const found = this.#waiting.find((one) => one.job === job);
    if (!found) return;
    this.#waiting = this.#waiting.filter((one) => one !== found);
    this.#queue(found);
  }

  /** Gives texts slots, as many as there are; the job is over once all have one. */
  async #join(job: GenerateJob): Promise<void> {
    const { state } = job.prefill;
    const open = () => job.rows.filter((row) => !row.stream.isEnded && !this.#joined.has(row));
    for (const row of open()) {
      if (!state || this.#running >= this.#maxBatch) return;
      const slots = this.#slotsFor(row, state.adapter);
      this.#joined.add(row);
      if (await slots.join(row, state, open().length === 0)) job.prefill.take();
      // They are of a text that goes on now, and goes to the cache when it ends.
      for (const snapshot of job.prefill.takeSnapshots()) row.keepSnapshot(snapshot);
    }
    if (job.rows.some((row) => this.#joined.has(row))) this.#drop(job);
    else await this.#finish(job);
  }

  /** Texts of one adapter share steps. */
  #slotsFor(row: Row, adapter: Adapter | undefined): Slots {
    const isAlone = row.guesses;
    const found = [this.#slots, ...this.#beside].find(({ options }) => !options.isAlone && options.adapter === adapter);
    if (found && !isAlone) return found;
    const made = new Slots(this.generator, this.#cache, {
      most: isAlone ? 1 : this.#maxBatch,
      fixed: this.#deterministic,
      isAlone,
      adapter,
    });
    this.#beside = [...this.#beside, made];
    return made;
  }

  readonly #joined = new WeakSet<Row>();

  /** Of a prompt that no text goes on with. */
  async #finish(job: Job): Promise<void> {
    await job.prefill.keep();
    this.#drop(job);
  }

  #drop(job: Job): void {
    this.#waiting = this.#waiting.filter((one) => one.job !== job);
    job.release();
  }

  #failAll(error: unknown): void {
    for (const { job } of this.#waiting) {
      job.fail(error);
      job.release();
    }
    this.#waiting = [];
    for (const slots of [this.#slots, ...this.#beside]) slots.fail(error);
    this.#beside = [];
    for (const errand of this.#errands.splice(0)) void errand();
  }
}

/** All tokens of a prompt may come from the cache. */
const everything = () => Infinity;

function closedError(): LfmError {
  return new LfmError('model-closed', 'The model was disposed while it was still in use.');
}

function requireLimit(name: string, value: number, least: number): void {
  if (!Number.isSafeInteger(value) || value < least)
    throw new LfmError('bad-limit', `${name}: expected a whole number from ${least}; found ${value}.`);
}
