// lfm data: conversations and texts to train on, written by a model.
import type { Command } from 'commander';
import { InvalidArgumentError, Option } from 'commander';
import type { ConversationReport } from '../train/conversations/write.node.ts';
import { conversationDefaults, writeConversations } from '../train/conversations/write.node.ts';
import { formatTable } from './format.node.ts';
import type { Io } from './io.node.ts';
import { interruptible } from './io.node.ts';
import type { EngineFlags } from './options.node.ts';
import { addEngineOptions, engineChoice, positive } from './options.node.ts';
import { Progress } from './progress.node.ts';

interface Flags extends EngineFlags {
  readonly out: string;
  readonly conversations: number;
  readonly texts?: number;
  readonly batch: number;
  readonly maxTokens: number;
  readonly capacity: number;
  readonly temperature: number;
  readonly minP: number;
  readonly turns: number;
  readonly verified: number;
  readonly invented: number;
  readonly unprompted: number;
  readonly seed: number;
  readonly dtype: 'float32' | 'bfloat16';
  readonly passages: readonly string[];
  readonly benchmarks: readonly string[];
  readonly json?: boolean;
}

const helpText = `
Questions are drawn from topics, tasks and styles; some conversations have further turns, and some are written by code that
knows the answers (sums, extraction, copying, recall, facts hidden in long passages); with --invented the model asks itself, as people
asked it in its training, and --verified 1 is code's alone. With --texts the model goes on from openings instead: of stories, of
instructions, of questions with answers, or the first words of a passage; with --unprompted of nothing. Left out are answers that did not end, say nothing, go round in circles
or were nearly given before, and whatever shares 8 words in a row with a file of --benchmarks. The folder holds part-NNNNN.jsonl
and report.json; the same command goes on where it was stopped.

Examples:
  lfm data SmolLM2-135M-Instruct.Q4_1.gguf --out chats --conversations 200
  lfm data ./teacher --out chats --conversations 50000 --engine xla --dtype bfloat16 --batch 256 \\
    --benchmarks hellaswag.jsonl.br piqa.jsonl.br --passages stories.txt
  lfm data ./teacher --out texts --texts 50000 --temperature 1 --min-p 0.05 --max-tokens 384 --capacity 448`;

function share(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && value >= 0 && value <= 1) return value;
  throw new InvalidArgumentError('Expected a number from 0 to 1.');
}

function amount(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && value >= 0 && Number.isFinite(value)) return value;
  throw new InvalidArgumentError('Expected a number from 0.');
}

export function registerData(program: Command, io: Io): void {
  const defaults = conversationDefaults;
  addEngineOptions(program.command('data'))
    .description('have a model write conversations or texts to train on')
    .argument('<model>', 'who writes: a shipped name, a folder or a GGUF file')
    .requiredOption('--out <dir>', 'the folder to write, or to go on with')
    .option('--conversations <n>', 'conversations of the model to keep', positive, 1000)
    .addOption(
      new Option('--texts <n>', 'texts to keep, instead of conversations')
        .argParser(positive)
        .conflicts(['conversations', 'turns', 'verified', 'invented']),
    )
    .option('--turns <n>', 'most questions of a conversation', positive, defaults.turns)
    .option('--verified <share>', 'share of conversations with known answers', share, defaults.verified)
    .option('--invented <share>', 'share of conversations whose questions it writes too', share, defaults.invented)
    .addOption(
      new Option('--unprompted <share>', 'share of texts that begin with nothing')
        .argParser(share)
        .default(defaults.unprompted)
        .conflicts('conversations'),
    )
    .option('--passages <files...>', 'texts whose paragraphs are asked about', [])
    .option('--benchmarks <files...>', 'texts that must not occur', [])
    .option('--max-tokens <n>', 'most tokens of an answer', positive, defaults.maxTokens)
    .option('--capacity <n>', 'most tokens of a conversation', positive, defaults.capacity)
    .option('--temperature <t>', 'how freely tokens are chosen', amount, defaults.temperature)
    .option(
      '--min-p <p>',
      "choose among tokens with this share of the likeliest one's probability",
      share,
      defaults.minP,
    )
    .option('--batch <n>', 'conversations at once', positive, defaults.batch)
    .addOption(new Option('--dtype <type>', 'what to compute in').choices(['float32', 'bfloat16']).default('float32'))
    .option('--seed <n>', 'the same seed draws the same questions', amount, defaults.seed)
    .addHelpText('after', helpText)
    .action(async (model: string, flags: Flags) => {
      const { out, conversations, dtype, batch, maxTokens, capacity, temperature, minP, turns, verified, seed } = flags;
      const { invented, unprompted, passages, benchmarks } = flags;
      const settings = {
        model,
        kind: flags.texts === undefined ? ('conversations' as const) : ('texts' as const),
        seed,
        batch,
        maxTokens,
        capacity,
        temperature,
        minP,
        turns,
        verified,
        invented,
        unprompted,
        passages,
        benchmarks,
      };
      const report = await interruptible(io, async (signal) => {
        const progress = new Progress(io.stderr, 'Writing');
        const options = { count: flags.texts ?? conversations, engine: engineChoice(flags), dtype, signal };
        return writeConversations(out, settings, { ...options, onProgress: (done) => progress.update(done) }).finally(
          () => progress.end(),
        );
      });
      io.stdout.write(flags.json ? `${JSON.stringify(report, undefined, 2)}\n` : describe(out, report));
    });
}

function describe(
  out: string,
  { settings, kept, tokens, refused, contamination, benchmarkRuns, seconds }: ConversationReport,
): string {
  const rows = [
    ...Object.entries(kept).map(([who, number]) => [
      `kept, by ${who}`,
      `${number} ${settings.kind}, ${tokens[who] ?? 0} tokens written`,
    ]),
    ...Object.entries(refused).map(([why, number]) => [`left out: ${why}`, String(number)]),
    ...Object.entries(contamination).map(([name, { count, examples }]) => [
      `as in ${name}`,
      `${count}: "${examples[0] ?? ''}"`,
    ]),
    ['runs of 8 words looked for', String(benchmarkRuns)],
    ['time', `${seconds.toFixed(1)} s`],
  ];
  return `${out}${formatTable(['', ''], rows)}\n`;
}
