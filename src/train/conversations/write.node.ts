// lfm data: conversations and texts that a model writes, in parts that a stopped run goes on from. Parts are files part-NNNNN.jsonl, each
// from one batch; report.json says what was asked for, what was kept and why the rest was not.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { openEngine } from '#engine';
import type { EngineChoice } from '#engine';
import { openSource } from '#source';
import { ContaminationIndex } from '../../data/contamination.ts';
import { readBeginning, readLines } from '../../data/text-files.node.ts';
import { writeFileAtomic } from '../../files/atomic.node.ts';
import { parseJsonObject } from '../../files/json.ts';
import { readTextIfPresent } from '../../files/json.node.ts';
import { BatchGenerator } from '../../generate/batch.ts';
import { readChatTemplate } from '../../generate/chat.ts';
import type { ChatTemplate } from '../../generate/chat.ts';
import { readGenerationSettings } from '../../generate/settings.ts';
import { requireTokenizer } from '../../generate/source.ts';
import { definedModel, uploadWeights } from '../../generate/weights.ts';
import { LfmError, Random } from '../../tensor/index.ts';
import { readTokenizerJson } from '../../text/tokenizer-json.ts';
import type { Tokenizer } from '../../text/tokenizer.ts';
import type { Conversation, Piece, WrittenText } from './conversation.ts';
import { writtenIn } from './conversation.ts';
import type { Refusal } from './filter.ts';
import { ConversationFilter } from './filter.ts';
import { drawOpening } from './openings.ts';
import { drawPrompt, drawSystem } from './prompts.ts';
import { drawVerified } from './verified.ts';

const settingsSchema = z.strictObject({
  model: z.string(),
  kind: z.enum(['conversations', 'texts']).default('conversations'),
  seed: z.int().min(0),
  /** Conversations or texts at once. */
  batch: z.int().min(1),
  /** Most tokens of an answer or text, and of a conversation. */
  maxTokens: z.int().min(1),
  capacity: z.int().min(1),
  temperature: z.number().min(0),
  minP: z.number().min(0).max(1),
  /** Most questions of a conversation. */
  turns: z.int().min(1),
  /** Share of conversations that code writes, whose answers are known to be right; 1 for these alone. */
  verified: z.union([z.number().min(0).max(0.9), z.literal(1)]),
  /** Share of conversations whose questions the model writes too (Magpie, arXiv 2406.08464). */
  invented: z.number().min(0).max(1).default(0),
  /** Share of texts that begin with nothing but the token between documents. */
  unprompted: z.number().min(0).max(1).default(0),
  /** Files that passages to ask about come from, and files whose words must not occur. */
  passages: z.array(z.string()).readonly(),
  benchmarks: z.array(z.string()).readonly(),
});
export type ConversationSettings = z.infer<typeof settingsSchema>;

export const conversationDefaults = {
  kind: 'conversations',
  seed: 0,
  batch: 32,
  maxTokens: 256,
  capacity: 1024,
  temperature: 0.8,
  minP: 0.1,
  turns: 3,
  verified: 0.15,
  invented: 0,
  unprompted: 0,
  passages: [],
  benchmarks: [],
} as const;

const counts = z.record(z.string(), z.int());
const reportSchema = z.strictObject({
  version: z.literal(1),
  settings: settingsSchema,
  parts: z.int(),
  /** Conversations, and tokens of their answers, by who wrote them. */
  kept: counts,
  tokens: counts,
  /** Conversations of the model by why they were left out. */
  refused: counts,
  /** By benchmark: how many shared 8 words in a row with it, and some of those words. */
  contamination: z.record(z.string(), z.strictObject({ count: z.int(), examples: z.array(z.string()) })),
  benchmarkRuns: z.int(),
  seconds: z.number(),
});
export type ConversationReport = z.infer<typeof reportSchema>;

export interface WriteOptions {
  /** Pieces of the model to keep, in all; of code where it writes alone. */
  readonly count: number;
  readonly engine: EngineChoice;
  readonly dtype: 'float32' | 'bfloat16';
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((share: number) => void) | undefined;
}

/**
 * Writes into the folder `out` until it holds as many pieces as wanted, or goes on there. Errors: `bad-settings`,
 * `no-chat-template`, `other-settings` for a folder begun otherwise, `few-conversations` where nearly all are refused, `bad-report…`, the files' own.
 */
export async function writeConversations(
  out: string,
  settings: ConversationSettings,
  options: WriteOptions,
): Promise<ConversationReport> {
  const checked = settingsSchema.safeParse(settings);
  if (!checked.success) throw new LfmError('bad-settings', `lfm data: ${z.prettifyError(checked.error)}`);
  await mkdir(out, { recursive: true });
  const report = await readReport(out, settings);
  const benchmarks = new ContaminationIndex();
  for (const path of settings.benchmarks) for (const text of await textsOf(path)) benchmarks.add(path, text);
  report.benchmarkRuns = benchmarks.size;
  const filter = new ConversationFilter(benchmarks);
  for (let part = 0; part < report.parts; part++)
    for await (const one of readLines(partPath(out, part), (line) => pieceSchema.parse(line))) filter.refuses(one);
  filter.found.clear();
  for (const [name, found] of Object.entries(report.contamination)) filter.found.set(name, found);
  const passages: string[] = [];
  for (const path of settings.passages)
    for (const text of await textsOf(path)) if (text.length > 200 && text.length < 1200) passages.push(text);
  const teacher = await openTeacher(settings, options);
  const writer = settings.verified === 1 ? 'verified' : 'teacher';
  try {
    while ((report.kept[writer] ?? 0) < options.count) {
      options.signal?.throwIfAborted();
      const from = performance.now();
      const random = new Random(settings.seed * 1_000_003 + report.parts);
      const asked = writer === 'verified' ? [] : await teacher.write(random, passages);
      const verified = settings.kind === 'texts' ? 0 : settings.verified;
      const wanted = verified === 1 ? settings.batch : Math.round((asked.length * verified) / (1 - verified));
      const known = Array.from({ length: wanted }, () => drawVerified(random, passages, settings.capacity));
      const kept: Piece[] = [];
      for (const one of [...asked, ...known]) {
        const refusal = one === 'cut' ? one : filter.refuses(one);
        if (refusal) count(report.refused, refusal);
        if (refusal || one === 'cut') continue;
        kept.push(one);
        count(report.kept, one.source);
        count(report.tokens, one.source, teacher.tokensOf(one));
      }
      await writeFileAtomic(partPath(out, report.parts), kept.map((one) => `${JSON.stringify(one)}\n`).join(''));
      report.parts++;
      report.contamination = Object.fromEntries(filter.found);
      report.seconds += (performance.now() - from) / 1000;
      await writeFileAtomic(join(out, 'report.json'), `${JSON.stringify(report, undefined, 2)}\n`);
      const found = report.kept[writer] ?? 0;
      options.onProgress?.(Math.min(1, found / options.count));
      if (report.parts >= 4 && found * 50 < report.parts * settings.batch)
        throw new LfmError(
          'few-conversations',
          `${settings.model}: of ${report.parts * settings.batch} ${settings.kind} ${found} were kept. Left out: ${JSON.stringify(report.refused)}.`,
        );
    }
    return report;
  } finally {
    await teacher.close();
  }
}

interface Teacher {
  write(random: Random, passages: readonly string[]): Promise<(Piece | 'cut')[]>;
  tokensOf(piece: Piece): number;
  close(): Promise<void>;
}

async function openTeacher(
  settings: ConversationSettings,
  { engine: choice, dtype, signal }: WriteOptions,
): Promise<Teacher> {
  const { batch, capacity, temperature, minP } = settings;
  const source = await openSource(settings.model);
  try {
    const held = definedModel(source);
    const tokenizer = readTokenizerJson(requireTokenizer(source));
    const template = readChatTemplate(tokenizer, source.tokenizerConfig ?? {}, source.chatTemplate);
    if (!template && settings.kind === 'conversations')
      throw new LfmError(
        'no-chat-template',
        `${settings.model} is a base model: it has no chat template, and does not converse.`,
      );
    const { stopIds } = readGenerationSettings(source.generationConfig, source.config);
    const engine = await openEngine(choice);
    try {
      // Only when it is to write: code that writes alone needs its tokenizer.
      let generator: BatchGenerator | undefined;
      const open = async (): Promise<BatchGenerator> => {
        const weights = await uploadWeights(engine, held, source.weights, undefined, signal);
        return BatchGenerator.open(engine, held.model, weights, { batch, capacity, dtype, temperature, minP });
      };
      return {
        async write(random, passages) {
          generator ??= await open();
          const speaker = { generator, tokenizer, endTokens: stopIds, settings };
          return template && settings.kind === 'conversations'
            ? converse({ ...speaker, template }, random, passages)
            : writeTexts(speaker, random, passages);
        },
        tokensOf: (piece) => writtenIn(piece).reduce((sum, written) => sum + tokenizer.encode(written).length, 0),
        async close() {
          generator?.dispose();
          await engine.close();
          await source.weights.close();
        },
      };
    } catch (error) {
      await engine.close();
      throw error;
    }
  } catch (error) {
    await source.weights.close();
    throw error;
  }
}

/** Closes every document of a corpus. */
const END_OF_TEXT = '<|endoftext|>';
/** Most tokens of a question that the model writes. */
const QUESTION_TOKENS = 128;

interface Writer {
  readonly generator: BatchGenerator;
  readonly tokenizer: Tokenizer;
  readonly endTokens: readonly number[];
  readonly settings: ConversationSettings;
}

/** A batch of texts, each gone on with until it ends or has as many tokens as it may. */
async function writeTexts(
  { generator, tokenizer, endTokens, settings: { maxTokens, unprompted } }: Writer,
  random: Random,
  passages: readonly string[],
): Promise<WrittenText[]> {
  const between = tokenizer.idOf(END_OF_TEXT);
  if (unprompted > 0 && between === undefined)
    throw new LfmError('no-end-of-text', `The model has no token ${END_OF_TEXT}: write texts with unprompted 0.`);
  const openings = Array.from({ length: generator.batch }, () =>
    between !== undefined && random.uniform() < unprompted
      ? [between]
      : Array.from(tokenizer.encode(drawOpening(random, passages)).slice(0, generator.longestPrompt(maxTokens))),
  );
  const seed = Math.floor(random.uniform() * 2 ** 32);
  const written = await generator.answer(openings, { maxTokens, seed, endTokens });
  return openings.map((opening, i) => ({
    text: tokenizer.decode([...opening, ...(written[i]?.tokens ?? [])], { skipSpecialTokens: true }).trim(),
    source: 'teacher',
  }));
}

/** A batch of conversations: each question to all that are still going on, then the next. */
async function converse(
  { generator, tokenizer, template, endTokens, settings }: Writer & { readonly template: ChatTemplate },
  random: Random,
  passages: readonly string[],
): Promise<(Conversation | 'cut')[]> {
  const { maxTokens, turns, invented } = settings;
  const talks = Array.from({ length: generator.batch }, () => {
    const rounds = 1 + Math.min(turns - 1, Math.floor(random.uniform() * turns));
    const isInvented = random.uniform() < invented;
    const drawn = isInvented ? undefined : drawPrompt(random, rounds, passages);
    const content = drawn ? drawn.system : drawSystem(random);
    const system = content === undefined ? [] : [{ role: 'system' as const, content }];
    return {
      rounds: drawn ? 0 : rounds,
      questions: drawn ? [drawn.question, ...drawn.later] : [],
      messages: [...system] as Conversation['messages'][number][],
      isCut: false,
    };
  });
  for (let turn = 0; turn < turns; turn++) {
    const asking = talks.flatMap((talk) => {
      if (turn >= talk.rounds || talk.isCut || talk.questions.length < turn) return [];
      const begun = [...talk.messages, { role: 'user' as const, content: '' }];
      const prompt = template.encode(begun, { continueFinalMessage: true });
      return prompt.length > generator.longestPrompt(QUESTION_TOKENS + maxTokens) ? [] : [{ talk, prompt }];
    });
    if (asking.length > 0) {
      const seed = Math.floor(random.uniform() * 2 ** 32);
      const questions = await generator.answer(
        asking.map(({ prompt }) => prompt),
        { maxTokens: QUESTION_TOKENS, seed, endTokens },
      );
      asking.forEach(({ talk }, i) => {
        const { tokens = [], ended = false } = questions[i] ?? {};
        const question = tokenizer.decode(tokens, { skipSpecialTokens: true }).trim();
        if (ended && question !== '') talk.questions.push(question);
      });
    }
    const open = talks.flatMap((talk) => {
      const content = talk.questions[turn];
      if (content === undefined || talk.isCut) return [];
      const messages = [...talk.messages, { role: 'user' as const, content }];
      const prompt = template.encode(messages);
      // What has no room for another answer ends here, where it has one already.
      if (prompt.length > generator.longestPrompt(maxTokens)) return [];
      return [{ talk, messages, prompt }];
    });
    if (open.length === 0) break;
    const seed = Math.floor(random.uniform() * 2 ** 32);
    const answers = await generator.answer(
      open.map(({ prompt }) => prompt),
      { maxTokens, seed, endTokens },
    );
    open.forEach(({ talk, messages }, i) => {
      const { tokens = [], ended = false } = answers[i] ?? {};
      talk.isCut = !ended;
      if (ended)
        talk.messages = [
          ...messages,
          { role: 'assistant', content: tokenizer.decode(tokens, { skipSpecialTokens: true }).trim() },
        ];
    });
  }
  return talks.map(({ messages }) =>
    messages.some(({ role }) => role === 'assistant') ? { messages, source: 'teacher' } : 'cut',
  );
}

function count(into: Record<string, number>, key: Refusal | Conversation['source'], by = 1): void {
  into[key] = (into[key] ?? 0) + by;
}

const partPath = (out: string, part: number) => join(out, `part-${String(part).padStart(5, '0')}.jsonl`);

const pieceSchema = z.union([
  z.object({
    messages: z.array(z.object({ role: z.enum(['system', 'user', 'assistant']), content: z.string() })),
    source: z.enum(['teacher', 'verified']),
  }),
  z.object({ text: z.string(), source: z.literal('teacher') }),
]);

async function readReport(out: string, settings: ConversationSettings): Promise<ConversationReport> {
  const path = join(out, 'report.json');
  const text = await readTextIfPresent(path);
  if (text === undefined)
    return {
      version: 1,
      settings,
      parts: 0,
      kept: {},
      tokens: {},
      refused: {},
      contamination: {},
      benchmarkRuns: 0,
      seconds: 0,
    };
  const read = reportSchema.safeParse(parseJsonObject(text, path, 'bad-report'));
  if (!read.success)
    throw new LfmError('bad-report', `${path}: expected the report of lfm data; ${z.prettifyError(read.error)}`);
  const differs = Object.keys(settings).find(
    (key) => JSON.stringify(Reflect.get(read.data.settings, key)) !== JSON.stringify(Reflect.get(settings, key)),
  );
  if (differs !== undefined)
    throw new LfmError(
      'other-settings',
      `${out} was begun with ${differs} ${JSON.stringify(Reflect.get(read.data.settings, differs))}, not ${JSON.stringify(Reflect.get(settings, differs))}: use these, or another folder.`,
    );
  return read.data;
}

/** The texts of a .txt or .jsonl file, plain or compressed: paragraphs, or all strings of a line's record. */
async function textsOf(path: string): Promise<string[]> {
  const texts: string[] = [];
  if (/\.jsonl(?:\.br|\.gz)?$/.test(path)) {
    for await (const strings of readLines(path, stringsIn)) texts.push(strings.join('\n'));
    return texts;
  }
  return (await readBeginning(path)).split(/\n{2,}/);
}

function stringsIn(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(stringsIn) : [];
}
