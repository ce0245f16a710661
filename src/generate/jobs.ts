// What a scheduler works off before, or instead of, continuing a text: prompts taken in, choices scored, texts embedded.
// Each step of a job is short, so that texts being continued need not wait. Shapes: V classes, D features.
import { LfmError } from '../tensor/index.ts';
import type { Generator } from './generator.ts';
import type { Prefill } from './prefill.ts';
import type { Row } from './row.ts';
import type { Choice } from './sampler.ts';
import { likeliest, logSumExp } from './sampler.ts';
import type { State } from './state.ts';
import { copyRow } from './state.ts';

export interface Job {
  /** What it takes in first. */
  readonly prefill: Prefill;
  /** Whether nobody wants its result any more. */
  readonly isCancelled: boolean;
  /** A little more work, at most `most` tokens; true once all is done. */
  step(most: number): Promise<boolean>;
  fail(error: unknown): void;
  /** Frees what it holds. */
  release(): void;
}

/** Tokens whose logits are asked for in one run: a vocabulary of numbers each. */
const SCORED_AT_ONCE = 64;

/** Log-probabilities of tokens under logits [T, V], one each, with the `top` likeliest ones. */
function logprobsOf(logits: Float32Array, ids: readonly number[], classes: number, top: number): Choice[] {
  return ids.map((id, t) => {
    const row = logits.subarray(t * classes, (t + 1) * classes);
    const total = logSumExp(row);
    const choice = { id, logprob: (row[id] ?? 0) - total };
    return top > 0 ? { ...choice, top: likeliest(row, top, total) } : choice;
  });
}

/** A prompt's own log-probabilities, which are wanted with the `top` likeliest tokens each. */
export interface Scoring {
  readonly classes: number;
  readonly top: number;
  /** Of the tokens from the second on, those that need not be computed. */
  readonly known: () => readonly Choice[];
  readonly keep: (choices: readonly Choice[]) => void;
}

/** Takes in a prompt, then hands its rows to slots as there are some. */
export class GenerateJob implements Job {
  readonly prefill: Prefill;
  readonly rows: readonly Row[];
  readonly #scored: Scoring | undefined;
  readonly #prompt: Choice[] = [];

  /** `scored`: the prefill answers logits of all tokens. */
  constructor(prefill: Prefill, rows: readonly Row[], scored: Scoring | undefined) {
    this.prefill = prefill;
    this.rows = rows;
    this.#scored = scored;
  }

  get isCancelled(): boolean {
    return this.rows.every(({ stream }) => stream.isEnded);
  }

  async step(most: number): Promise<boolean> {
    const { prefill } = this;
    const before = prefill.position;
    await prefill.step(this.#scored ? Math.min(most, SCORED_AT_ONCE) : most);
    const { result } = prefill;
    if (this.#scored && result) {
      const { classes, top, known } = this.#scored;
      const computed = Math.max(before, prefill.cachedTokens);
      // Tokens before the first that was computed are in the cache's state, and what is said of them is known.
      if (before === 0) this.#prompt.push(...known().slice(0, computed));
      const next = prefill.tokens.slice(computed + 1, prefill.position + 1);
      this.#prompt.push(...logprobsOf(result, next, classes, top));
    }
    if (!prefill.isDone || !result) return prefill.isDone;
    this.#scored?.keep(this.#prompt);
    for (const { stream } of this.rows) {
      stream.cachedTokens = prefill.cachedTokens;
      stream.prompt = this.#prompt;
    }
    const last = this.#scored ? result.subarray(-this.#scored.classes) : result;
    // Choosing changes the logits, and every text chooses from the same.
    for (const row of this.rows) if (!row.stream.isEnded) row.take(last.slice());
    return true;
  }

  fail(error: unknown): void {
    for (const { stream } of this.rows) stream.fail(error);
  }

  release(): void {
    this.prefill.release();
  }
}

/** A job whose result is awaited. */
abstract class Answering<T> implements Job {
  readonly prefill: Prefill;
  readonly answer: Promise<T>;
  readonly #signal: AbortSignal | undefined;
  #settle: { readonly resolve: (value: T) => void; readonly reject: (error: unknown) => void } | undefined;

  constructor(prefill: Prefill, signal: AbortSignal | undefined) {
    this.prefill = prefill;
    this.#signal = signal;
    this.answer = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    // Whoever asked hears of it; nobody else need.
    this.answer.catch(() => undefined);
  }

  get isCancelled(): boolean {
    if (!this.#signal?.aborted) return false;
    this.fail(this.#signal.reason);
    return true;
  }

  abstract step(most: number): Promise<boolean>;

  protected done(value: T): true {
    this.#settle?.resolve(value);
    return true;
  }

  fail(error: unknown): void {
    this.#settle?.reject(error);
  }

  release(): void {
    this.prefill.release();
  }
}

/** Log-probabilities of several continuations of one text, which is computed once. */
export class ScoreJob extends Answering<number[]> {
  readonly #generator: Generator;
  readonly #continuations: readonly (readonly number[])[];
  readonly #sums: number[] = [];
  #first: Float32Array | undefined;

  constructor(
    generator: Generator,
    prefill: Prefill,
    continuations: readonly (readonly number[])[],
    signal: AbortSignal | undefined,
  ) {
    super(prefill, signal);
    this.#generator = generator;
    this.#continuations = continuations;
  }

  async step(most: number): Promise<boolean> {
    if (!this.prefill.isDone) {
      await this.prefill.step(most);
      if (!this.prefill.isDone) return false;
      this.#first = this.prefill.result;
    }
    const next = this.#continuations[this.#sums.length];
    if (next && this.prefill.state && this.#first)
      this.#sums.push(await this.#score(next, this.prefill.state, this.#first));
    return this.#sums.length === this.#continuations.length && this.done(this.#sums);
  }

  async #score(tokens: readonly number[], from: State, first: Float32Array): Promise<number> {
    const { model, engine } = this.#generator;
    const { classes } = model.head;
    const sumOf = (choices: readonly Choice[]) => choices.reduce((sum, { logprob }) => sum + logprob, 0);
    let sum = sumOf(logprobsOf(first, tokens.slice(0, 1), classes, 0));
    if (tokens.length <= 1) return sum;
    const state = await this.#generator.open(this.prefill.tokens.length + tokens.length, 1, from.adapter);
    try {
      await copyRow(engine, model, from, 0, state, 0);
      for (let at = 0; at < tokens.length - 1; at += SCORED_AT_ONCE) {
        const part = tokens.slice(at, Math.min(at + SCORED_AT_ONCE, tokens.length - 1));
        const [logits] = await this.#generator.step(state, [part], { positions: 'all' });
        if (!logits) throw new LfmError('no-result', 'A step gave no logits.');
        sum += sumOf(logprobsOf(logits, tokens.slice(at + 1, at + 1 + part.length), classes, 0));
      }
      return sum;
    } finally {
      this.#generator.release(state);
    }
  }
}

/** Hidden states of a text: their mean, or that of its last token. */
export class EmbedJob extends Answering<Float32Array> {
  readonly #pooling: 'mean' | 'last';
  readonly #sum: Float64Array;

  /** The prefill answers hidden states [T, D] of all tokens. */
  constructor(prefill: Prefill, hiddenSize: number, pooling: 'mean' | 'last', signal: AbortSignal | undefined) {
    super(prefill, signal);
    this.#pooling = pooling;
    this.#sum = new Float64Array(hiddenSize);
  }

  async step(most: number): Promise<boolean> {
    const { prefill } = this;
    await prefill.step(most);
    const { result = new Float32Array() } = prefill;
    const width = this.#sum.length;
    for (let i = 0; i < result.length; i++) this.#sum[i % width] = (this.#sum[i % width] ?? 0) + (result[i] ?? 0);
    if (!prefill.isDone) return false;
    const { length } = prefill.tokens;
    return this.done(
      this.#pooling === 'last' ? result.slice(-width) : Float32Array.from(this.#sum, (sum) => sum / length),
    );
  }
}
