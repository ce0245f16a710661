// Questions that are answered in words, as a part of an evaluation: the texts are what is kept.
import * as z from 'zod';
import { LfmError } from '../../tensor/error.ts';
import type { Part, PartResult } from '../part.ts';
import type { Answerer, Question } from './answerer.ts';

export interface AskedItem {
  readonly question: Question;
}

export interface AskedTask<I extends AskedItem> {
  readonly name: string;
  readonly items: readonly I[];
  /** Most tokens of an answer. */
  readonly maxTokens: number;
  readonly result: (items: readonly I[], answers: readonly string[]) => PartResult;
}

/** Errors: `context-full`, where a prompt and its answer have no room in the model's context. */
export function askedPart<I extends AskedItem>(
  { name, items, maxTokens, result }: AskedTask<I>,
  answerer: Answerer,
): Part<string> {
  const prompts = items.map(({ question }) => answerer.encode(question));
  const longest = Math.max(...prompts.map(({ length }) => length));
  if (longest + maxTokens > answerer.contextLength)
    throw new LfmError(
      'context-full',
      `${name}: a prompt of ${longest} tokens and an answer of up to ${maxTokens} have no room in the ${answerer.contextLength} tokens that ${answerer.name} reads. Leave the task out, or ask for shorter answers (--max-tokens).`,
    );
  return {
    name,
    items: items.length,
    block: answerer.batchOf(longest, maxTokens),
    answer: (numbers, options) =>
      answerer.answer(
        numbers.map((number) => prompts[number] ?? []),
        { ...options, maxTokens, longest },
      ),
    read: (kept) => z.string().parse(kept),
    result: (answers) => result(items, answers),
  };
}
