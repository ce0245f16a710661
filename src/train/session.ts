// A run without its files: a model, an engine and token sources brought together, trained and measured.
import type { LoaderCursor } from '../data/loader.ts';
import { createLoader } from '../data/loader.ts';
import type { TokenReader } from '../data/packed.ts';
import type { Buffers, Engine, Sharding } from '../engines/engine.ts';
import type { Model, TrainingObjective } from '../liquid/index.ts';
import { initialise } from '../liquid/index.ts';
import type { HeldOutMeasure, HeldOutResult } from './held-out.ts';
import { combineHeldOut, createHeldOutMeasure } from './held-out.ts';
import type { StepReport } from './loop.ts';
import { runSteps } from './loop.ts';
import type { Recipe } from './recipe.ts';
import { learningRateAt } from './schedule.ts';
import type { Start, Trainer } from './trainer.ts';
import { createTrainer } from './trainer.ts';

/** What of a recipe decides the numbers, once model, vocabulary and data are at hand. */
export type Settings = Pick<
  Recipe,
  'batch' | 'optimizer' | 'schedule' | 'learningRate' | 'steps' | 'seed' | 'heldOut' | 'engine'
>;

export interface SessionSource {
  readonly name: string;
  readonly weight: number;
  /** Identity of the content. */
  readonly fingerprint: string;
  readonly train: TokenReader;
  /** May be empty. */
  readonly heldOut: TokenReader;
  /** Of chats, whose tokens stand in rows. */
  readonly marks?: { readonly train: TokenReader; readonly heldOut: TokenReader } | undefined;
}

export interface SessionOptions {
  readonly engine: Engine;
  readonly model: Model;
  readonly settings: Settings;
  readonly sources: readonly SessionSource[];
  readonly endOfText: number;
  /** Bytes of text that each token id stands for; 0 for special tokens. */
  readonly bytesOf: ArrayLike<number>;
  /** Documents of one row do not see each other. */
  readonly segments?: boolean;
  /** Parameters by name, and moments as `first.NAME` and `second.NAME`; what it has not got starts fresh. */
  readonly start?: (key: string, sharding: Sharding | undefined) => Promise<Start> | undefined;
  /** What is trained on, with its inputs, which stay the caller's. Default: the head's own loss. */
  readonly objective?: { readonly training: TrainingObjective; readonly frozen: Buffers } | undefined;
  /** Steps that were done before, and where the loader stood after them. */
  readonly from?: { readonly step: number; readonly cursor: LoaderCursor };
}

export interface HeldOutReport extends HeldOutResult {
  readonly step: number;
  readonly sources: Readonly<Record<string, HeldOutResult>>;
}

export interface RunOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onStep?: ((report: StepReport) => void) | undefined;
  /** On the way; after the last step `measure` is the caller's. */
  readonly onHeldOut?: ((report: HeldOutReport) => void) | undefined;
  readonly checkpointEvery?: number;
  /** Asked after the third step and every ten: how many steps the run is to have, at least those that are done, and on what schedule. */
  readonly replan?: ((step: number) => Pick<Recipe, 'schedule' | 'steps'>) | undefined;
  /** Everything up to `step` is done, reported and measured. Also called after the last step, and where the signal stops the run. */
  readonly onCheckpoint?: (step: number, cursor: LoaderCursor) => Promise<void>;
}

/** The first steps tell too little of the next, and the very first may prepare something. */
const isReplanned = (step: number): boolean => step === 3 || step % 10 === 0;

export interface Session {
  readonly trainer: Trainer;
  /** Steps that are done. */
  readonly step: number;
  run(options: RunOptions): Promise<{ readonly stopped: boolean }>;
  /** Undefined where nothing is held out. */
  measure(maxTokens?: number): Promise<HeldOutReport | undefined>;
  /** The same of another model, over all that is held out. */
  measureOther(model: Model, parameters: Buffers, stored: 'float32' | 'bfloat16'): Promise<HeldOutReport | undefined>;
  dispose(): void;
}

/** Errors: those of createLoader, of the engine, and of the model's programs. */
export async function createSession(options: SessionOptions): Promise<Session> {
  const { engine, model, settings, sources, from, start, endOfText, bytesOf, segments = false } = options;
  const { batch, seed, heldOut } = settings;
  let plan: Pick<Recipe, 'schedule' | 'steps'> = settings;
  const { size, length, accumulate } = batch;
  const marked = segments || sources.some(({ marks }) => marks);
  const loader = createLoader({
    sources: sources.map(({ name, weight, fingerprint, train, marks }) => ({
      name,
      weight,
      fingerprint,
      reader: train,
      ...(marks && { marks: marks.train, inRows: true }),
    })),
    ...(marked && { endOfText }),
    batchSize: size * accumulate,
    length,
    seed,
    ...(from && { cursor: from.cursor }),
  });
  const trainer = await createTrainer({
    engine,
    model,
    batch,
    optimizer: settings.optimizer,
    dtype: settings.engine.dtype,
    recompute: settings.engine.recompute,
    objective: options.objective?.training,
    frozen: options.objective?.frozen,
    segments,
    start: (key, sharding) => {
      const parameter = model.parameters[key];
      return start?.(key, sharding) ?? (parameter && initialise({ parameters: { [key]: parameter } }, seed)[key]);
    },
  });
  const measured = sources.filter((source) => source.heldOut.length > 0);
  const openMeasure = (of: Model, stored: 'float32' | 'bfloat16' = 'float32') =>
    createHeldOutMeasure({ engine, model: of, batch, endOfText, bytesOf, stored, segments });
  const measure = measured.length > 0 ? await openMeasure(model) : undefined;
  let done = from?.step ?? 0;

  async function measureWith(by: HeldOutMeasure, parameters: Buffers, maxTokens?: number): Promise<HeldOutReport> {
    const results: Record<string, HeldOutResult> = {};
    for (const { name, heldOut: reader, marks } of measured)
      results[name] = await by.measure(parameters, reader, maxTokens, marks?.heldOut);
    return { step: done, ...combineHeldOut(Object.values(results)), sources: results };
  }
  const measureAll = async (maxTokens?: number) => measure && measureWith(measure, trainer.parameters, maxTokens);

  return {
    trainer,
    get step() {
      return done;
    },
    run: ({ signal, onStep, onHeldOut, checkpointEvery = Infinity, onCheckpoint, replan }) =>
      runSteps({
        trainer,
        loader,
        segments,
        tokensPerStep: size * accumulate * length,
        firstStep: done + 1,
        get steps() {
          return plan.steps;
        },
        learningRate: (step) => learningRateAt(plan.schedule, settings.learningRate, step, plan.steps),
        signal,
        onStep: (report) => {
          done = report.step;
          onStep?.(report);
        },
        pausesAt: (step) =>
          (measure !== undefined && step % heldOut.everySteps === 0) ||
          step % checkpointEvery === 0 ||
          (replan !== undefined && isReplanned(step)),
        async onPause(step, cursor, stopping) {
          if (replan && isReplanned(step)) plan = replan(step);
          const { steps } = plan;
          if (step < steps && step % heldOut.everySteps === 0) {
            const report = await measureAll(heldOut.maxTokens);
            if (report) onHeldOut?.(report);
          }
          if (stopping || step === steps || step % checkpointEvery === 0) await onCheckpoint?.(step, cursor);
        },
      }),
    measure: measureAll,
    async measureOther(other, parameters, stored) {
      if (measured.length === 0) return undefined;
      const by = await openMeasure(other, stored);
      try {
        return await measureWith(by, parameters);
      } finally {
        by.dispose();
      }
    },
    dispose() {
      trainer.dispose();
      measure?.dispose();
    },
  };
}
