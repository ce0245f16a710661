// An evaluation from names to numbers: data read and checked first, then part after part, block after block.
import { basename } from 'node:path';
import * as z from 'zod';
import { readBeginning } from '../data/text-files.node.ts';
import { parseJsonObject } from '../files/json.ts';
import { LfmError } from '../tensor/error.ts';
import { findData, readItems, weightsHash } from './files.node.ts';
import type { KeptAnswers } from './kept-answers.node.ts';
import { openAnswers, unkeptAnswers } from './kept-answers.node.ts';
import type { TextRow } from './likelihood/parts.ts';
import { chatRow, likelihoodPart, textPart, textRows } from './likelihood/parts.ts';
import { Scorer } from './likelihood/scorer.ts';
import type { MeasuredModel, MeasuredOptions } from './measured-model.ts';
import { openMeasured } from './measured-model.ts';
import type { Part, PartResult } from './part.ts';
import type { Answerer } from './generation/answerer.ts';
import { openAnswerer } from './generation/answerer.ts';
import { IFEVAL_FILE, IFEVAL_TOKENS, ifeval, instructedItem } from './generation/ifeval.ts';
import { essayOf, needleLengths, NEEDLES, needles, wordsSchema } from './generation/needles.ts';
import { askedPart } from './generation/part.ts';
import { likelihoodTasks } from './tasks/likelihood-tasks.ts';

/** Tokens of a window of text, where the model reads as many. */
const WINDOW = 2048;
/** Text is read as far as so many bytes for each token that is wanted. */
const BYTES_PER_TOKEN = 12;

/** Those that a model answers in words come last. */
export const taskNames = [...Object.keys(likelihoodTasks), ...Object.keys(needleLengths), 'ifeval'];

export interface EvaluateOptions extends MeasuredOptions {
  /** Of `taskNames`. */
  readonly tasks: readonly string[];
  /** Files .txt, .jsonl with "text" or with "messages" (of chats only what the assistant says counts), plain or .br or .gz. */
  readonly texts: readonly string[];
  /** The folder of the benchmarks' files. */
  readonly data?: string | undefined;
  /** Items of a task, windows of a text, chats. */
  readonly limit?: number | undefined;
  /** Tokens of a window. */
  readonly window?: number | undefined;
  /** Most tokens of an answer of IFEval. */
  readonly maxTokens?: number | undefined;
  /** Where answers are kept, and whether to go on with what is there. */
  readonly out?: string | undefined;
  readonly resume?: boolean | undefined;
  readonly onPart?: ((name: string, share: number) => void) | undefined;
}

export interface Evaluation {
  readonly version: 1;
  readonly model: string;
  readonly engine: string;
  readonly dtype: string;
  readonly numerics: string;
  /** By the name of the task, or of the text's file. `seconds`: of this run. */
  readonly parts: Readonly<Record<string, PartResult & { readonly seconds: number; readonly answeredNow: number }>>;
}

/**
 * Errors: `unknown-task`, `data-missing`, `bad-item`, `bad-chat`, `no-chat-template`, `context-full`, `bad-option`, those of `openMeasured`
 * and `openAnswers`.
 */
export async function evaluate(name: string, options: EvaluateOptions): Promise<Evaluation> {
  const { tasks, texts, limit, out, resume = false, signal, onPart, numerics = 'exact', dtype = 'float32' } = options;
  const unknown = tasks.find((task) => !taskNames.includes(task));
  if (unknown !== undefined)
    throw new LfmError('unknown-task', `Expected tasks of ${taskNames.join(', ')}; found ${JSON.stringify(unknown)}.`);
  if (tasks.length + texts.length === 0)
    throw new LfmError('bad-option', `Nothing to measure: give --tasks of ${taskNames.join(', ')}, or --text FILE.`);
  if (resume && out === undefined)
    throw new LfmError('bad-option', '--resume goes on with the answers of a file: name it as --out FILE.');
  const scored = await Promise.all(
    tasks.filter((task) => task in likelihoodTasks).map((task) => readTask(task, options)),
  );
  const asked = await Promise.all(
    tasks.filter((task) => !(task in likelihoodTasks)).map((task) => readAsked(task, options)),
  );
  const settings = { dtype, numerics, limit, window: options.window, maxTokens: options.maxTokens };
  const kept =
    out === undefined
      ? unkeptAnswers()
      : await openAnswers(out, { weights: await weightsHash(name), ...settings }, resume);
  const results: Record<string, Evaluation['parts'][string]> = {};
  const answerAll = async (parts: readonly Part[]) => {
    for (const part of parts)
      results[part.name] = await measure(part, kept, signal, (share) => onPart?.(part.name, share));
  };
  const about = { name, engine: '' };
  if (scored.length + texts.length > 0) {
    await using model = await openMeasured(name, options);
    Object.assign(about, { name: model.name, engine: model.engine.description });
    const scorer = new Scorer(model);
    try {
      const ofTexts = [];
      for (const path of texts) ofTexts.push(await readTextPart(path, options, model, scorer));
      await answerAll([...scored.map((make) => make(model, scorer)), ...ofTexts]);
    } finally {
      await scorer.release();
    }
  }
  if (asked.length > 0) {
    await using answerer = await openAnswerer(name, options);
    Object.assign(about, { name: answerer.name, engine: answerer.engine });
    await answerAll(asked.map((make) => make(answerer)));
  }
  return { version: 1, model: about.name, engine: about.engine, dtype, numerics, parts: results };
}

type MakeAsked = (answerer: Answerer) => Part;

/** Errors: those of reading the data. */
async function readAsked(name: string, { data, limit, maxTokens }: EvaluateOptions): Promise<MakeAsked> {
  const length = needleLengths[name];
  if (length === undefined) {
    const items = await readItems(await findData(data, IFEVAL_FILE, name), instructedItem, limit);
    return (answerer) => askedPart(ifeval(items, maxTokens ?? IFEVAL_TOKENS), answerer);
  }
  const essays = await readItems(await findData(data, 'ruler/haystack.jsonl', name), essayOf);
  const path = await findData(data, 'ruler/wonderwords.json', name);
  const words = wordsSchema.safeParse(parseJsonObject(await readBeginning(path), path, 'words'));
  if (!words.success) throw new LfmError('bad-item', `${path}: ${z.prettifyError(words.error)}`);
  const hay = { name, essays, words: words.data, length, count: limit ?? NEEDLES };
  return (answerer) => askedPart(needles(hay, answerer), answerer);
}

type MakePart = (model: MeasuredModel, scorer: Scorer) => Part;

async function readTask(name: string, { data, limit }: EvaluateOptions): Promise<MakePart> {
  const task = likelihoodTasks[name];
  if (!task) throw new LfmError('unknown-task', `There is no task ${name}.`);
  const items = await readItems(await findData(data, task.file, name), task.item, limit);
  return (model, scorer) => likelihoodPart(name, task, items, model, scorer);
}

async function readTextPart(
  path: string,
  { limit, window: wanted, texts }: EvaluateOptions,
  model: MeasuredModel,
  scorer: Scorer,
): Promise<Part> {
  const window = wanted ?? Math.min(WINDOW, scorer.longest);
  if (window > scorer.longest)
    throw new LfmError(
      'context-full',
      `--window: ${model.name} reads at most ${scorer.longest} tokens; found ${window}.`,
    );
  // Files of one name in several folders are told apart by their paths.
  const isAlone = texts.filter((other) => basename(other) === basename(path)).length === 1;
  const name = isAlone ? basename(path) : path;
  const rows: TextRow[] = [];
  if (/\.jsonl(\.br|\.gz)?$/.test(path)) {
    for (const found of await readItems(path, (line) => rowsOfLine(line, model, window), limit)) rows.push(...found);
  } else {
    const text = await readBeginning(path, limit && limit * window * BYTES_PER_TOKEN);
    rows.push(...textRows(model, text, window));
  }
  if (rows.length === 0) throw new LfmError('bad-item', `${path}: expected text; it has none.`);
  return textPart(name, limit === undefined ? rows : rows.slice(0, limit), model, scorer);
}

function rowsOfLine(line: unknown, model: MeasuredModel, window: number): TextRow[] {
  if (typeof line === 'object' && line !== null && 'text' in line && typeof line.text === 'string')
    return textRows(model, line.text, window);
  if (typeof line !== 'object' || line === null || !('messages' in line))
    throw new LfmError('bad-item', 'expected an object with "text", or with a list of "messages".');
  if (!model.template)
    throw new LfmError('no-chat-template', `${model.name} is a base model: it has no chat template for "messages".`);
  return [chatRow(model, model.template, line.messages, window)].flatMap((row) => row ?? []);
}

/** Answers what is not answered yet, and says what all answers come to. */
async function measure(
  part: Part,
  kept: KeptAnswers,
  signal: AbortSignal | undefined,
  onProgress: (share: number) => void,
): Promise<Evaluation['parts'][string]> {
  const start = performance.now();
  const answers = new Map([...kept.of(part.name)].map(([item, answer]) => [item, part.read(answer)]));
  const open = Array.from({ length: part.items }, (_, item) => item).filter((item) => !answers.has(item));
  for (let from = 0; from < open.length; from += part.block) {
    signal?.throwIfAborted();
    const block = open.slice(from, from + part.block);
    const found = await part.answer(block, {
      signal,
      onProgress: (share) => onProgress((part.items - open.length + from + share * block.length) / part.items),
    });
    const pairs = block.map((item, i) => [item, found[i]] as const);
    await kept.keep(part.name, pairs);
    for (const [item, answer] of pairs) answers.set(item, answer);
  }
  const inOrder = Array.from({ length: part.items }, (_, item) => answers.get(item));
  const seconds = Number(((performance.now() - start) / 1000).toFixed(2));
  return { ...part.result(inOrder), seconds, answeredNow: open.length };
}
