// Options that several commands share, and how they are read from the command line.
import type { Command } from 'commander';
import { InvalidArgumentError, Option } from 'commander';
import type { EngineChoice } from '#engine';
import { engineNames } from '#engine';
import { host } from '#host';
import { isJsonObject, type JsonObject } from '../files/json.ts';
import type { LoadOptions } from '../generate/load.ts';
import type { TextOptions } from '../generate/model.ts';
import type { Numerics } from '../generate/weights.ts';
import { numericsNames } from '../generate/weights.ts';
import { LfmError } from '../tensor/error.ts';

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
  readonly draft?: string;
  readonly draftTokens?: number;
  readonly schema?: string;
  readonly regex?: string;
  readonly grammar?: string;
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
    .option('--draft <model>', 'a smaller model with the same tokenizer that guesses ahead: the same text, sooner')
    .option('--draft-tokens <n>', 'tokens that it guesses at once (default: 4)', positive)
    .option('--adapter <folder>', 'a LoRA adapter of the model, as peft saves it')
    .option('--schema <file>', 'answer with JSON of the JSON Schema in this file')
    .option('--regex <pattern>', 'answer with a text that matches the whole pattern')
    .option('--grammar <file>', 'answer with the rule root of the grammar in this file: root ::= "yes" | "no"')
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

/** What is loaded with the model. */
export function companions({ adapter, draft, draftTokens }: TextFlags): LoadOptions {
  return { draft, draftTokens, ...(adapter !== undefined && { adapters: { [adapter]: adapter } }) };
}

/** Errors: those of reading the files that the flags name. */
export async function textOptions(flags: TextFlags, signal: AbortSignal): Promise<TextOptions> {
  const { maxTokens, temperature, topK, topP, minP, typicalP, seed, promptLookup, adapter } = flags;
  const { repetitionPenalty, presencePenalty, frequencyPenalty } = flags;
  const penalties = { repetitionPenalty, presencePenalty, frequencyPenalty };
  const schema = flags.schema === undefined ? undefined : readSchema(await readText(flags.schema), flags.schema);
  const grammar = flags.grammar === undefined ? undefined : await readText(flags.grammar);
  const more = { schema, regex: flags.regex, grammar, adapter };
  return { maxTokens, temperature, topK, topP, minP, typicalP, ...penalties, seed, promptLookup, ...more, signal };
}

const readText = async (path: string) => new TextDecoder().decode(await host.readBytes(path));

function readSchema(text: string, path: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new LfmError('bad-schema', `${path}: expected a JSON Schema; it is not JSON.`, { cause });
  }
  if (isJsonObject(value)) return value;
  throw new LfmError('bad-schema', `${path}: expected a JSON Schema, which is an object.`);
}
