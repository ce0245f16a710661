// Checkers of instructions against IFEval's own (tools/oracles/ifeval_checks.py), and what that cannot say: sentences.
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { checkers, follows, settingsSchema } from './checkers.ts';
import { languageOf } from './language.ts';
import { sentencesOf, wordCount } from './words.ts';

const path = new URL('../../../test/fixtures/evaluate/instructions.json', import.meta.url);
const { answers, instructions } = z
  .object({
    answers: z.array(z.string()),
    instructions: z.array(z.object({ id: z.string(), kwargs: settingsSchema, follows: z.string() })),
  })
  .parse(JSON.parse(await readFile(path, 'utf8')));

/** Of a few words langdetect says what it will. */
const isUnsure = (id: string, answer: string) =>
  /^(change_case:english|language:)/.test(id) && wordCount(answer) < 7 && languageOf(answer) !== 'kn';

describe('checkers of instructions', () => {
  it.each(Object.keys(checkers).filter((id) => id !== 'length_constraints:number_sentences'))('%s as IFEval', (id) => {
    const own = instructions.filter((one) => one.id === id);
    expect(own.length).toBeGreaterThan(0);
    const seen = new Set<boolean>();
    for (const { kwargs, follows: wanted } of own)
      answers.forEach((answer, i) => {
        if (isUnsure(id, answer)) return;
        const found = follows(id, answer, kwargs);
        seen.add(found);
        expect(found, `${JSON.stringify(kwargs)}: ${answer}`).toBe(wanted[i] === '1');
      });
    expect(seen.size).toBe(2);
  });

  it('are of 25 types', () => expect(Object.keys(checkers)).toHaveLength(25));
});

describe('sentences', () => {
  it.each<[string, number]>([
    ['One. Two! Three?', 3],
    ['Mr. Brook met Dr. Mill at 5 p.m. on Monday. They talked.', 2],
    ['It cost 3.50, e.g. for bread. “Really?” she asked. He nodded', 4],
    ['J. R. Miller wrote it. (He was old.) The end.', 3],
    ['1. Wash it.\n2. Dry it.', 2],
    ['No end\n\nstill none', 1],
    ['Wait... what? Yes.', 2],
    ['', 0],
  ])('%j are %i', (text, count) => expect(sentencesOf(text)).toHaveLength(count));

  it('count for what is asked', () => {
    const settings = { relation: 'less than' as const, num_sentences: 3 };
    expect(follows('length_constraints:number_sentences', 'One. Two.', settings)).toBe(true);
    expect(follows('length_constraints:number_sentences', 'One. Two. Three.', settings)).toBe(false);
  });
});
