// Benchmarks and texts as parts of an evaluation, answered by a scorer.
import * as z from 'zod';
import type { ChatTemplate } from '../../generate/chat.ts';
import { chatTurns } from '../../generate/chat-turns.ts';
import { LfmError } from '../../tensor/error.ts';
import type { Tokenizer } from '../../text/tokenizer.ts';
import type { MeasuredModel } from '../measured-model.ts';
import type { Part } from '../part.ts';
import { exponentialOf, ratioOf, scaled } from '../statistics.ts';
import type { LikelihoodAnswer, LikelihoodItem, LikelihoodTask } from '../tasks/likelihood-tasks.ts';
import { pairRow, rollingRows } from './encode.ts';
import type { ScoredRow, Scorer } from './scorer.ts';

/** Items a block: few where a block takes minutes, many where programs are large and fast. */
const blockOf = ({ engine }: MeasuredModel) => (engine.compilesBySize ? 1024 : 32);

const answerSchema = z.object({ logprobs: z.array(z.number()), greedy: z.array(z.boolean()) });

/** Digits enough for float32, and not more. */
const short = (value: number) => Number(value.toPrecision(8));

export function likelihoodPart(
  name: string,
  task: LikelihoodTask,
  items: readonly LikelihoodItem[],
  model: MeasuredModel,
  scorer: Scorer,
): Part<LikelihoodAnswer> {
  const rowsOf = (number: number): ScoredRow[] => {
    const item = items[number];
    const rowOf = (context: string, text: string) => ({
      ...pairRow(model.tokenizer, context, text, model.before),
      group: number,
    });
    const rows = item?.continuations.map((text) => rowOf(item.context, text)) ?? [];
    const longest = Math.max(...rows.map(({ tokens }) => tokens.length));
    if (longest <= scorer.longest) return rows;
    throw new LfmError(
      'context-full',
      `${name}, item ${number + 1}: it has ${longest} tokens; ${model.name} reads at most ${scorer.longest}. Leave the task out, or measure fewer items (--limit).`,
    );
  };
  return {
    name,
    items: items.length,
    block: blockOf(model),
    async answer(numbers, options) {
      const groups = numbers.map(rowsOf);
      const scores = await scorer.score(groups.flat(), options);
      let at = 0;
      return groups.map(({ length }) => {
        const own = scores.slice(at, (at += length));
        return { logprobs: own.map(({ logprob }) => short(logprob)), greedy: own.map(({ isGreedy }) => isGreedy) };
      });
    },
    read: (kept) => answerSchema.parse(kept),
    result: (answers) => ({
      items: items.length,
      metrics: task.metrics(items, answers),
      main: task.main,
      chance: task.chance,
      perItem: {
        values: items.map((item, i) => Number(task.solves(item, answers[i] ?? { logprobs: [], greedy: [] }))),
      },
    }),
  };
}

/** What is measured of a text: rows, and the bytes of what they predict. */
export interface TextRow extends ScoredRow {
  readonly bytes: number;
}

interface TextAnswer {
  readonly nats: number;
  readonly tokens: number;
  readonly bytes: number;
}

const textAnswerSchema = z.object({ nats: z.number(), tokens: z.number(), bytes: z.number() });

function withBytes(tokenizer: Tokenizer, row: ScoredRow): TextRow {
  return { ...row, bytes: tokenizer.decodeBytes(row.labels, { skipSpecialTokens: true }).length };
}

/** Windows of a text, all of its tokens predicted once. */
export function textRows({ tokenizer, before }: MeasuredModel, text: string, window: number): TextRow[] {
  const tokens = Array.from(tokenizer.encode(text, { addSpecialTokens: false }));
  return rollingRows(tokens, before, window).map((row) => withBytes(tokenizer, row));
}

/**
 * A chat in the model's template, what the assistant says predicted; of one longer than the window its beginning. Undefined where
 * nothing of it is said within the window. Errors: those of `chatTurns`.
 */
export function chatRow(
  { tokenizer }: MeasuredModel,
  template: ChatTemplate,
  messages: unknown,
  window: number,
): TextRow | undefined {
  const { ids, counts } = chatTurns(template, tokenizer, messages);
  const places: number[] = [];
  for (let place = 0; place < Math.min(ids.length - 1, window); place++)
    if (counts[place + 1] === 1) places.push(place);
  const last = places.at(-1);
  if (last === undefined) return undefined;
  return withBytes(tokenizer, { tokens: ids.slice(0, last + 1), places, labels: places.map((at) => ids[at + 1] ?? 0) });
}

export function textPart(
  name: string,
  rows: readonly TextRow[],
  model: MeasuredModel,
  scorer: Scorer,
): Part<TextAnswer> {
  return {
    name,
    items: rows.length,
    block: model.engine.compilesBySize ? 64 : 4,
    async answer(numbers, options) {
      const own = numbers.flatMap((number) => rows[number] ?? []);
      const scores = await scorer.score(own, options);
      return own.map(({ labels, bytes }, i) => ({
        nats: short(-(scores[i]?.logprob ?? NaN)),
        tokens: labels.length,
        bytes,
      }));
    },
    read: (kept) => textAnswerSchema.parse(kept),
    result(answers) {
      const of = (key: keyof TextAnswer) => answers.map((answer) => answer[key]);
      const total = (key: keyof TextAnswer) => of(key).reduce((sum, value) => sum + value, 0);
      return {
        items: rows.length,
        metrics: {
          perplexity: exponentialOf(ratioOf(of('nats'), of('tokens'))),
          bits_per_byte: scaled(ratioOf(of('nats'), of('bytes')), 1 / Math.LN2),
        },
        perItem: { values: of('nats'), sizes: of('tokens') },
        counts: { tokens: total('tokens'), bytes: total('bytes') },
      };
    },
  };
}
