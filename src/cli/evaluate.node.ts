// lfm evaluate: what a model knows and how well it predicts text, as numbers with intervals.
import type { Command } from 'commander';
import { Option } from 'commander';
import type { Evaluation } from '../evaluate/evaluate.node.ts';
import { evaluate, taskNames } from '../evaluate/evaluate.node.ts';
import type { Estimate } from '../evaluate/part.ts';
import { missingFromHub } from '../generate/source.node.ts';
import { formatTable } from './format.node.ts';
import type { Io } from './io.node.ts';
import { interruptible } from './io.node.ts';
import type { LoadFlags } from './options.node.ts';
import { addLoadOptions, engineChoice, positive } from './options.node.ts';
import { Progress } from './progress.node.ts';
import { pullShown } from './pull.node.ts';

interface Flags extends LoadFlags {
  readonly tasks?: string;
  readonly text: readonly string[];
  readonly data?: string;
  readonly limit?: number;
  readonly window?: number;
  readonly maxTokens?: number;
  readonly dtype: 'float32' | 'bfloat16';
  readonly out?: string;
  readonly resume?: boolean;
  readonly json?: boolean;
}

const helpText = `
Tasks are defined as in lm-evaluation-harness 0.4, without examples before the question; their files are read from --data, in the
fields of the Hugging Face data sets: hellaswag/validation.jsonl, ai2_arc/ARC-Easy/test.jsonl and so on, plain, .br or .gz. Of a text
every token is predicted once, in windows; of chats ("messages") what the assistant says. Packed weights are dequantised unless
--numerics says otherwise.

Examples:
  lfm evaluate ./mine --tasks hellaswag,arc_easy,piqa,lambada_openai --data data --limit 1000
  lfm evaluate brook-7m --text books.txt --text chats.jsonl --limit 50
  lfm evaluate ./mine --tasks piqa --data data --engine xla --dtype bfloat16 --out mine.answers.jsonl --resume --json`;

export function registerEvaluate(program: Command, io: Io): void {
  addLoadOptions(program.command('evaluate'))
    .description('measure a model on benchmarks and texts')
    .argument('<model>', 'a shipped name, a folder, a GGUF file, or OWNER/NAME on the hub')
    .option('--tasks <names>', `of ${taskNames.join(', ')}`)
    .option(
      '--text <file>',
      'a text or chats to predict; may be repeated',
      (file: string, all: string[]) => [...all, file],
      [],
    )
    .option('--data <folder>', "the folder of the benchmarks' files")
    .option('--limit <n>', 'the first n items of a task, windows of a text, chats', positive)
    .option('--window <n>', 'tokens of a window of text (default: 2048, or the context where that is less)', positive)
    .option('--max-tokens <n>', 'most tokens of an answer of ifeval (default: 1280)', positive)
    .addOption(new Option('--dtype <type>', 'what to compute in').choices(['float32', 'bfloat16']).default('float32'))
    .option('--out <file>', 'keep every answer in this file')
    .option('--resume', 'go on with the answers in --out')
    .addHelpText('after', helpText)
    .action(async (model: string, flags: Flags) => {
      const { tasks = '', text: texts, data, limit, window, maxTokens, dtype, numerics, out, resume, json } = flags;
      const names = [...new Set(tasks.split(',').filter((name) => name !== ''))];
      const missing = await missingFromHub(model);
      if (missing) await pullShown(io, missing, false);
      const found = await interruptible(io, async (signal) => {
        const lines = new Map<string, Progress>();
        const show = (what: string, share: number) => {
          const line = lines.get(what) ?? new Progress(io.stderr, what);
          lines.set(what, line);
          if (share < 1) line.update(share);
          else line.end();
        };
        try {
          return await evaluate(model, {
            tasks: names,
            texts,
            data,
            limit,
            window,
            maxTokens,
            dtype,
            numerics,
            out,
            resume,
            engine: engineChoice(flags),
            signal,
            onProgress: ({ loadedBytes, totalBytes }) => show(`Loading ${model}`, loadedBytes / totalBytes),
            onPart: show,
          });
        } finally {
          for (const line of lines.values()) line.end();
        }
      });
      io.stdout.write(json ? `${JSON.stringify(found, undefined, 2)}\n` : textOf(found));
    });
}

function textOf({ model, engine, dtype, numerics, parts }: Evaluation): string {
  const rows = Object.entries(parts).flatMap(([part, { items, metrics, main, seconds, answeredNow }]) =>
    Object.entries(metrics).map(([name, estimate], i) => [
      i === 0 ? part : '',
      i === 0 ? String(items) : '',
      `${name}${name === main ? ' *' : ''}`,
      ...numbersOf(name, estimate),
      i === 0 && answeredNow > 0 ? `${seconds.toFixed(1)} s` : '',
    ]),
  );
  return `${model} on ${engine}, ${dtype}, ${numerics}\n${formatTable(['', 'items', 'metric', 'value', 'error', '95%', 'time'], rows)}`;
}

/** Shares as percentages. */
function numbersOf(name: string, { value, standardError, low, high }: Estimate): string[] {
  const isShare = !/^(perplexity|bits_per_byte)$/.test(name);
  const digits = isShare ? 1 : 4;
  const show = (x: number) => (Number.isFinite(x) ? (isShare ? 100 * x : x).toFixed(digits) : '-');
  return [show(value), show(standardError), `${show(low)} to ${show(high)}`];
}
