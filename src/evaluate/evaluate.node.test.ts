// lfm evaluate on the shipped model against lm-evaluation-harness, item by item, and what a stopped run and bad input come to.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as z from 'zod';
import { evaluate } from './evaluate.node.ts';
import type { EvaluateOptions } from './evaluate.node.ts';
import { likelihoodTasks } from './tasks/likelihood-tasks.ts';
import { perplexityOf, ratioOf, shareOf } from './statistics.ts';

const fixture = new URL('../../test/fixtures/evaluate/', import.meta.url).pathname;
const taskNames = Object.keys(likelihoodTasks);
const text = join(fixture, 'text.txt');
const base: EvaluateOptions = {
  tasks: [],
  texts: [],
  data: join(fixture, 'data'),
  window: 48,
  engine: { name: 'onnx', threads: 1 },
};

let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'lfm-evaluate-'))));
afterAll(() => rm(folder, { recursive: true }));

const harnessSchema = z.object({
  task: z.string(),
  item: z.number(),
  logprobs: z.array(z.number()),
  greedy: z.array(z.boolean()),
  acc: z.number(),
  acc_norm: z.number().optional(),
});
const keptSchema = z.object({
  part: z.string(),
  item: z.number(),
  answer: z.looseObject({ logprobs: z.array(z.number()).optional(), greedy: z.array(z.boolean()).optional() }),
});

async function linesOf(path: string): Promise<unknown[]> {
  return (await readFile(path, 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

describe('lfm evaluate beside lm-evaluation-harness', () => {
  it('finds every item as likely and as right, and goes on with a file that was cut', async () => {
    const out = join(folder, 'answers.jsonl');
    const all = { ...base, tasks: taskNames, texts: [text], out };
    const found = await evaluate('brook-7m', all);
    const lines = await linesOf(join(fixture, 'harness.jsonl'));
    const theirs = lines.slice(0, -1).map((line) => harnessSchema.parse(line));
    const ours = (await linesOf(out)).slice(1).map((line) => keptSchema.parse(line));
    for (const { task, item, logprobs, greedy } of theirs) {
      const answer = ours.find((one) => one.part === task && one.item === item)?.answer;
      expect(answer?.greedy).toEqual(greedy);
      logprobs.forEach((value, i) => expect(answer?.logprobs?.[i]).toBeCloseTo(value, 2));
    }
    for (const task of taskNames) {
      const own = theirs.filter((one) => one.task === task);
      const share = (key: 'acc' | 'acc_norm') => own.reduce((sum, one) => sum + (one[key] ?? 0), 0) / own.length;
      expect(found.parts[task]?.metrics['acc']?.value).toBeCloseTo(share('acc'), 12);
      if (task !== 'lambada_openai')
        expect(found.parts[task]?.metrics['acc_norm']?.value).toBeCloseTo(share('acc_norm'), 12);
    }
    const { text: nats } = z.object({ text: z.number() }).parse(lines.at(-1));
    const { perplexity, bits_per_byte: bits } = found.parts['text.txt']?.metrics ?? {};
    const { tokens = NaN, bytes = NaN } = found.parts['text.txt']?.counts ?? {};
    expect(bytes).toBe((await readFile(text)).length);
    expect(Math.log(perplexity?.value ?? NaN) * tokens).toBeCloseTo(-nats, 2);
    expect(bits?.value).toBeCloseTo(-nats / Math.LN2 / bytes, 5);

    // Cut within the last line, as a kill leaves it.
    const whole = await readFile(out, 'utf8');
    await writeFile(out, whole.slice(0, whole.lastIndexOf('\n') - 10));
    await expect(evaluate('brook-7m', all)).rejects.toMatchObject({ code: 'answers-exist' });
    const resumed = await evaluate('brook-7m', { ...all, resume: true });
    const answered = Object.values(resumed.parts).map(({ answeredNow }) => answeredNow);
    expect(answered.reduce((sum, count) => sum + count, 0)).toBe(1);
    expect(resumed.parts['text.txt']?.metrics).toEqual(found.parts['text.txt']?.metrics);
    await expect(evaluate('brook-7m', { ...all, resume: true, limit: 2 })).rejects.toMatchObject({
      code: 'other-settings',
    });
  }, 60_000);
});

describe('what lfm evaluate refuses', () => {
  it('tasks that it does not know, and nothing', async () => {
    await expect(evaluate('brook-7m', { ...base, tasks: ['mmlu'] })).rejects.toMatchObject({ code: 'unknown-task' });
    await expect(evaluate('brook-7m', base)).rejects.toMatchObject({ code: 'bad-option' });
    await expect(evaluate('brook-7m', { ...base, texts: [text], resume: true })).rejects.toMatchObject({
      code: 'bad-option',
    });
  });

  it('data that is not there, or damaged, naming file and line', async () => {
    await expect(evaluate('brook-7m', { ...base, tasks: ['piqa'], data: folder })).rejects.toMatchObject({
      code: 'data-missing',
      message: expect.stringContaining('piqa/validation.jsonl'),
    });
    await expect(evaluate('brook-7m', { ...base, tasks: ['piqa'], data: undefined })).rejects.toMatchObject({
      code: 'data-missing',
    });
    const bad = join(folder, 'bad.jsonl');
    await writeFile(bad, '{"text": "one"}\n{"text": 2}\n');
    await expect(evaluate('brook-7m', { ...base, texts: [bad] })).rejects.toMatchObject({
      code: 'bad-item',
      message: expect.stringContaining('bad.jsonl, line 2'),
    });
    await writeFile(bad, '{"messages": []}\n');
    await expect(evaluate('brook-7m', { ...base, texts: [bad] })).rejects.toMatchObject({ code: 'bad-item' });
  });

  it('windows beyond the context, and types that the engine does not compute in', async () => {
    await expect(evaluate('brook-7m', { ...base, texts: [text], window: 513 })).rejects.toMatchObject({
      code: 'context-full',
    });
    await expect(evaluate('brook-7m', { ...base, texts: [text], dtype: 'bfloat16' })).rejects.toMatchObject({
      code: 'bad-option',
    });
  });
});

describe('estimates', () => {
  it('are those of the textbooks', () => {
    const { value, standardError, low, high } = shareOf([true, true, true, false]);
    expect(value).toBe(0.75);
    expect(standardError).toBeCloseTo(0.25, 12); // sqrt(0.75 * 0.25 / 3)
    expect([low, high].map((bound) => Number(bound.toFixed(4)))).toEqual([0.3006, 0.9544]); // Wilson, by hand
    expect(shareOf([true, true]).high).toBe(1);
    const { value: perplexity } = perplexityOf([-Math.log(4), -Math.log(9)]);
    expect(perplexity).toBeCloseTo(6, 12);
    expect(ratioOf([2, 4], [1, 2])).toMatchObject({ value: 2, standardError: 0 });
  });
});
