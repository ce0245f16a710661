// Conversations from a model: equal for equal seeds, gone on with after a stop, and free of what must not be in them.
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import * as z from 'zod';
import { ContaminationIndex } from '../../data/contamination.ts';
import { writeModelFolder } from '../../generate/testing.node.ts';
import { Random } from '../../tensor/index.ts';
import type { Conversation } from './conversation.ts';
import { ConversationFilter } from './filter.ts';
import { drawPrompt, promptCount } from './prompts.ts';
import { drawVerified } from './verified.ts';
import { conversationDefaults, writeConversations } from './write.node.ts';

vi.mock('./prompts.ts', { spy: true });

let folder: string;
let model: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lfm-data-'));
  model = join(folder, 'model');
  await mkdir(model);
  await writeModelFolder(model, { chats: true });
  // One token in three ends a text: those of random weights would not else.
  const ends = [2, ...Array.from({ length: 100 }, (_, i) => 3 * i + 4).filter((id) => id < 300)];
  await writeFile(join(model, 'generation_config.json'), JSON.stringify({ eos_token_id: ends }));
});
afterAll(() => rm(folder, { recursive: true }));

const engine = { name: 'onnx', threads: 1 };
const read = async (out: string) =>
  Object.fromEntries(
    await Promise.all(
      (await readdir(out)).sort().map(async (name) => [name, await readFile(join(out, name), 'utf8')] as const),
    ),
  );

describe('writeConversations [onnx]', () => {
  const settings = {
    ...conversationDefaults,
    batch: 8,
    capacity: 128,
    maxTokens: 32,
    temperature: 1.5,
    minP: 0,
    turns: 1,
  };
  const write = (out: string, count: number, changes = {}) =>
    writeConversations(out, { ...settings, model, ...changes }, { count, engine, dtype: 'float32' });

  it('writes what the seed says, and goes on where it stopped', async () => {
    const [whole, pieces] = [join(folder, 'whole'), join(folder, 'pieces')];
    const report = await write(whole, 8);
    expect(report.kept['teacher']).toBeGreaterThanOrEqual(8);
    await write(pieces, 1);
    await cp(join(pieces, 'part-00000.jsonl'), join(folder, 'first'));
    await write(pieces, 8);
    const [a, b] = [await read(whole), await read(pieces)];
    const strip = (files: Record<string, string>) => ({ ...files, 'report.json': undefined });
    expect(strip(b)).toEqual(strip(a));
    expect(await readFile(join(folder, 'first'), 'utf8')).toBe(a['part-00000.jsonl']);
    const other = join(folder, 'other');
    await write(other, 1, { seed: 1 });
    expect((await read(other))['part-00000.jsonl']).not.toBe(a['part-00000.jsonl']);
    await expect(write(pieces, 8, { temperature: 1 })).rejects.toMatchObject({ code: 'other-settings' });
    const lines = (a['part-00000.jsonl'] ?? '').split('\n').filter(Boolean);
    for (const line of lines) {
      const { messages, source }: Conversation = JSON.parse(line);
      expect(['teacher', 'verified']).toContain(source);
      expect(messages.at(-1)?.role).toBe('assistant');
    }
  });

  it('has the model write the questions too, or code write all', async () => {
    const speakers = async (out: string) =>
      Object.entries(await read(out)).flatMap(([name, file]) =>
        name.startsWith('part') ? file.split('\n').filter(Boolean) : [],
      );
    const invented = join(folder, 'invented');
    vi.mocked(drawPrompt).mockClear();
    await write(invented, 8, { invented: 1, turns: 2, verified: 0, capacity: 320 });
    expect(drawPrompt).not.toHaveBeenCalled();
    const asked = (await speakers(invented)).map((line): Conversation => JSON.parse(line));
    // Of random weights: none of the questions that code draws, which are English.
    const questions = asked.map(({ messages }) => messages.find(({ role }) => role === 'user')?.content ?? '');
    expect(questions.every((question) => question !== '' && !/\b(?:what|write|text)\b/i.test(question))).toBe(true);
    const passages = join(folder, 'long.txt');
    await writeFile(
      passages,
      Array.from({ length: 40 }, (_, i) => `${i} mills by the brook. `.repeat(20)).join('\n\n'),
    );
    const coded = join(folder, 'coded');
    const report = await write(coded, 24, { verified: 1, capacity: 512, passages: [passages] });
    expect(report.kept).toEqual({ verified: 24 });
    const long = (await speakers(coded)).filter((line) => line.length > 700 && line.includes('mills by the brook'));
    expect(long.length).toBeGreaterThan(2);
    for (const line of long) {
      const { messages }: Conversation = JSON.parse(line);
      expect(messages[0]?.content).toContain(messages[1]?.content);
    }
  });

  it('writes texts that go on from openings, of a base model too', async () => {
    const base = join(folder, 'base-texts');
    await mkdir(base);
    await writeModelFolder(base);
    const out = join(folder, 'texts');
    const passages = join(folder, 'passages.txt');
    await writeFile(passages, `${'By the brook there stood a mill. '.repeat(12)}\n\n`);
    const texts = { kind: 'texts' as const, model: base, passages: [passages], capacity: 96 };
    const report = await write(out, 12, texts);
    expect(report.kept['teacher']).toBeGreaterThanOrEqual(12);
    const found = Object.entries(await read(out)).flatMap(([name, file]) =>
      name.startsWith('part') ? file.split('\n').filter(Boolean) : [],
    );
    const written = found.map(
      (line) => z.strictObject({ text: z.string(), source: z.literal('teacher') }).parse(JSON.parse(line)).text,
    );
    expect(written.some((text) => text.startsWith('By the brook there'))).toBe(true);
    const unprompted = join(folder, 'unprompted');
    await write(unprompted, 8, { ...texts, unprompted: 1 });
    expect((await read(unprompted))['part-00000.jsonl']).not.toContain('By the brook');
    await expect(write(out, 12, { ...texts, kind: 'conversations' })).rejects.toMatchObject({ code: 'other-settings' });
  });

  it('leaves out what a benchmark has', async () => {
    const benchmark = join(folder, 'benchmark.jsonl');
    // Any question of this seed, as a benchmark.
    const random = new Random(settings.seed * 1_000_003);
    const { question } = drawPrompt(random, 1 + Math.min(0, Math.floor(random.uniform())));
    const words = `${question} one two three four five six seven eight`;
    await writeFile(
      benchmark,
      `${JSON.stringify({ ctx: words, endings: ['what it says about that is all that there is'] })}\n`,
    );
    const index = new ContaminationIndex();
    index.add('b', words);
    expect(index.find(`So: ${words.toUpperCase()}!`)).toMatchObject({ name: 'b' });
    expect(index.find('one two three four five six')).toBeUndefined();
    const { benchmarkRuns } = await write(join(folder, 'clean'), 1, { benchmarks: [benchmark] });
    expect(benchmarkRuns).toBeGreaterThan(8);
  });

  it('says what is wrong', async () => {
    const base = join(folder, 'base');
    await mkdir(base);
    await writeModelFolder(base);
    await expect(write(join(folder, 'x'), 1, { model: base })).rejects.toMatchObject({ code: 'no-chat-template' });
    await expect(write(join(folder, 'x'), 1, { verified: 0.95 })).rejects.toMatchObject({ code: 'bad-settings' });
    const broken = join(folder, 'broken');
    await mkdir(broken);
    await writeFile(join(broken, 'report.json'), '{"version": 2}');
    await expect(write(broken, 1)).rejects.toMatchObject({ code: 'bad-report' });
    await writeFile(join(folder, 'bad.jsonl'), '{"a": "b"}\n{');
    await expect(write(join(folder, 'y'), 1, { benchmarks: [join(folder, 'bad.jsonl')] })).rejects.toThrow(/line 2/);
  });
});

describe('what is drawn', () => {
  it('is wide, and right where it is computed', () => {
    expect(promptCount).toBeGreaterThan(20_000);
    const random = new Random(3);
    const questions = new Set(Array.from({ length: 2000 }, () => drawPrompt(random, 2).question));
    expect(questions.size).toBeGreaterThan(1800);
    for (let i = 0; i < 2000; i++) {
      const [ask, answer] = drawVerified(random).messages;
      const sum = /(\d+) ([+×-]) (\d+) = (\d+)/.exec(answer?.content ?? '');
      if (!sum) continue;
      const [, a = '', sign = '', b = '', result = ''] = sum;
      const [x, y] = [Number(a), Number(b)];
      expect(Number(result), ask?.content).toBe(sign === '+' ? x + y : sign === '-' ? x - y : x * y);
    }
  });
});

describe('ConversationFilter', () => {
  const say = (...answers: string[]): Conversation => ({
    source: 'teacher',
    messages: answers.flatMap(
      (content) =>
        [
          { role: 'user', content: 'Hm?' },
          { role: 'assistant', content },
        ] as const,
    ),
  });
  const words = 'The brook runs down the hill past the mill and the stones to the sea';

  it('names why', () => {
    const benchmarks = new ContaminationIndex();
    benchmarks.add('quiz', 'Nobody knows where the brook began, said the miller to his wife.');
    const filter = new ConversationFilter(benchmarks);
    expect(filter.refuses(say(words))).toBeUndefined();
    expect(filter.refuses(say(`${words} at last`))).toBe('duplicate');
    expect(filter.refuses(say('Yes.', ''))).toBe('short');
    expect(filter.refuses(say('again and again and '.repeat(9)))).toBe('loop');
    expect(filter.refuses(say('As an AI language model I have no brook.'))).toBe('refused');
    expect(filter.refuses(say('It is said that nobody knows where the brook began, said the miller.'))).toBe(
      'contaminated',
    );
    expect(filter.found.get('quiz')).toEqual({ count: 1, examples: ['nobody knows where the brook began said the'] });
    expect(filter.refuses(say('Yes.'))).toBeUndefined();
    expect(filter.refuses(say('Yes.'))).toBe('duplicate');
  });
});
