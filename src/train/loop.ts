// The training loop: batches in, reports out, and pauses at which everything issued is done. Knows no files.
import type { Loader, LoaderCursor } from '../data/loader.ts';
import { LfmError } from '../tensor/error.ts';
import { markedBatch } from './examples.ts';
import type { Batch, StepResult, Trainer } from './trainer.ts';

export interface StepReport extends StepResult {
  readonly step: number;
  readonly steps: number;
  readonly learningRate: number;
  /** Tokens of this step. */
  readonly tokens: number;
  /** From the end of the step before, or of the pause before, to the end of this one. */
  readonly seconds: number;
  /** Over the last steps. */
  readonly tokensPerSecond: number;
  /** Of the steps left, pauses included. */
  readonly etaSeconds: number;
}

export interface LoopOptions {
  readonly trainer: Trainer;
  /** Gives accumulate * B rows of T + 1 tokens a batch. */
  readonly loader: Loader;
  /** Of a marked batch: whether documents of a row are told apart. */
  readonly segments?: boolean;
  /** Labels of a step. */
  readonly tokensPerStep: number;
  readonly firstStep: number;
  /** Read anew after each pause, which may change it. */
  readonly steps: number;
  readonly learningRate: (step: number) => number;
  /** Stops after the present step; the pause after it is made. */
  readonly signal?: AbortSignal | undefined;
  readonly onStep: (report: StepReport) => void;
  /** Whether to pause after a step; the last one always pauses. */
  readonly pausesAt: (step: number) => boolean;
  /** Everything up to `step` is done and reported; `cursor` is where the loader stood after that step's batch. */
  readonly onPause: (step: number, cursor: LoaderCursor, stopping: boolean) => Promise<void>;
}

/** Steps that may be under way before the next is issued: enough to keep an asynchronous engine fed. */
const IN_FLIGHT = 2;
/** Reports that the speed is averaged over. */
const RECENT = 20;
/** Steps whose mean loss is watched: it may be so many times that of the first of them, and some nats more. */
const WATCHED = 20;
const MOST_GROWTH = 2;
const MOST_NATS = 0.1;
/** How long other work may wait for an engine that never lets go, in milliseconds. */
const TURN_MS = 100;

/**
 * Runs steps `firstStep` to `steps`; a pause may leave fewer or more. Errors: `not-finite` names the step whose loss or gradient norm is not a number,
 * `diverged` the step at which the mean loss of twenty steps came to more than twice that of the first twenty; those
 * of the engine, the loader and `onPause`. After an error nothing is under way any more.
 */
export async function runSteps(options: LoopOptions): Promise<{ readonly stopped: boolean }> {
  const { trainer, firstStep, signal } = options;
  const clock = new Clock(options);
  const pending: Promise<void>[] = [];
  let reported: Promise<void> = Promise.resolve();
  let batch = read(options);
  let turn = performance.now();
  try {
    for (let step = firstStep; step <= options.steps; step++) {
      const { tokens, cursor } = await batch;
      if (step < options.steps) batch = read(options); // while the engine works
      const learningRate = options.learningRate(step);
      const { result } = await trainer.step(tokens, step, learningRate);
      reported = settle(
        Promise.all([result, reported]).then(([found]) => options.onStep(clock.report(step, found, learningRate))),
      );
      pending.push(reported);
      if (pending.length > IN_FLIGHT) await pending.shift();
      if (performance.now() - turn > TURN_MS) {
        await new Promise((resolve) => setTimeout(resolve));
        turn = performance.now();
      }
      const stopping = signal?.aborted ?? false;
      if (stopping || step === options.steps || options.pausesAt(step)) {
        await reported;
        pending.length = 0;
        await options.onPause(step, cursor, stopping);
        clock.resume();
      }
      if (stopping) return { stopped: step < options.steps };
    }
    return { stopped: false };
  } finally {
    await Promise.allSettled([...pending, batch]);
  }
}

interface Read {
  readonly tokens: Int32Array | Batch;
  readonly cursor: LoaderCursor;
}

function read({ loader, segments = false }: LoopOptions): Promise<Read> {
  const taken = async (): Promise<Read> => {
    const { tokens_BT, marks_BT, sources_B } = await loader.next();
    const length = tokens_BT.length / sources_B.length - 1;
    const tokens = marks_BT ? markedBatch(tokens_BT, marks_BT, length, segments) : tokens_BT;
    return { tokens, cursor: loader.cursor() };
  };
  return settle(taken());
}

/** A promise whose failure is told where it is awaited, and nowhere else. */
function settle<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

/** Turns results into reports: how long, how fast, how much longer. */
class Clock {
  readonly #options: LoopOptions;
  readonly #start = performance.now();
  readonly #recent: number[] = [];
  readonly #losses: number[] = [];
  #firstLoss = Number.NaN;
  #last = performance.now();

  constructor(options: LoopOptions) {
    this.#options = options;
  }

  /** Time spent in a pause belongs to no step. */
  resume(): void {
    this.#last = performance.now();
  }

  report(step: number, { loss, norm, metrics }: StepResult, learningRate: number): StepReport {
    const { tokensPerStep: tokens, firstStep, steps } = this.#options;
    for (const [what, value] of [
      ['loss', loss],
      ['gradient norm', norm],
    ] as const) {
      if (!Number.isFinite(value))
        throw new LfmError('not-finite', `Step ${step}: the ${what} is ${value}, so the run stopped there.`);
    }
    this.#watch(step, loss);
    const now = performance.now();
    const seconds = (now - this.#last) / 1000;
    this.#last = now;
    this.#recent.push(seconds);
    if (this.#recent.length > RECENT) this.#recent.shift();
    const mean = this.#recent.reduce((sum, time) => sum + time, 0) / this.#recent.length;
    const etaSeconds = ((now - this.#start) / 1000 / (step - firstStep + 1)) * (steps - step);
    return {
      step,
      steps,
      loss,
      norm,
      metrics,
      learningRate,
      tokens,
      seconds,
      tokensPerSecond: tokens / mean,
      etaSeconds,
    };
  }

  /** A run that is worse than where it began goes on to nothing. */
  #watch(step: number, loss: number): void {
    this.#losses.push(loss);
    if (this.#losses.length > WATCHED) this.#losses.shift();
    if (this.#losses.length < WATCHED) return;
    const mean = this.#losses.reduce((sum, one) => sum + one, 0) / WATCHED;
    if (Number.isNaN(this.#firstLoss)) this.#firstLoss = mean;
    if (mean <= MOST_GROWTH * this.#firstLoss + MOST_NATS) return;
    throw new LfmError(
      'diverged',
      `Step ${step}: the mean loss of ${WATCHED} steps is ${mean.toPrecision(3)}, and was ${this.#firstLoss.toPrecision(3)} in the first ${WATCHED}, so the run stopped there.`,
    );
  }
}
