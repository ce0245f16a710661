// Training from code: a model defined in TypeScript, text files, and a trained model that can be saved.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEngine } from '#engine';
import type { Engine } from '../engines/engine.ts';
import { writeFolderAtomic } from '../files/atomic.node.ts';
import type { Model } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import type { AdamWOptions } from './adamw.ts';
import { adamWDefaults } from './adamw.ts';
import type { Progress } from './corpora.node.ts';
import { learnedVocabulary, openCorpora, scanSources } from './corpora.node.ts';
import type { StepReport } from './loop.ts';
import { addModelFiles } from './model-folder.node.ts';
import type { Schedule } from './schedule.ts';
import { cosine } from './schedule.ts';
import type { HeldOutReport } from './session.ts';
import { createSession } from './session.ts';
import type { Vocabulary } from './vocabulary.node.ts';
import { readVocabulary } from './vocabulary.node.ts';

/** A text file (.txt or .jsonl, plain or .br or .gz) to train on. */
export interface TextData {
  readonly path: string;
  readonly weight: number;
}

/** `weight`: its share of the rows, relative to the other texts. */
export function text(path: string, { weight = 1 }: { weight?: number } = {}): TextData {
  return { path, weight };
}

/** Where the vocabulary comes from: learned from the run's text, or a tokenizer.json. */
export type TokenizerChoice =
  | { readonly learn: { readonly vocabSize: number | undefined } }
  | { readonly file: string };

/** A byte-level BPE vocabulary learned from the run's text. Default size: the model's. */
export function bpe({ vocabSize }: { vocabSize?: number } = {}): TokenizerChoice {
  return { learn: { vocabSize } };
}

export interface TrainOptions {
  readonly data: TextData | readonly TextData[];
  /** Default: `bpe()`. */
  readonly tokenizer?: TokenizerChoice;
  readonly steps: number;
  /** The peak. */
  readonly learningRate: number;
  /** Default: a warm-up over the first twentieth of the steps, then a cosine to a tenth of the peak. */
  readonly schedule?: Schedule;
  /** Rows of a pass, tokens a row, and passes a step. Default: 8 rows of 256. */
  readonly batch?: { readonly size: number; readonly length: number; readonly accumulate?: number };
  readonly optimizer?: Partial<AdamWOptions>;
  readonly seed?: number;
  /** Default: a hundredth of the text, measured at the end. */
  readonly heldOut?: { readonly share?: number; readonly everySteps?: number };
  /** An engine, which stays the caller's. Default: the best that is present. */
  readonly engine?: Engine;
  /** Ends the training after the present step; what was learned until then comes back. */
  readonly signal?: AbortSignal;
  readonly onStep?: (report: StepReport) => void;
  readonly onHeldOut?: (report: HeldOutReport) => void;
  /** Of reading the text, learning the vocabulary, and preparing the corpus. */
  readonly onProgress?: (progress: Progress) => void;
}

export interface Trained {
  readonly model: Model;
  /** Steps done: fewer than asked for where the signal ended it. */
  readonly step: number;
  /** Values by checkpoint name, row-major. */
  readonly parameters: Readonly<Record<string, Float32Array>>;
  /** Over all held-out text. */
  readonly heldOut: HeldOutReport | undefined;
  /** Writes a model folder that `load` and transformers read. Errors: `no-config`, those of writeFolderAtomic. */
  save(folder: string, options?: { readonly dtype?: 'float32' | 'bfloat16' }): Promise<void>;
}

/**
 * Trains a model on text. Prepared data is kept in a temporary folder; for checkpoints, metrics and going on after a kill use
 * `runRecipe`. Errors: `vocabulary-mismatch`, `not-finite` naming the step, those of the files, the data and the engine; the
 * signal's reason where it aborts before the first step.
 */
export async function train(model: Model, options: TrainOptions): Promise<Trained> {
  const {
    tokenizer = bpe(),
    steps,
    learningRate,
    seed = 0,
    signal,
    onStep,
    onHeldOut,
    onProgress = () => {},
  } = options;
  requirePositive({ steps, learningRate });
  const texts: readonly TextData[] = 'path' in options.data ? [options.data] : options.data;
  const { size, length, accumulate = 1 } = options.batch ?? { size: 8, length: Math.min(256, model.contextLength) };
  const heldOut = { share: 0.01, everySteps: steps + 1, maxTokens: 2 ** 17, ...options.heldOut };
  const context = { signal, onProgress };
  const scanned = await scanSources(
    texts.map(({ path }, index) => ({ name: `text-${index}`, paths: [path] })),
    context,
  );
  const cache = await mkdtemp(join(tmpdir(), 'lfm-train-'));
  try {
    const from = { cache, sources: scanned, documents: 'marker' as const, ...context };
    const vocabulary = await vocabularyOf(tokenizer, model, from);
    const corpora = await openCorpora({ ...from, vocabulary, heldOutShare: heldOut.share, seed });
    const engine = options.engine ?? (await openEngine());
    try {
      const session = await createSession({
        engine,
        model,
        settings: {
          batch: { size, length, accumulate },
          optimizer: { ...adamWDefaults, ...options.optimizer },
          schedule: options.schedule ?? cosine({ warmupSteps: Math.floor(steps / 20) }),
          learningRate,
          steps,
          seed,
          heldOut,
          engine: { dtype: 'float32', recompute: false, deterministic: false },
        },
        sources: corpora.map((corpus, index) => ({
          ...corpus,
          name: `text-${index}`,
          weight: texts[index]?.weight ?? 1,
        })),
        endOfText: vocabulary.endOfText,
        bytesOf: vocabulary.bytesOf,
      });
      try {
        await session.run({ signal, onStep, onHeldOut });
        const measured = await session.measure();
        const parameters: Record<string, Float32Array> = {};
        for (const name of Object.keys(model.parameters)) parameters[name] = await session.trainer.read(name);
        return trained(model, vocabulary, session.step, parameters, measured);
      } finally {
        session.dispose();
      }
    } finally {
      await Promise.all(corpora.map((corpus) => corpus.close()));
      if (engine !== options.engine) await engine.close();
    }
  } finally {
    await rm(cache, { recursive: true, force: true });
  }
}

async function vocabularyOf(
  choice: TokenizerChoice,
  model: Model,
  from: Parameters<typeof learnedVocabulary>[1],
): Promise<Vocabulary> {
  const endOfText = '<|endoftext|>';
  const { classes } = model.head;
  const wanted = 'learn' in choice ? (choice.learn.vocabSize ?? classes) : undefined;
  const vocabulary = 'file' in choice ? await readVocabulary(choice.file, endOfText) : undefined;
  const size = vocabulary?.tokenizer.vocabSize ?? wanted ?? classes;
  if (size > classes)
    throw new LfmError(
      'vocabulary-mismatch',
      `The tokenizer has ${size} tokens, the model ${classes}: give the model a vocabSize of at least ${size}.`,
    );
  return vocabulary ?? learnedVocabulary({ vocabSize: size, endOfText }, from);
}

function trained(
  model: Model,
  vocabulary: Vocabulary,
  step: number,
  parameters: Readonly<Record<string, Float32Array>>,
  heldOut: HeldOutReport | undefined,
): Trained {
  const read = async (key: string): Promise<Float32Array> => {
    const values = parameters[key];
    if (values) return values;
    throw new LfmError('missing-parameter', `The trained model has no "${key}".`);
  };
  return {
    model,
    step,
    parameters,
    heldOut,
    save: (folder, { dtype = 'float32' } = {}) =>
      writeFolderAtomic(folder, (writer) => addModelFiles(writer, { model, vocabulary, read }, dtype)),
  };
}

function requirePositive({ steps, learningRate }: { steps: number; learningRate: number }): void {
  if (!Number.isSafeInteger(steps) || steps < 1)
    throw new LfmError('train-options', `steps: expected a whole number from 1; found ${steps}.`);
  if (!(learningRate > 0 && learningRate < Infinity))
    throw new LfmError('train-options', `learningRate: expected a number above 0; found ${learningRate}.`);
}
