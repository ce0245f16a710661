// IFEval (Zhou et al. 2023, arXiv 2311.07911): prompts with instructions whose following code can check.
import * as z from 'zod';
import { LfmError } from '../../tensor/error.ts';
import type { InstructionSettings } from '../instructions/checkers.ts';
import { checkers, follows, settingsSchema } from '../instructions/checkers.ts';
import { asShare, ratioOf, shareOf } from '../statistics.ts';
import type { AskedItem, AskedTask } from './part.ts';

export interface InstructedItem extends AskedItem {
  readonly instructions: readonly { readonly id: string; readonly settings: InstructionSettings }[];
}

export const IFEVAL_FILE = 'ifeval/test.jsonl';

/** As the reference has it. */
export const IFEVAL_TOKENS = 1280;

const lineSchema = z.object({
  prompt: z.string(),
  instruction_id_list: z.array(z.string()).min(1),
  kwargs: z.array(settingsSchema),
});

/** Of one line. Errors: those of zod, `bad-item` for an instruction that nothing here checks. */
export function instructedItem(line: unknown): InstructedItem {
  const { prompt, instruction_id_list: ids, kwargs } = lineSchema.parse(line);
  const unknown = ids.find((id) => !Object.hasOwn(checkers, id));
  if (unknown !== undefined) throw new LfmError('bad-item', `there is no check of the instruction "${unknown}".`);
  return { question: { text: prompt }, instructions: ids.map((id, i) => ({ id, settings: kwargs[i] ?? {} })) };
}

/** Strict: of prompts those with all instructions followed, and of instructions those followed, whose error is that over prompts. */
export function ifeval(items: readonly InstructedItem[], maxTokens: number): AskedTask<InstructedItem> {
  return {
    name: 'ifeval',
    items,
    maxTokens,
    result(all, answers) {
      const followed = all.map(({ instructions }, i) =>
        instructions.map(({ id, settings }) => follows(id, answers[i] ?? '', settings)),
      );
      const hits = followed.map((own) => own.filter(Boolean).length);
      return {
        items: all.length,
        metrics: {
          prompt_level_strict_acc: shareOf(followed.map((own) => own.every(Boolean))),
          inst_level_strict_acc: asShare(
            ratioOf(
              hits,
              followed.map(({ length }) => length),
            ),
          ),
        },
        main: 'prompt_level_strict_acc',
        chance: 0,
        perItem: { values: followed.map((own) => Number(own.every(Boolean))) },
      };
    },
  };
}
