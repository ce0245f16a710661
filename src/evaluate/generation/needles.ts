// A needle in a haystack: RULER's niah_single_2 (Hsieh et al. 2024, arXiv 2404.06654). Essays hold one sentence that gives a key its
// number; the model is asked for it, with its answer begun.
import * as z from 'zod';
import { LfmError } from '../../tensor/error.ts';
import { Random } from '../../tensor/index.ts';
import { sentencesOf } from '../instructions/words.ts';
import { shareOf } from '../statistics.ts';
import type { Answerer, Question } from './answerer.ts';
import type { AskedItem, AskedTask } from './part.ts';

/** Tokens of prompt and answer, by the task's name. */
export const needleLengths: Readonly<Record<string, number>> = { needle_1k: 1024, needle_2k: 2048, needle_4k: 4096 };

/** Tokens that RULER leaves for the answer. */
export const NEEDLE_TOKENS = 128;
/** Questions where nobody says how many. */
export const NEEDLES = 100;
/** Places of a needle: 0 to 100 percent of the sentences, evenly. */
const DEPTHS = 40;
const SEED = 42;

export interface Needle extends AskedItem {
  readonly value: string;
  readonly depth: number;
}

export const wordsSchema = z.object({
  nouns: z.array(z.string()).min(1),
  adjectives: z.array(z.string()).min(1),
});
export type Words = z.infer<typeof wordsSchema>;

const essaySchema = z.object({ text: z.string() });
export const essayOf = (line: unknown): string => essaySchema.parse(line).text;

export interface NeedleOptions {
  readonly name: string;
  readonly essays: readonly string[];
  readonly words: Words;
  /** Most tokens of prompt and answer. */
  readonly length: number;
  readonly count: number;
}

/**
 * As many questions, the same whenever the tokenizer is, each with as many sentences around its needle as the length holds.
 * Errors: `too-little-hay` where a prompt has no room, or the essays do not fill it.
 */
export function needles({ name, essays, words, length, count }: NeedleOptions, answerer: Answerer): AskedTask<Needle> {
  const hay = essays.flatMap((text) => sentencesOf(text.replaceAll(/\s+/gu, ' ')));
  const random = new Random(SEED);
  const drawn = (list: readonly string[]) => list[Math.floor(random.uniform() * list.length)] ?? '';
  const items = Array.from({ length: count }, (): Needle => {
    const key = `${drawn(words.adjectives)}-${drawn(words.nouns)}`;
    const value = String(1_000_000 + Math.floor(random.uniform() * 9_000_000));
    const depth = Math.floor(random.uniform() * DEPTHS) / (DEPTHS - 1);
    const asked = (sentences: number) => questionOf(hay.slice(0, sentences), key, value, depth);
    const fits = (sentences: number) => answerer.encode(asked(sentences)).length + NEEDLE_TOKENS <= length;
    return { question: asked(most(hay.length, fits, name, length)), value, depth };
  });
  return {
    name,
    items,
    maxTokens: NEEDLE_TOKENS,
    result(all, answers) {
      const found = all.map(({ value }, i) => (answers[i] ?? '').includes(value));
      const perItem = { values: found.map(Number) };
      return { items: all.length, metrics: { found: shareOf(found) }, main: 'found', chance: 0, perItem };
    },
  };
}

/** The largest number below `all` that fits. */
function most(all: number, fits: (count: number) => boolean, name: string, length: number): number {
  let [low, high] = [0, all];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (fits(middle)) low = middle;
    else high = middle;
  }
  if (low > 0 && low < all - 1) return low;
  throw new LfmError(
    'too-little-hay',
    low === 0
      ? `${name}: a question alone has no room in ${length} tokens.`
      : `${name}: the essays are too short to fill it; give the folder with all of them as --data.`,
  );
}

function questionOf(hay: readonly string[], key: string, value: string, depth: number): Question {
  const at = Math.floor(hay.length * depth);
  const needle = `One of the special magic numbers for ${key} is: ${value}.`;
  const context = [...hay.slice(0, at), needle, ...hay.slice(at)].join(' ');
  return {
    text: `A special magic number is hidden within the following text. Make sure to memorize it. I will quiz you about the number afterwards.\n${context}\nWhat is the special magic number for ${key} mentioned in the provided text?`,
    beginning: `The special magic number for ${key} mentioned in the provided text is`,
  };
}
