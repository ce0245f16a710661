// Options that several commands share, and how they are read from the command line.
import type { Command } from 'commander';
import { InvalidArgumentError, Option } from 'commander';
import type { EngineChoice } from '#engine';
import { engineNames } from '#engine';
import type { LoadOptions } from '../generate/load.ts';
import type { TextOptions } from '../generate/model.ts';
import type { Numerics } from '../generate/weights.ts';
import { numericsNames } from '../generate/weights.ts';

/** The shipped model that stands where a command names none. */
export const DEFAULT_MODEL = 'brook-7m';

export interface EngineFlags {
  readonly engine?: string;
  readonly threads?: number;
  readonly plugin?: string;
  readonly mesh?: Readonly<Record<string, number>>;
}

export interface LoadFlags extends EngineFlags {
  readonly numerics?: Numerics;
}

export interface TextFlags extends LoadFlags {
  readonly maxTokens: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly typicalP?: number;
  readonly repetitionPenalty?: number;
  readonly presencePenalty?: number;
  readonly frequencyPenalty?: number;
  readonly promptLookup?: number;
  readonly seed?: number;
  readonly adapter?: string;
  readonly json?: boolean;
}

function number(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value)) return value;
  throw new InvalidArgumentError('Expected a number.');
}

export function positive(text: string): number {
  const value = number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new InvalidArgumentError('Expected a whole number from 1.');
}

/** Ranges of the sampling options are the sampler's to check. */
export function addTextOptions(command: Command): Command {
  return addLoadOptions(command)
    .option('--max-tokens <n>', 'most tokens to generate', positive, 256)
    .option(
      '--temperature <t>',
      "how freely tokens are chosen; 0: always the likeliest (default: the model's own)",
      number,
    )
    .option('--top-k <k>', 'choose among the k likeliest tokens', number)
    .option('--top-p <p>', 'choose among the likeliest tokens that reach this probability', number)
    .option('--min-p <p>', "choose among tokens with this share of the likeliest one's probability", number)
    .option('--typical-p <p>', 'choose among tokens about as surprising as expected, up to this probability', number)
    .option('--repetition-penalty <r>', 'above 1: tokens already in the text become less likely', number)
    .option('--presence-penalty <p>', 'taken off the scores of tokens that were generated', number)
    .option('--frequency-penalty <p>', 'the same, for each time', number)
    .option('--prompt-lookup <n>', 'guess n tokens at once from the text itself: the same text, sooner', positive)
    .option('--adapter <folder>', 'a LoRA adapter of the model, as peft saves it')
    .option('--seed <n>', 'the same seed gives the same text', number);
}

/** From `data=2,fsdp=4`, for commands that train. */
export function meshOf(text: string): Record<string, number> {
  const axes = text.split(',').map((part) => /^([a-z]+)=([1-9]\d{0,3})$/.exec(part)?.slice(1) ?? []);
  const mesh = Object.fromEntries(axes.map(([axis = '', size]) => [axis, Number(size)]));
  if (axes.every(([axis]) => axis !== undefined) && Object.keys(mesh).length === axes.length) return mesh;
  throw new InvalidArgumentError('Expected axes and sizes, each axis once, as data=2,fsdp=4.');
}

export function addEngineOptions(command: Command): Command {
  return command
    .addOption(new Option('--engine <name>', 'what to compute with (default: the best present)').choices(engineNames))
    .option('--threads <n>', 'threads of the engine onnx', positive)
    .option('--plugin <path>', "the engine xla's plug-in: a name or the path of its library")
    .option('--json', 'print JSON');
}

/** An engine's, and how weights that are stored packed are computed. */
export function addLoadOptions(command: Command): Command {
  const help = 'packed weights: dequantised, in float32 products (default), or in int8 products';
  return addEngineOptions(command).addOption(new Option('--numerics <mode>', help).choices(numericsNames));
}

export function engineChoice({ engine: name, threads, plugin, mesh }: EngineFlags): EngineChoice {
  return {
    ...(name !== undefined && { name }),
    ...(threads !== undefined && { threads }),
    ...(plugin !== undefined && { plugin }),
    ...(mesh && { mesh }),
  };
}

/** What the one adapter that a command may load is called. */
const ADAPTER = 'adapter';

/** The adapter to load with the model. */
export function adapterOptions({ adapter }: TextFlags): Pick<LoadOptions, 'adapters'> {
  return adapter === undefined ? {} : { adapters: { [ADAPTER]: adapter } };
}

export function textOptions(flags: TextFlags, signal: AbortSignal): TextOptions {
  const { maxTokens, temperature, topK, topP, minP, typicalP, seed, promptLookup } = flags;
  const { repetitionPenalty, presencePenalty, frequencyPenalty } = flags;
  const adapter = flags.adapter === undefined ? undefined : ADAPTER;
  const penalties = { repetitionPenalty, presencePenalty, frequencyPenalty };
  return { maxTokens, temperature, topK, topP, minP, typicalP, ...penalties, seed, promptLookup, adapter, signal };
}
