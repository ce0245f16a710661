// Answers on the disk as they come, a line each behind a line that says what was asked: a run that was stopped goes on from them.
import { appendFile } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import * as z from 'zod';
import { writeFileAtomic } from '../files/atomic.node.ts';
import { readTextIfPresent } from '../files/json.node.ts';
import { LfmError } from '../tensor/error.ts';

const lineSchema = z.object({ part: z.string(), item: z.int().min(0), answer: z.unknown() });
const headSchema = z.object({ version: z.literal(1), settings: z.unknown() });

export interface KeptAnswers {
  /** By item. */
  of(part: string): ReadonlyMap<number, unknown>;
  keep(part: string, answers: readonly (readonly [number, unknown])[]): Promise<void>;
}

/** In memory only. */
export function unkeptAnswers(): KeptAnswers {
  return { of: () => new Map(), keep: async () => {} };
}

/**
 * Begins the file, or goes on with it. A last line that was cut short is dropped. Errors: `answers-exist` for a file where `resume`
 * is not asked for, `other-settings` where it was begun otherwise, `bad-answers`, naming the line.
 */
export async function openAnswers(path: string, settings: unknown, resume: boolean): Promise<KeptAnswers> {
  const old = await readTextIfPresent(path);
  if (old !== undefined && !resume)
    throw new LfmError('answers-exist', `${path} exists: go on with it by --resume, or choose another name.`);
  const plain: unknown = JSON.parse(JSON.stringify(settings));
  const lines =
    old === undefined
      ? []
      : old
          .slice(0, old.lastIndexOf('\n') + 1)
          .split('\n')
          .slice(0, -1);
  const answers = new Map<string, Map<number, unknown>>();
  const ofPart = (part: string) => {
    const known = answers.get(part) ?? new Map<number, unknown>();
    answers.set(part, known);
    return known;
  };
  lines.forEach((line, at) => {
    const where = `${path}, line ${at + 1}`;
    if (at === 0) {
      const { settings: begun } = parsed(headSchema, line, where);
      if (!isDeepStrictEqual(begun, plain))
        throw new LfmError(
          'other-settings',
          `${path} was begun with ${JSON.stringify(begun)}; asked for is ${JSON.stringify(plain)}. Choose another name.`,
        );
      return;
    }
    const { part, item, answer } = parsed(lineSchema, line, where);
    ofPart(part).set(item, answer);
  });
  const kept = lines.length > 0 ? lines : [JSON.stringify({ version: 1, settings: plain })];
  await writeFileAtomic(path, kept.map((line) => `${line}\n`).join(''));
  return {
    of: ofPart,
    async keep(part, found) {
      for (const [item, answer] of found) ofPart(part).set(item, answer);
      await appendFile(path, found.map(([item, answer]) => `${JSON.stringify({ part, item, answer })}\n`).join(''));
    },
  };
}

function parsed<T>(schema: z.ZodType<T>, line: string, where: string): T {
  try {
    return schema.parse(JSON.parse(line));
  } catch (cause) {
    throw new LfmError('bad-answers', `${where}: expected an answer as lfm evaluate writes it; remove the file.`, {
      cause,
    });
  }
}
