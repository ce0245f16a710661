// Tasks that are answered in words: prompts as they should be, answers counted, the same answers from each engine.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cpuPlugin } from '../../engines/xla/testing.node.ts';
import { writeModelFolder } from '../../generate/testing.node.ts';
import { evaluate } from '../evaluate.node.ts';
import type { Answerer } from './answerer.ts';
import { ifeval, instructedItem } from './ifeval.ts';
import { NEEDLE_TOKENS, needles } from './needles.ts';
import { askedPart } from './part.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lfm-asked-'));
  await writeModelFolder(folder, { chats: true });
});
afterAll(() => rm(folder, { recursive: true }));

/** Reads a word a token, and finds the number that a key was given, but for every fourth prompt. */
const reader: Answerer = {
  name: 'reader',
  engine: 'none',
  contextLength: 400,
  encode: ({ text, beginning }) => `${text} ${beginning}`.split(' ').map((_, i) => i),
  batchOf: () => 4,
  answer: async () => [],
  [Symbol.asyncDispose]: async () => {},
};

const essays = Array.from({ length: 40 }, (_, i) => `Stone ${i} lies here. It says nothing.  Water goes over it!`);
const words = { nouns: ['brook', 'mill', 'stone'], adjectives: ['deep', 'old'] };

describe('needles', () => {
  const options = { name: 'needle', essays, words, length: 300, count: 12 };
  const { items, maxTokens, result } = needles(options, reader);

  it('fill their length with hay around one sentence that answers the question', () => {
    for (const { question, value } of items) {
      const { text, beginning } = question;
      const tokens = reader.encode(question).length + maxTokens;
      expect(tokens).toBeGreaterThan(300 - 10);
      expect(tokens).toBeLessThanOrEqual(300);
      const [, key] = /What is the special magic number for (\S+) mentioned/.exec(text) ?? [];
      expect(text.split(`One of the special magic numbers for ${key} is: ${value}.`)).toHaveLength(2);
      expect(beginning).toContain(`for ${key} mentioned`);
      expect(value).toMatch(/^[1-9]\d{6}$/);
    }
    expect(new Set(items.map(({ value }) => value)).size).toBe(12);
    expect(new Set(items.map(({ depth }) => depth)).size).toBeGreaterThan(4);
    expect(needles(options, reader).items).toEqual(items);
  });

  it('are found by answers that name their number', () => {
    const answers = items.map(({ value }, i) => (i % 4 === 0 ? 'It is 7.' : ` ${value}, of course.`));
    expect(result(items, answers).metrics['found']?.value).toBe(0.75);
  });

  it('need hay, and a context', () => {
    expect(() => needles({ ...options, essays: essays.slice(0, 3) }, reader)).toThrow('too short');
    expect(() => needles({ ...options, length: NEEDLE_TOKENS + 20 }, reader)).toThrow('no room');
    expect(() => askedPart(needles({ ...options, length: 420 }, reader), reader)).toThrow('reads');
  });
});

describe('IFEval', () => {
  const path = new URL('../../../test/fixtures/evaluate/data/ifeval/test.jsonl', import.meta.url);

  it('counts prompts and instructions', async () => {
    const lines = (await readFile(path, 'utf8')).trim().split('\n');
    const items = lines.map((line) => instructedItem(JSON.parse(line)));
    const { metrics } = ifeval(items, 9).result(items, ['Down', '"Down"', 'word '.repeat(200)]);
    expect(metrics['prompt_level_strict_acc']?.value).toBeCloseTo(1 / 3, 12);
    expect(metrics['inst_level_strict_acc']?.value).toBeCloseTo(2 / 4, 12);
    const odd = { prompt: 'x', instruction_id_list: ['format:rhyme'], kwargs: [{}] };
    expect(() => instructedItem(odd)).toThrow('format:rhyme');
  });

  it('is answered alike by each engine, in the chat template, and kept', async () => {
    const data = new URL('../', path).pathname;
    const answersOf = async (engine: string) => {
      const out = join(folder, `${engine}.jsonl`);
      const plugin = engine === 'xla' && cpuPlugin ? { plugin: cpuPlugin.path } : {};
      const options = { tasks: ['ifeval'], texts: [], data, maxTokens: 20, out };
      const found = await evaluate(folder, { ...options, engine: { name: engine, threads: 1, ...plugin } });
      expect(found.parts['ifeval']?.items).toBe(3);
      const again = await evaluate(folder, { ...options, engine: { name: engine, ...plugin }, resume: true });
      expect(again.parts['ifeval']).toMatchObject({ answeredNow: 0, metrics: found.parts['ifeval']?.metrics });
      return (await readFile(out, 'utf8')).trim().split('\n').slice(1);
    };
    const ours = await answersOf('onnx');
    expect(ours).toHaveLength(3);
    if (cpuPlugin) expect(await answersOf('xla')).toEqual(ours);
    await expect(evaluate(folder, { tasks: ['ifeval'], texts: [], data })).rejects.toMatchObject({
      code: 'context-full',
      message: expect.stringContaining('--max-tokens'),
    });
  }, 60_000);
});
