// A recipe run in a folder: data prepared, steps taken, metrics and checkpoints written, gone on with after any kill.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { openEngine } from '#engine';
import type { Corpus } from '../data/corpus.node.ts';
import type { Buffers, Engine, Sharding } from '../engines/engine.ts';
import { writeFolderAtomic } from '../files/atomic.node.ts';
import { addAdapterFiles } from '../generate/adapter-folder.node.ts';
import { chatTemplateTexts, readChatTemplate } from '../generate/chat.ts';
import { disposeBuffers } from '../generate/state.ts';
import type { Model } from '../liquid/index.ts';
import { countOf } from '../tensor/index.ts';
import { LfmError } from '../tensor/error.ts';
import type { Budget } from './budget.ts';
import { Deadline, recipeWithin } from './budget.ts';
import type { Checkpoint, TrainerState } from './checkpoint.node.ts';
import { newestCheckpoint, writeCheckpoint } from './checkpoint.node.ts';
import type { ChatRows, PrepareContext, Progress, ScannedSource } from './corpora.node.ts';
import { learnedVocabulary, openCorpora, scanSources } from './corpora.node.ts';
import { lockFolder } from './lock.node.ts';
import type { StepReport } from './loop.ts';
import { MetricsLog, stepLine } from './metrics.node.ts';
import { configOf } from './model-config.ts';
import type { TrainedParts } from './model-folder.node.ts';
import { addModelFiles } from './model-folder.node.ts';
import type { PlanReport } from './plan-report.ts';
import { deviceOf, reportPlan, requestOf } from './plan-report.ts';
import { writePlot } from './plot.node.ts';
import type { Recipe } from './recipe.ts';
import { packsDocuments, withSteps } from './recipe.ts';
import { assignFiles, withoutEmptySources } from './recipe-data.ts';
import { refuseExisting } from './run-folder.node.ts';
import type { Sample } from './sample.node.ts';
import { samplesOf } from './sample.node.ts';
import type { HeldOutReport, Session, SessionSource } from './session.ts';
import { createSession } from './session.ts';
import type { StartingPoint } from './start.node.ts';
import { changedKeys, openStart } from './start.node.ts';
import type { Taught } from './stored.node.ts';
import { openObjective, teacherBuffers, uploadTeacher } from './stored.node.ts';
import type { Vocabulary } from './vocabulary.node.ts';
import { makeVocabulary } from './vocabulary.node.ts';

/** What a run tells, in order of its happening. */
export type RunEvent =
  | { readonly kind: 'recipe'; readonly folder: string; readonly recipe: Recipe }
  | { readonly kind: 'notice'; readonly text: string }
  | ({ readonly kind: 'progress' } & Progress)
  | ({ readonly kind: 'plan' } & PlanReport)
  | {
      readonly kind: 'begin';
      readonly engine: string;
      readonly parameters: number;
      readonly sources: Readonly<Record<string, SourceSizes>>;
      /** Of the parameters, those that are trained. */
      readonly trained: number;
      readonly step: number;
      readonly steps: number;
    }
  | ({ readonly kind: 'step' } & StepReport)
  | ({ readonly kind: 'heldOut' | 'teacher' } & HeldOutReport)
  | { readonly kind: 'checkpoint'; readonly step: number; readonly path: string }
  | ({ readonly kind: 'sample' } & Sample);

export interface SourceSizes {
  readonly trainTokens: number;
  readonly heldOutTokens: number;
  readonly textBytes: number;
}

export interface RunRecipeOptions {
  /** Text files in place of the recipe's, as FILE or NAME=FILE. */
  readonly data?: readonly string[];
  /** The run's folder. Default: runs/NAME. */
  readonly out?: string;
  /** Go on from the newest whole checkpoint; without one, begin. */
  readonly resume?: boolean;
  /** An engine, which stays the caller's. Default: the recipe's by name. */
  readonly engine?: Engine;
  /** Stops after the present step, with a checkpoint; before the first step, with the signal's reason as error. */
  readonly signal?: AbortSignal;
  /** Fewer steps than the recipe's, where they would take longer on this machine or see the text more often. */
  readonly within?: Budget;
  readonly onEvent?: (event: RunEvent) => void;
  /** What the user types to go on, on another mesh where one is given: errors tell it. Default: a call of this function. */
  readonly resumeCommand?: (mesh?: Readonly<Record<string, number>>) => string;
}

export interface RunResult {
  readonly folder: string;
  /** Steps done in all. */
  readonly step: number;
  /** Whether the signal stopped it before the last step. */
  readonly stopped: boolean;
  /** The finished model's folder; absent where the run was stopped. */
  readonly final?: string;
  /** Over all held-out text, of the finished model. */
  readonly heldOut?: HeldOutReport;
  /** The same of an adapter's base. */
  readonly before?: TrainerState['before'];
  /** The same of the teacher, where there is one. */
  readonly teacher?: HeldOutReport;
}

/**
 * Trains as the recipe says, in a folder of its own: step-N checkpoints, metrics.jsonl, plot.html, data/ (what was prepared)
 * and, at the end, final/, a model folder that transformers reads too, or an adapter's that peft reads; so are its checkpoints.
 *
 * Killed at any moment and resumed, the losses are those of an uninterrupted run to the last bit, on the same machine with
 * the same engine and threads; a mesh's checkpoints go on on any other mesh and without one. Whatever ends a run on the way
 * says which checkpoint is left and how to go on from it; an error that is no LfmError becomes `run-failed`. Errors: `run-exists`, `not-a-run` for a folder that holds
 * something else, `run-locked`, `no-data`, `vocabulary-mismatch`, `not-finite` and `diverged` (naming the
 * step; earlier checkpoints stay), `disk-full`, and those of what it reads. Mistakes in the input are found before the folder
 * is made.
 */
export async function runRecipe(given: Recipe, options: RunRecipeOptions = {}): Promise<RunResult> {
  const { data = [], resume = false, signal, onEvent: tell = () => {} } = options;
  const since = now();
  const folder = options.out ?? join('runs', given.name);
  if (!resume) await refuseExisting(folder);
  const damaged: string[] = [];
  const checkpoint = resume
    ? await newestCheckpoint(folder, (path, why) => damaged.push(`passed over ${path}: ${why}`))
    : undefined;
  try {
    const named = inheritFiles(assignFiles(given, data), checkpoint);
    const inherited = checkpoint && options.within ? withSteps(named, checkpoint.recipe.steps) : named;
    const { recipe, left } = withoutEmptySources(inherited);
    tell({ kind: 'recipe', folder, recipe });
    for (const text of [
      ...damaged,
      ...left.map((name) => `no file was named for the source "${name}": training goes without it`),
    ])
      tell({ kind: 'notice', text });
    const context: PrepareContext = { signal, onProgress: (progress) => tell({ kind: 'progress', ...progress }) };
    const sources = await scanSources(recipe.data.sources, context);
    await using start = await openStart(recipe);
    const { vocabulary } = start;
    await using taught = vocabulary && (await openObjective(recipe, start.model(vocabulary), vocabulary));
    const engine = options.engine ?? (await openEngine(engineOf(recipe)));
    try {
      await mkdir(folder, { recursive: true }).catch((cause: Error) => {
        throw new LfmError('write-failed', `cannot make the folder ${folder}: ${cause.message}`, { cause });
      });
      const lock = await lockFolder(folder);
      try {
        if (!resume) await refuseExisting(folder);
        const { resumeCommand = (mesh) => callOf(folder, mesh) } = options;
        const parts = {
          folder,
          recipe,
          sources,
          start,
          taught,
          checkpoint,
          engine,
          context,
          signal,
          tell,
          resumeCommand,
          within: checkpoint ? undefined : options.within,
          since,
        };
        return await new Run(parts).go();
      } finally {
        await lock.release();
      }
    } finally {
      if (engine !== options.engine) await engine.close();
    }
  } finally {
    await checkpoint?.close();
  }
}

const now = (): number => performance.now() / 1000;

function callOf(folder: string, mesh: Engine['mesh']): string {
  const changed = mesh ? `{ ...recipe, engine: { ...recipe.engine, mesh: ${JSON.stringify(mesh)} } }` : 'recipe';
  return `runRecipe(${changed}, { out: ${JSON.stringify(folder)}, resume: true })`;
}

/** On going on, sources that the recipe leaves to the user read what they read before. */
function inheritFiles(recipe: Recipe, checkpoint: Checkpoint | undefined): Recipe {
  const before = new Map(checkpoint?.recipe.data.sources.map(({ name, paths }) => [name, paths]));
  const sources = recipe.data.sources.map((source) =>
    source.paths.length > 0 ? source : { ...source, paths: before.get(source.name) ?? [] },
  );
  return { ...recipe, data: { ...recipe.data, sources } };
}

function plannedFor(taught: Taught | undefined): Parameters<typeof requestOf>[3] {
  return taught && { objective: taught.objective, teacher: taught.teacher.model };
}

/** An engine's options as its opener takes them: what the recipe leaves open is not there. */
function engineOf({
  engine: { name, threads, plugin, mesh, deterministic },
}: Recipe): Parameters<typeof openEngine>[0] {
  return {
    deterministic,
    ...(name !== undefined && { name }),
    ...(threads !== undefined && { threads }),
    ...(plugin !== undefined && { plugin }),
    ...(mesh && { mesh }),
  };
}

interface RunParts {
  readonly folder: string;
  readonly recipe: Recipe;
  readonly sources: readonly ScannedSource[];
  readonly start: StartingPoint;
  readonly taught: Taught | undefined;
  readonly checkpoint: Checkpoint | undefined;
  readonly context: PrepareContext;
  readonly engine: Engine;
  readonly signal: AbortSignal | undefined;
  readonly tell: (event: RunEvent) => void;
  readonly resumeCommand: NonNullable<RunRecipeOptions['resumeCommand']>;
  readonly within: Budget | undefined;
  /** When the run was asked for, by `now`. */
  readonly since: number;
}

/** One run in its locked folder. */
class Run {
  #parts: RunParts;
  #best: { readonly step: number; readonly bitsPerByte: number } | null;
  #before: TrainerState['before'];
  #base: string | undefined;
  #lastGood: string | undefined;

  constructor(parts: RunParts) {
    this.#parts = parts;
    this.#best = parts.checkpoint?.state.best ?? null;
    this.#before = parts.checkpoint?.state.before;
    this.#lastGood = parts.checkpoint?.path;
  }

  async go(): Promise<RunResult> {
    const { folder, recipe, sources, start, checkpoint, context, tell } = this.#parts;
    const { documents } = recipe.data;
    const from = { cache: join(folder, 'data'), sources, documents, ...context };
    const vocabulary = await this.#vocabulary(from);
    const model = start.model(vocabulary);
    // What could not be saved is found before it is trained.
    if (!recipe.adapter) configOf(model, vocabulary);
    checkpoint?.check(model);
    this.#base = await start.base?.digest();
    if (checkpoint && checkpoint.state.base !== this.#base)
      throw new LfmError(
        'checkpoint-model',
        `${checkpoint.path}: its adapter was trained on other weights than the model's now: go on with the model that the run began with.`,
      );
    for (const key of checkpoint ? changedKeys(checkpoint.recipe, recipe) : [])
      tell({ kind: 'notice', text: `changed since the checkpoint: ${key}` });
    const corpora = await openCorpora({
      ...from,
      vocabulary,
      heldOutShare: recipe.heldOut.share,
      blockBytes: recipe.heldOut.blockBytes,
      seed: recipe.seed,
      chats: this.#chats(vocabulary),
    });
    try {
      return await this.#train(model, vocabulary, corpora);
    } finally {
      await Promise.all(corpora.map((corpus) => corpus.close()));
    }
  }

  #chats({ tokenizer }: Vocabulary): ChatRows {
    const { recipe, start, tell } = this.#parts;
    const { tokenizerConfig, chatTemplate } = start.companions ?? {};
    const onLeftOut = (source: string, count: number): void =>
      tell({
        kind: 'notice',
        text: `${source}: ${count} chats longer than ${recipe.batch.length} tokens were left out`,
      });
    return {
      template: readChatTemplate(tokenizer, tokenizerConfig ?? {}, chatTemplate),
      templateText: JSON.stringify(chatTemplateTexts(tokenizerConfig ?? {}, chatTemplate)),
      length: recipe.batch.length,
      long: recipe.data.longChats,
      onLeftOut,
    };
  }

  /** A resumed run keeps its vocabulary, whatever became of the cache. */
  async #vocabulary(from: Parameters<typeof learnedVocabulary>[1]): Promise<Vocabulary> {
    const { recipe, start, checkpoint } = this.#parts;
    const { train, endOfText } = recipe.tokenizer;
    if (checkpoint) return makeVocabulary(checkpoint.tokenizerJson, endOfText, checkpoint.path);
    if (train) return learnedVocabulary({ vocabSize: train.vocabSize, endOfText }, from);
    if (start.vocabulary) return start.vocabulary;
    throw new LfmError('bad-recipe', 'the recipe names no tokenizer.');
  }

  async #train(model: Model, vocabulary: Vocabulary, corpora: readonly Corpus[]): Promise<RunResult> {
    const { recipe, taught, engine, tell } = this.#parts;
    const sources = corpora.map(({ info, fingerprint, train, heldOut, marks }, index) => {
      const { name = '', weight = 1 } = recipe.data.sources[index] ?? {};
      return {
        name,
        weight,
        fingerprint,
        train,
        heldOut,
        marks,
        textBytes: info.train.textBytes + info.heldOut.textBytes,
      };
    });
    const request = requestOf(recipe, model, engine.mesh, plannedFor(taught));
    tell({ kind: 'plan', ...reportPlan(request, recipe.steps, deviceOf(engine, recipe)) });
    const frozen = taught ? await uploadTeacher(engine, taught) : {};
    try {
      return await this.#taught(model, vocabulary, sources, frozen);
    } finally {
      disposeBuffers(frozen);
    }
  }

  async #taught(
    model: Model,
    vocabulary: Vocabulary,
    sources: readonly (SessionSource & { readonly textBytes: number })[],
    frozen: Buffers,
  ): Promise<RunResult> {
    const { folder, start, taught, checkpoint, engine, tell, within } = this.#parts;
    const options = {
      engine,
      model,
      sources,
      endOfText: vocabulary.endOfText,
      bytesOf: vocabulary.bytesOf,
      segments: packsDocuments(this.#parts.recipe),
      start: (key: string, sharding: Sharding | undefined) => {
        const read = checkpoint?.reader(key) ?? start.reader(key);
        const { shape } = model.parameters[key.replace(/^(first|second)\./, '')] ?? {};
        // Each device of a mesh reads its own part.
        return read && sharding && shape && engine.uploadParts
          ? engine.uploadParts('float32', shape, sharding, read)
          : read?.();
      },
      ...(taught && { objective: { training: taught.objective, frozen } }),
      ...(checkpoint && { from: checkpoint.state }),
    };
    if (within) {
      const tokens = sources.reduce((sum, { train }) => sum + train.length, 0);
      this.#parts = { ...this.#parts, recipe: recipeWithin(this.#parts.recipe, tokens, within.epochs) };
    }
    const { recipe } = this.#parts;
    const session = await createSession({ ...options, settings: recipe });
    const log = new MetricsLog(join(folder, 'metrics.jsonl'), checkpoint?.state.metricsBytes ?? 0);
    let result: RunResult;
    try {
      tell({
        kind: 'begin',
        engine: engine.description,
        parameters: sizeOf(Object.values(model.parameters)),
        trained: sizeOf(Object.values(model.parameters).filter(({ frozen: isFrozen }) => !isFrozen)),
        sources: Object.fromEntries(
          sources.map((source) => [
            source.name,
            { trainTokens: source.train.length, heldOutTokens: source.heldOut.length, textBytes: source.textBytes },
          ]),
        ),
        step: session.step,
        steps: recipe.steps,
      });
      const { companions } = start;
      const parts = { model, vocabulary, companions, read: (key: string) => session.trainer.read(key) };
      result = await this.#steps(session, parts, log, frozen);
    } catch (error) {
      try {
        session.dispose();
      } catch {
        // A device that failed may fail again in giving up what it holds: the first error tells more.
      }
      throw this.#explain(error, session.step);
    } finally {
      log.close();
    }
    session.dispose();
    return result;
  }

  async #steps(session: Session, parts: TrainedParts, log: MetricsLog, frozen: Buffers): Promise<RunResult> {
    const { folder, recipe, start, engine, signal, tell } = this.#parts;
    const before = now();
    if (start.base && session.step === 0) {
      const measured = await session.measure();
      if (measured) this.#heldOut(measured, log);
      this.#before = measured;
    }
    const replan = this.#replanner(recipe, now() - before);
    const divided = engine.mesh && engine.parts && { parts: (key: string) => session.trainer.parts(key) };
    const { stopped } = await session.run({
      signal,
      checkpointEvery: recipe.checkpoint.everySteps,
      onStep: (report) => {
        log.append(stepLine(report));
        tell({ kind: 'step', ...report });
      },
      onHeldOut: (report) => this.#heldOut(report, log),
      replan,
      onCheckpoint: async (step, cursor) => {
        const { recipe: planned } = this.#parts;
        const state = { step, cursor, best: this.#best, metricsBytes: log.flush(), ...this.#ofBase() };
        const all = { ...parts, ...divided, recipe: planned, state, base: start.base?.parameters };
        this.#lastGood = await writeCheckpoint(folder, all, recipe.checkpoint.keep);
        tell({ kind: 'checkpoint', step, path: this.#lastGood });
        await this.#plot();
      },
    });
    if (stopped) return { folder, step: session.step, stopped };
    return this.#finish(session, parts, log, frozen);
  }

  /** Where there are minutes: as many of `most`'s steps as they leave. `measuring`: what the held-out text took, in seconds. */
  #replanner(most: Recipe, measuring: number): ((step: number) => Recipe) | undefined {
    const { within, tell, since } = this.#parts;
    if (within?.minutes === undefined) return undefined;
    const deadline = new Deadline(since, 60 * within.minutes, measuring, now());
    let isTold = false;
    return (step) => {
      const steps = deadline.steps(step, most.steps, now());
      this.#parts = { ...this.#parts, recipe: steps === most.steps ? most : withSteps(most, steps) };
      if (!isTold && steps < most.steps)
        tell({
          kind: 'notice',
          text: `about ${steps} of ${most.steps} steps fit into ${within.minutes} minutes; how many is set anew on the way`,
        });
      isTold = true;
      return this.#parts.recipe;
    };
  }

  #ofBase(): Pick<TrainerState, 'before' | 'base'> {
    const { natsPerToken, bitsPerByte } = this.#before ?? {};
    const measured = natsPerToken !== undefined && bitsPerByte !== undefined;
    return {
      ...(measured && { before: { natsPerToken, bitsPerByte } }),
      ...(this.#base !== undefined && { base: this.#base }),
    };
  }

  /** The whole held-out text measured, the model written, and read back to say something. */
  async #finish(session: Session, parts: TrainedParts, log: MetricsLog, frozen: Buffers): Promise<RunResult> {
    const { folder, recipe, engine, signal, tell, taught, start } = this.#parts;
    const heldOut = await session.measure();
    if (heldOut) this.#heldOut(heldOut, log);
    const teacher = taught && (await session.measureOther(taught.teacher.model, teacherBuffers(frozen), taught.stored));
    if (teacher) tell({ kind: 'teacher', ...teacher });
    log.flush();
    await this.#plot();
    const final = join(folder, 'final');
    await writeFolderAtomic(final, async (writer) => {
      if (start.base) await addAdapterFiles(writer, { ...parts, parameters: start.base.parameters });
      else await addModelFiles(writer, parts, recipe.final.dtype);
      await writer.file('recipe.json', `${JSON.stringify(recipe, undefined, 2)}\n`);
    });
    for await (const sample of samplesOf(recipe, final, start.base !== undefined, engine, signal))
      tell({ kind: 'sample', ...sample });
    const { before } = this.#ofBase();
    return {
      folder,
      step: session.step,
      stopped: false,
      final,
      ...(heldOut && { heldOut }),
      ...(before && { before }),
      ...(teacher && { teacher }),
    };
  }

  #heldOut(report: HeldOutReport, log: MetricsLog): void {
    const { step, bitsPerByte } = report;
    if (!this.#best || bitsPerByte < this.#best.bitsPerByte) this.#best = { step, bitsPerByte };
    log.append({ kind: 'heldOut', ...report });
    this.#parts.tell({ kind: 'heldOut', ...report });
  }

  async #plot(): Promise<void> {
    const { folder, recipe } = this.#parts;
    const best = this.#best
      ? `, best held-out ${this.#best.bitsPerByte.toFixed(3)} bits a byte at step ${this.#best.step}`
      : '';
    await writePlot(
      join(folder, 'plot.html'),
      join(folder, 'metrics.jsonl'),
      recipe.name,
      `${recipe.steps} steps${best}.`,
    );
  }

  /** A run that broke off says what is left of it, and how to go on. */
  #explain(error: unknown, step: number): unknown {
    const { signal, engine, resumeCommand } = this.#parts;
    if (signal?.aborted) return error;
    const code = error instanceof LfmError ? error.code : 'run-failed';
    const message = error instanceof Error ? error.message : String(error);
    const kept = this.#lastGood;
    if (code === 'not-finite' || code === 'diverged') {
      const left = kept === undefined ? 'There is no checkpoint from before.' : `The last good checkpoint is ${kept}.`;
      return new LfmError(code, `${message} ${left} Try a lower learning rate or a longer warm-up.`, { cause: error });
    }
    const fewer = kept !== undefined && engine.mesh && fewerDevices(engine.mesh);
    const left =
      kept === undefined
        ? 'There is no checkpoint yet: begin again.'
        : `The last checkpoint is ${kept}; go on from it with: ${resumeCommand()}${fewer ? `; or on fewer devices: ${resumeCommand(fewer)}` : ''}`;
    const stop = /[.!?]$/.test(message) ? '' : '.';
    return new LfmError(code, `${message}${stop} The run ended after step ${step}. ${left}`, { cause: error });
  }
}

function sizeOf(parameters: readonly { readonly shape: readonly number[] }[]): number {
  return parameters.reduce((sum, { shape }) => sum + countOf(shape), 0);
}

/** The mesh with its first axis cut to a part; none of one device. */
function fewerDevices(mesh: Readonly<Record<string, number>>): Record<string, number> | undefined {
  const [axis, size] = Object.entries(mesh).find(([, devices]) => devices > 1) ?? [];
  if (axis === undefined || size === undefined) return undefined;
  const least = [2, 3, 5, 7].find((factor) => size % factor === 0) ?? size;
  return { ...mesh, [axis]: size / least };
}
