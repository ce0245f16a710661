// lfm compare: what several models need at growing lengths, beside what the announcement published of them.
import type { Command } from 'commander';
import { writeFileAtomic } from '../files/atomic.node.ts';
import type { MemoryCurve, Model, RunType } from '../liquid/index.ts';
import { formatLength, memoryAt, memoryCurves, parameterCounts } from '../liquid/index.ts';
import type { PublishedScores } from '../models/announcement.ts';
import { publishedScores } from '../models/announcement.ts';
import { dtypeOption, parseLengths } from './costs.node.ts';
import { formatBytes, formatCount, formatTable } from './format.node.ts';
import { openDefinition } from './inspect.node.ts';
import type { Io } from './io.node.ts';

interface Flags {
  readonly length: readonly number[];
  readonly dtype: RunType;
  readonly published?: boolean;
  readonly svg?: string;
  readonly json?: boolean;
}

export interface Comparison {
  readonly name: string;
  readonly parameters: number;
  readonly activeParameters: number;
  readonly contextLength: number;
  /** Bytes for one sequence by its length. */
  readonly memory: readonly {
    readonly length: number;
    readonly weights: number;
    readonly state: number;
    readonly activations: number;
    readonly total: number;
  }[];
  readonly published?: readonly PublishedScores[];
}

export function registerCompare(program: Command, io: Io): void {
  program
    .command('compare')
    .description('set models side by side: sizes, and memory for one sequence at growing lengths')
    .argument('<models...>', 'names, as inspect takes them')
    .option('--length <lengths>', 'tokens: 1k..128k doubles, 4k,32k names them', parseLengths, parseLengths('1k..128k'))
    .addOption(dtypeOption())
    .option('--published', "add the announcement's own tables")
    .option('--svg <file>', 'draw the curves of memory into a file')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  lfm compare lfm2-2.6b llama-3.2-3b phi-3.5-mini\n  lfm compare lfm-3.1b gemma-2-2b --published --svg memory.svg',
    )
    .action(async (names: readonly string[], flags: Flags) => {
      const found: Comparison[] = [];
      for (const name of names) found.push(compared(await openDefinition(name), flags));
      if (flags.svg !== undefined) {
        const drawing = memoryCurves(found.map(curveOf));
        await writeFileAtomic(flags.svg, drawing);
        io.stderr.write(`${flags.svg} holds the curves.\n`);
      }
      io.stdout.write(flags.json ? `${JSON.stringify(found, undefined, 2)}\n` : describe(found, flags));
    });
}

function compared({ name, model }: { name: string; model: Model }, { length, dtype, published }: Flags): Comparison {
  const { total, active } = parameterCounts(model);
  return {
    name,
    parameters: total,
    activeParameters: active,
    contextLength: model.contextLength,
    memory: length.map((tokens) => ({ length: tokens, ...memoryAt(model, tokens, { dtype }) })),
    ...(published && { published: publishedScores(name) }),
  };
}

function curveOf({ name, memory, contextLength }: Comparison): MemoryCurve {
  return { name, contextLength, points: memory.map(({ length, total }) => ({ length, bytes: total })) };
}

function describe(found: readonly Comparison[], { length, dtype, published }: Flags): string {
  const sizes = found.map(({ name, parameters, activeParameters, contextLength, memory }) => [
    name,
    formatCount(parameters),
    formatCount(activeParameters),
    formatLength(contextLength),
    formatBytes(memory[0]?.weights ?? 0),
  ]);
  const rows = found.map(({ name, memory, contextLength }) => [
    name,
    ...memory.map(({ length: tokens, total }) => `${formatBytes(total)}${tokens > contextLength ? ' *' : '  '}`),
  ]);
  const beyond = found.some(({ contextLength }) => length.some((tokens) => tokens > contextLength));
  return [
    formatTable(['model', 'parameters', 'active', 'context', 'weights'], sizes),
    `\nMemory for one sequence (weights, state and activations, ${dtype}, a prefill in chunks of 512), by its length in tokens:\n\n`,
    formatTable(['model', ...length.map((tokens) => `${formatLength(tokens)}  `)], rows),
    beyond ? '\n* longer than the model was made for\n' : '',
    published ? describePublished(found) : '',
  ].join('');
}

function describePublished(found: readonly Comparison[]): string {
  const rows = found.flatMap(({ name, published = [] }) => published.map((row) => ({ name, ...row })));
  const tables = [...new Set(rows.map(({ table }) => table))];
  const left = found.filter(({ published = [] }) => published.length === 0).map(({ name }) => name);
  return [
    ...tables.map((table) => {
      const within = rows.filter((row) => row.table === table);
      const columns = [...new Set(within.flatMap(({ scores }) => Object.keys(scores)))];
      const cells = within.map(({ name, model, contextLength, scores }) => [
        name,
        model,
        contextLength ?? '-',
        ...columns.map((column) => scores[column]?.toFixed(2) ?? '-'),
      ]);
      const heading = `\nAs the announcement of 30 September 2024 published it, table ${table}, in percent:\n\n`;
      return heading + formatTable(['model', 'there', 'context', ...columns], cells);
    }),
    left.length > 0 ? `\nNot in the announcement's tables: ${left.join(', ')}\n` : '',
  ].join('');
}
