// The rows of npm run bench -- distilled: what each side came to, their ratio, and what issue 10 wants of it.
import * as z from 'zod';
import { perplexityRatio, shareAboveChance } from '../src/evaluate/compare.ts';
import type { Estimate } from '../src/evaluate/part.ts';
import type { Speed } from './distilled-speed.ts';

/** One item has no error: JSON has null for NaN. */
const errorSchema = z
  .number()
  .nullable()
  .transform((error) => error ?? NaN);
const estimateSchema = z.object({
  value: z.number(),
  standardError: errorSchema,
  low: errorSchema,
  high: errorSchema,
});

/** A part of one side as it is stored. */
export const storedSchema = z.object({
  model: z.string(),
  engine: z.string(),
  dtype: z.string(),
  part: z.object({
    items: z.number(),
    metrics: z.record(z.string(), estimateSchema),
    main: z.string().exactOptional(),
    chance: z.number().exactOptional(),
    perItem: z.object({ values: z.array(z.number()), sizes: z.array(z.number()).exactOptional() }),
  }),
});
export type Stored = z.infer<typeof storedSchema>;
/** By the part's name. */
export type SideResults = Record<string, Stored>;

export interface Row {
  readonly measure: string;
  readonly teacher: string;
  readonly student: string;
  readonly ratio: string;
  readonly wanted: string;
}

/** Most that the student's perplexity may be of the teacher's. */
const perplexities: Readonly<Record<string, number>> = { books: 1.03, chats: 1.03, wikitext: 1.1 };
const benchmarks = ['hellaswag', 'arc_easy', 'piqa', 'lambada_openai'];
const LEAST_ABOVE_CHANCE = 0.95;
const LEAST_IFEVAL = 0.85;
const needles = ['needle_1k', 'needle_2k', 'needle_4k'];

/** Those of the announcement, in its order. */
export const languages: Readonly<Record<string, string>> = {
  en: 'English',
  es: 'Spanish',
  fr: 'French',
  de: 'German',
  zh: 'Chinese',
  ar: 'Arabic',
  ja: 'Japanese',
  ko: 'Korean',
};
export const languagePart = (code: string) => `language-${code}`;

const percent = (share: number) => `${(100 * share).toFixed(1)}%`;
/** With its interval, where there is one: of a single item nothing is known. */
const spread = ({ value, low, high }: Estimate, show: (value: number) => string) =>
  Number.isFinite(low) ? `${show(value)} (${show(low)} to ${show(high)})` : show(value);
const plain = (value: number) => value.toFixed(3);

/** Whether it is reached, by the value itself; the interval stands beside it. */
const verdict = (is: boolean, what: string) => `${what}: ${is ? 'yes' : 'no'}`;

/** Of parts that both sides have. */
export function tableOf(
  results: Readonly<Record<'teacher' | 'student', SideResults>>,
  speed: Speed | undefined,
): Row[] {
  const pairOf = (name: string) => {
    const [student, teacher] = [results.student[name]?.part, results.teacher[name]?.part];
    return student && teacher ? ([student, teacher] as const) : undefined;
  };
  const score = ({ metrics, main = '' }: Stored['part']) => {
    const found = metrics[main];
    return found ? spread(found, percent) : '-';
  };
  const shareRow = (name: string, measure: string, least?: number): Row[] => {
    const pair = pairOf(name);
    if (!pair) return [];
    const [student, teacher] = pair;
    const { share, teacher: above } = shareAboveChance([pair]);
    // Of a teacher that knows nothing there is no share.
    const ratio = above > 0 ? `${spread(share, percent)} above chance` : '-';
    const wanted = least === undefined ? '' : verdict(above > 0 && share.value >= least, `at least ${percent(least)}`);
    return [{ measure, teacher: score(teacher), student: score(student), ratio, wanted }];
  };
  const rows: Row[] = [];
  for (const [name, most] of Object.entries(perplexities)) {
    const pair = pairOf(name);
    if (!pair) continue;
    const [student, teacher] = pair.map(({ metrics: { perplexity } }) =>
      perplexity ? spread(perplexity, plain) : '-',
    );
    const ratio = perplexityRatio(pair);
    rows.push({
      measure: `perplexity, ${name}`,
      teacher: teacher ?? '-',
      student: student ?? '-',
      ratio: spread(ratio, plain),
      wanted: verdict(ratio.value <= most, `at most ${most}`),
    });
  }
  for (const [code, language] of Object.entries(languages)) {
    const [ours, theirs] = (pairOf(languagePart(code)) ?? []).map(({ metrics: { bits_per_byte: bits } }) => bits);
    if (!ours || !theirs) continue;
    const [teacher, student] = [spread(theirs, plain), spread(ours, plain)];
    rows.push({
      measure: `bits a byte, ${language}`,
      teacher,
      student,
      ratio: plain(ours.value / theirs.value),
      wanted: '',
    });
  }
  for (const name of benchmarks) rows.push(...shareRow(name, `${name}, ${pairOf(name)?.[0].main ?? ''}`));
  const pairs = benchmarks.map(pairOf).filter((pair) => pair !== undefined);
  if (pairs.length === benchmarks.length) {
    const { student, teacher, share } = shareAboveChance(pairs);
    rows.push({
      measure: 'their mean above chance',
      teacher: percent(teacher),
      student: percent(student),
      ratio: teacher > 0 ? spread(share, percent) : '-',
      wanted: verdict(teacher > 0 && share.value >= LEAST_ABOVE_CHANCE, `at least ${percent(LEAST_ABOVE_CHANCE)}`),
    });
  }
  rows.push(...shareRow('ifeval', 'IFEval, prompts, strict', LEAST_IFEVAL));
  for (const name of needles) rows.push(...shareRow(name, name.replace('needle_', 'needle at '), 1));
  return speed ? [...rows, ...speedRows(speed)] : rows;
}

function speedRows({ numerics, teacher, student, ratio: rounds }: Speed): Row[] {
  const sizeRow = (measure: string, key: 'stateBytes' | 'fileBytes', most: number) => {
    const ratio = student[key] / teacher[key];
    const wanted = verdict(ratio <= most, `at most ${most}`);
    return { measure, teacher: megabytes(teacher[key]), student: megabytes(student[key]), ratio: plain(ratio), wanted };
  };
  const megabytes = (value: number) => `${(value / 1e6).toFixed(1)} MB`;
  return [
    {
      measure: `decoding at 2,048 tokens, ${numerics}, tokens/s`,
      teacher: teacher.tokensPerSecond.toFixed(1),
      student: student.tokensPerSecond.toFixed(1),
      ratio: `${plain(rounds.value)} (half of the rounds ${plain(rounds.low)} to ${plain(rounds.high)})`,
      wanted: verdict(rounds.value >= 1.5, 'at least 1.5'),
    },
    sizeRow('state at 2,048 tokens', 'stateBytes', 0.4),
    sizeRow('file', 'fileBytes', 0.75),
  ];
}
