// Benchmarks that are answered by what a model finds likely, as lm-evaluation-harness 0.4 defines them: which fields make the prompt,
// what may follow it, and what counts as right. Zero examples before the question.
import * as z from 'zod';
import { LfmError } from '../../tensor/error.ts';
import type { Estimate } from '../part.ts';
import { perplexityOf, shareOf } from '../statistics.ts';

/** A prompt and what may follow it, of which number `gold` should. */
export interface LikelihoodItem {
  readonly context: string;
  /** As they stand behind the context, its space included. */
  readonly continuations: readonly string[];
  readonly gold: number;
}

/** What a model said of an item: of each continuation ln p, and whether greedy decoding gives it. */
export interface LikelihoodAnswer {
  readonly logprobs: readonly number[];
  readonly greedy: readonly boolean[];
}

export interface LikelihoodTask {
  /** Under the folder of benchmarks, without .br. */
  readonly file: string;
  /** Of one line. Errors: those of zod. */
  readonly item: (line: unknown) => LikelihoodItem;
  /** The score of who knows nothing. */
  readonly chance: number;
  /** Which metric stands for the task where one number is asked for. */
  readonly main: string;
  readonly metrics: (items: readonly LikelihoodItem[], answers: readonly LikelihoodAnswer[]) => Metrics;
  /** Whether an item counts as solved by the main metric. */
  readonly solves: (item: LikelihoodItem, answer: LikelihoodAnswer) => boolean;
}

export type Metrics = Readonly<Record<string, Estimate>>;

/** Of equal ones the first. */
function likeliest(values: readonly number[]): number {
  return values.indexOf(Math.max(...values));
}

const isRight = ({ gold }: LikelihoodItem, { logprobs }: LikelihoodAnswer) => likeliest(logprobs) === gold;

/** The same with ln p divided by the characters of the choice, without the space before it. */
const isRightNormed = ({ gold, continuations }: LikelihoodItem, { logprobs }: LikelihoodAnswer) =>
  likeliest(logprobs.map((value, i) => value / ([...(continuations[i] ?? '')].length - 1))) === gold;

type Judge = LikelihoodTask['solves'];

function choices(
  file: string,
  chance: number,
  main: 'acc' | 'acc_norm',
  item: (line: unknown) => { readonly context: string; readonly choices: readonly string[]; readonly gold: number },
): LikelihoodTask {
  const judges: Readonly<Record<'acc' | 'acc_norm', Judge>> = { acc: isRight, acc_norm: isRightNormed };
  return {
    file,
    chance,
    main,
    solves: judges[main],
    item: (line) => {
      const { context, choices: texts, gold } = item(line);
      if (gold < 0 || gold >= texts.length)
        throw new LfmError('bad-item', `the right answer is number ${gold} of ${texts.length} choices.`);
      return { context, continuations: texts.map((text) => ` ${text}`), gold };
    },
    metrics: (items, answers) => {
      const share = (judge: Judge) =>
        shareOf(items.map((one, i) => judge(one, answers[i] ?? { logprobs: [], greedy: [] })));
      return { acc: share(isRight), acc_norm: share(isRightNormed) };
    },
  };
}

/** As Python's str.capitalize has it. */
function capitalized(text: string): string {
  const [first = '', ...rest] = text;
  return first.toUpperCase() + rest.join('').toLowerCase();
}

/** Marks of the articles that HellaSwag was taken from go. */
function withoutMarks(text: string): string {
  return text
    .trim()
    .replaceAll(' [title]', '. ')
    .replaceAll(/\[.*?\]/g, '')
    .replaceAll('  ', ' ');
}

const hellaswagLine = z.object({
  activity_label: z.string(),
  ctx_a: z.string(),
  ctx_b: z.string(),
  endings: z.array(z.string()).min(2),
  label: z.coerce.number().int(),
});

const arcLine = z.object({
  question: z.string(),
  choices: z.object({ text: z.array(z.string()).min(2), label: z.array(z.string()) }),
  answerKey: z.string(),
});

const piqaLine = z.object({ goal: z.string(), sol1: z.string(), sol2: z.string(), label: z.coerce.number().int() });

function arc(file: string, main: 'acc' | 'acc_norm'): LikelihoodTask {
  return choices(file, 0.25, main, (line) => {
    const { question, choices: given, answerKey } = arcLine.parse(line);
    return {
      context: `Question: ${question}\nAnswer:`,
      choices: given.text,
      gold: given.label.indexOf(answerKey),
    };
  });
}

const lambada: LikelihoodTask = {
  file: 'lambada_openai/test.jsonl',
  chance: 0,
  main: 'acc',
  item: (line) => {
    const { text } = z.object({ text: z.string() }).parse(line);
    const at = text.lastIndexOf(' ');
    if (at <= 0) throw new LfmError('bad-item', 'expected a text of at least two words.');
    return { context: text.slice(0, at), continuations: [text.slice(at)], gold: 0 };
  },
  solves: (_, { greedy }) => greedy[0] ?? false,
  metrics: (_, answers) => ({
    acc: shareOf(answers.map(({ greedy }) => greedy[0] ?? false)),
    perplexity: perplexityOf(answers.map(({ logprobs }) => logprobs[0] ?? NaN)),
  }),
};

export const likelihoodTasks: Readonly<Record<string, LikelihoodTask>> = {
  hellaswag: choices('hellaswag/validation.jsonl', 0.25, 'acc_norm', (line) => {
    const { activity_label: label, ctx_a: a, ctx_b: b, endings, label: gold } = hellaswagLine.parse(line);
    return { context: withoutMarks(`${label}: ${a} ${capitalized(b)}`), choices: endings.map(withoutMarks), gold };
  }),
  arc_easy: arc('ai2_arc/ARC-Easy/test.jsonl', 'acc'),
  arc_challenge: arc('ai2_arc/ARC-Challenge/test.jsonl', 'acc_norm'),
  piqa: choices('piqa/validation.jsonl', 0.5, 'acc', (line) => {
    const { goal, sol1, sol2, label } = piqaLine.parse(line);
    return { context: `Question: ${goal}\nAnswer:`, choices: [sol1, sol2], gold: label };
  }),
  lambada_openai: lambada,
};
