// lfm quantize: a model's folder with its matrices in 4 or 8 bits, and what that did to it.
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { Option } from 'commander';
import { openEngine } from '#engine';
import type { Engine } from '../engines/engine.ts';
import type { Comparison, Weighted } from '../generate/calibrate.ts';
import { compareModels } from '../generate/calibrate.ts';
import type { Quantized } from '../generate/quantize.node.ts';
import { quantizeModel } from '../generate/quantize.node.ts';
import { openSource } from '../generate/source.node.ts';
import { requireTokenizer } from '../generate/source.ts';
import type { Numerics } from '../generate/weights.ts';
import { heldModel, uploadWeights } from '../generate/weights.ts';
import { LfmError } from '../tensor/error.ts';
import { readTokenizerJson } from '../text/tokenizer-json.ts';
import { formatBytes, formatTable } from './format.node.ts';
import type { Io } from './io.node.ts';
import { interruptible } from './io.node.ts';
import type { LoadFlags } from './options.node.ts';
import { addLoadOptions, engineChoice, positive } from './options.node.ts';
import { Progress } from './progress.node.ts';

interface Flags extends LoadFlags {
  readonly to: 'int4' | 'int8';
  readonly block: '32' | '64' | '128';
  readonly out: string;
  readonly text?: string;
  readonly tokens: number;
  readonly json?: boolean;
}

const helpText = `
Matrices are rounded to the nearest level, embedding and head included; norms, convolutions, biases and routers stay floats.
With --text both models read the file, and the report tells what the rounding did to their next tokens.

Examples:
  lfm quantize ./mine --to int4 --out mine-int4 --text held-out.txt
  lfm quantize model.F16.gguf --to int8 --out model-int8 --json`;

/** Adds `lfm quantize`. */
export function registerQuantize(program: Command, io: Io): void {
  addLoadOptions(program.command('quantize'))
    .description('write a model’s folder with its matrices in 4 or 8 bits')
    .argument('<model>', 'a shipped name, a folder or a GGUF file')
    .addOption(new Option('--to <type>', 'bits of a weight').choices(['int4', 'int8']).makeOptionMandatory())
    .addOption(new Option('--block <n>', 'weights that share a scale').choices(['32', '64', '128']).default('32'))
    .requiredOption('--out <dir>', 'the folder to write')
    .option('--text <file>', 'compare both models on this text')
    .option('--tokens <n>', 'most tokens of the text to read', positive, 2048)
    .addHelpText('after', helpText)
    .action(async (name: string, flags: Flags) => {
      const found = await interruptible(io, (signal) => quantize(io, name, flags, signal));
      io.stdout.write(flags.json ? `${JSON.stringify(found, undefined, 2)}\n` : describe(found, flags));
    });
}

interface Report extends Omit<Quantized, 'packed' | 'kept' | 'floats'> {
  readonly out: string;
  readonly packed: number;
  readonly kept: number;
  readonly floats: number;
  readonly calibration?: Comparison & { readonly numerics: Numerics };
}

async function quantize(io: Io, name: string, flags: Flags, signal: AbortSignal): Promise<Report> {
  const { out, to, block, text } = flags;
  // Read before anything is written: a mistyped name should cost nothing.
  const words = text === undefined ? undefined : await readText(text);
  const source = await openSource(name);
  try {
    const progress = new Progress(io.stderr, `Packing ${name}`);
    const written = await quantizeModel(source, out, {
      bits: to === 'int4' ? 4 : 8,
      block: Number(block),
      onProgress: ({ done, total }) => progress.update(done / total),
    }).finally(() => progress.end());
    const { packed, kept, floats, ...sizes } = written;
    const report = { out, ...sizes, packed: packed.length, kept: kept.length, floats: floats.length };
    return words === undefined ? report : { ...report, calibration: await calibrate(io, name, words, flags, signal) };
  } finally {
    await source.weights.close();
  }
}

async function readText(path: string): Promise<string> {
  const bytes = await readFile(path).catch((cause: NodeJS.ErrnoException) => {
    throw new LfmError('file-unreadable', `The text ${path} cannot be read: ${cause.message}`, { cause });
  });
  return new TextDecoder().decode(bytes);
}

async function calibrate(
  io: Io,
  name: string,
  text: string,
  flags: Flags,
  signal: AbortSignal,
): Promise<Comparison & { numerics: Numerics }> {
  const { numerics = 'stable' } = flags;
  const engine = await openEngine(engineChoice(flags));
  const opened: (Weighted & { readonly close: () => Promise<void> })[] = [];
  try {
    const before = await openWeights(engine, name, 'exact');
    opened.push(before);
    const after = await openWeights(engine, flags.out, numerics);
    opened.push(after);
    const progress = new Progress(io.stderr, 'Comparing');
    const ids = [...before.tokenizer.encode(text)].slice(0, flags.tokens + 1);
    const comparison = await compareModels(before, after, ids, {
      signal,
      onProgress: ({ done, total }) => progress.update(done / total),
    }).finally(() => progress.end());
    return { numerics, ...comparison };
  } finally {
    for (const { weights, close } of opened) {
      for (const buffer of Object.values(weights)) buffer.dispose();
      await close();
    }
    await engine.close();
  }
}

async function openWeights(engine: Engine, name: string, numerics: Numerics) {
  const source = await openSource(name);
  try {
    const tokenizer = readTokenizerJson(requireTokenizer(source));
    const held = heldModel(source, numerics);
    const weights = await uploadWeights(engine, held, source.weights);
    return { engine, model: held.model, weights, tokenizer, close: () => source.weights.close() };
  } catch (error) {
    await source.weights.close();
    throw error;
  }
}

function describe(
  { out, bytesBefore, bytesAfter, packed, kept, floats, calibration }: Report,
  { to, block }: Flags,
): string {
  const rows = [
    ['weights before', formatBytes(bytesBefore)],
    ['weights after', `${formatBytes(bytesAfter)} (${((100 * bytesAfter) / bytesBefore).toFixed(1)}%)`],
    [`matrices in ${to}`, `${packed}, in blocks of ${block}${kept > 0 ? `; ${kept} were so and are kept` : ''}`],
    ['tensors of floats', String(floats)],
  ];
  if (calibration) {
    const { before, after } = calibration.perplexity;
    rows.push(
      ['tokens compared', String(calibration.tokens)],
      ['perplexity', `${before.toFixed(3)} before, ${after.toFixed(3)} after (${calibration.numerics})`],
      ['mean KL', `${calibration.meanKl.toFixed(5)} nats a token`],
      ['same likeliest token', `${(100 * calibration.sameTop).toFixed(1)}%`],
    );
  }
  return `${out}${formatTable(['', ''], rows)}\nlfm generate ${out} "Once upon a time"\n`;
}
