// What the AI SDK asks for in one call, in our words: messages, tools, options, and warnings of what is not to be had.
import type { LanguageModelV4CallOptions, LanguageModelV4FunctionTool, SharedV4Warning } from '@ai-sdk/provider';
import * as z from 'zod';
import { isJsonObject, type JsonObject } from '../files/json.ts';
import type { ChatMessage } from '../generate/chat.ts';
import type { SamplingOptions } from '../generate/sampler.ts';
import type { Tool } from '../generate/tool-calls.ts';
import { LfmError } from '../tensor/error.ts';
import { messagesOf } from './prompt.ts';

const own = z.object({
  /** Log-probabilities of the tokens in providerMetadata.lfm.logprobs, with so many of the likeliest others. */
  logprobs: z.union([z.boolean(), z.int().min(0).max(20)]).optional(),
  minP: z.number().optional(),
  typicalP: z.number().optional(),
  repetitionPenalty: z.number().optional(),
  /** By token id. */
  logitBias: z.record(z.string().regex(/^\d+$/), z.number()).optional(),
  /** The text matches it, or is its rule `root`. */
  regex: z.string().optional(),
  grammar: z.string().optional(),
  /** A loaded adapter, by its name. In this process only. */
  adapter: z.string().optional(),
  /** What else the model's chat template reads. */
  templateVariables: z.record(z.string(), z.json()).optional(),
});

/** `providerOptions: { lfm }` of a call. */
export type LfmCallOptions = z.input<typeof own>;

export interface Call {
  readonly messages: readonly ChatMessage[];
  /** Of OpenAI's shape. */
  readonly tools: readonly Tool[];
  readonly sampling: SamplingOptions;
  readonly maxTokens: number | undefined;
  readonly stop: readonly string[] | undefined;
  readonly schema: JsonObject | undefined;
  readonly regex: string | undefined;
  readonly grammar: string | undefined;
  readonly adapter: string | undefined;
  readonly variables: JsonObject;
  readonly wantsLogprobs: boolean;
  readonly signal: AbortSignal | undefined;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly warnings: readonly SharedV4Warning[];
}

/** Errors: `bad-provider-options`, `unsupported-content`, `bad-messages`. */
export function callOf(options: LanguageModelV4CallOptions): Call {
  const warnings: SharedV4Warning[] = [];
  const mine = ownOptions(options.providerOptions?.['lfm'] ?? {}, warnings);
  const tools = toolsOf(options, warnings);
  const { responseFormat: format } = options;
  if (format?.type === 'json' && tools.length > 0)
    warnings.push(unsupported('tools', 'the answer is kept to its schema, so the model cannot call a tool'));
  const { logprobs = false } = mine;
  return {
    messages: messagesOf(options.prompt),
    tools,
    sampling: {
      temperature: options.temperature,
      topP: options.topP,
      topK: options.topK,
      minP: mine.minP,
      typicalP: mine.typicalP,
      repetitionPenalty: mine.repetitionPenalty,
      presencePenalty: options.presencePenalty,
      frequencyPenalty: options.frequencyPenalty,
      logitBias: mine.logitBias,
      seed: options.seed,
      topLogprobs: typeof logprobs === 'number' ? logprobs : undefined,
    },
    maxTokens: options.maxOutputTokens,
    stop: options.stopSequences,
    schema: format?.type !== 'json' ? undefined : isJsonObject(format.schema) ? format.schema : { type: 'object' },
    regex: mine.regex,
    grammar: mine.grammar,
    adapter: mine.adapter,
    variables: { ...thinkingOf(options, warnings), ...mine.templateVariables },
    wantsLogprobs: logprobs !== false,
    signal: options.abortSignal,
    headers: options.headers ?? {},
    warnings,
  };
}

function ownOptions(given: JsonObject, warnings: SharedV4Warning[]): z.output<typeof own> {
  for (const key of Object.keys(given))
    if (!Object.hasOwn(own.shape, key))
      warnings.push(unsupported(`providerOptions.lfm.${key}`, `lfm knows ${Object.keys(own.shape).join(', ')}`));
  const checked = own.safeParse(given);
  if (checked.success) return checked.data;
  const [issue] = checked.error.issues;
  throw new LfmError(
    'bad-provider-options',
    `providerOptions.lfm${issue?.path.map((key) => `.${String(key)}`).join('') ?? ''}: ${issue?.message ?? 'unreadable'}.`,
  );
}

function toolsOf({ tools = [], toolChoice }: LanguageModelV4CallOptions, warnings: SharedV4Warning[]): Tool[] {
  if (toolChoice?.type === 'none') return [];
  if (toolChoice?.type === 'required' || toolChoice?.type === 'tool')
    warnings.push(unsupported('toolChoice', `the model is told of the tools, and may answer without a call`));
  return tools.flatMap((tool) => {
    if (tool.type !== 'function') {
      warnings.push(unsupported(`tool ${tool.id}`, 'there are no tools of the provider'));
      return [];
    }
    if (toolChoice?.type === 'tool' && tool.name !== toolChoice.toolName) return [];
    if (tool.strict)
      warnings.push(unsupported(`strict of the tool ${tool.name}`, 'its input is not kept to the schema'));
    return [toolOf(tool)];
  });
}

function toolOf({ name, description, inputSchema }: LanguageModelV4FunctionTool): Tool {
  const parameters: unknown = inputSchema;
  return { type: 'function', function: { name, ...(description !== undefined && { description }), parameters } };
}

/** Templates that let a model think have one switch for it. */
function thinkingOf({ reasoning }: LanguageModelV4CallOptions, warnings: SharedV4Warning[]): JsonObject {
  if (reasoning === undefined || reasoning === 'provider-default') return {};
  if (reasoning !== 'none')
    warnings.push({
      type: 'compatibility',
      feature: 'reasoning',
      details: 'a model thinks or does not: there are no levels',
    });
  return { enable_thinking: reasoning !== 'none' };
}

export function unsupported(feature: string, details: string): SharedV4Warning {
  return { type: 'unsupported', feature, details };
}
