// What clients send, checked. Every key is one that is honoured, one that changes no text, or one that is refused by name.
import * as z from 'zod';
import type { Tool } from '../generate/tool-calls.ts';
import { RequestError } from './errors.ts';

/** Clients write null for what they leave out. */
const maybe = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);
const whole = z.number().int();
const TEXT = 2 ** 24;

const stop = z.union([z.string().max(256), z.array(z.string().max(256)).max(32)]);
/** OpenAI's clients send ids as JSON keys. */
const bias = z.record(z.string().regex(/^\d{1,9}$/, 'expected a token id'), z.number().min(-100).max(100));

/** What the text is to be. A name and a description tell the model nothing here: its prompt must. */
const responseFormat = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('text') }),
  z.strictObject({ type: z.literal('json_object') }),
  z.strictObject({
    type: z.literal('json_schema'),
    json_schema: z.strictObject({
      name: z.string().max(256),
      description: maybe(z.string().max(TEXT)),
      schema: z.record(z.string(), z.unknown()),
      strict: maybe(z.boolean()),
    }),
  }),
]);

const shared = {
  model: maybe(z.string().max(512)),
  stream: maybe(z.boolean()),
  stream_options: maybe(
    z.strictObject({ include_usage: maybe(z.boolean()), include_obfuscation: maybe(z.literal(false)) }),
  ),
  n: maybe(whole.min(1).max(128)),
  stop: maybe(stop),
  max_tokens: maybe(whole.min(0)),
  temperature: maybe(z.number().min(0).max(2)),
  top_p: maybe(z.number().min(0).max(1)),
  top_k: maybe(whole.min(-1)),
  min_p: maybe(z.number().min(0).max(1)),
  typical_p: maybe(z.number().gt(0).max(1)),
  repetition_penalty: maybe(z.number().gt(0).max(10)),
  presence_penalty: maybe(z.number().min(-2).max(2)),
  frequency_penalty: maybe(z.number().min(-2).max(2)),
  logit_bias: maybe(bias.refine((map) => Object.keys(map).length <= 1024, 'at most 1024 tokens')),
  /** -1 is how clients of other servers ask for any seed. */
  seed: maybe(whole.min(-1)),
  response_format: maybe(responseFormat),
  /** Not OpenAI's: a regular expression, or a grammar, that the text matches. */
  regex: maybe(z.string().max(TEXT)),
  grammar: maybe(z.string().max(TEXT)),
};

const token = whole.min(0).max(2 ** 31 - 1);
const prompt = z.union([
  z.string().max(TEXT),
  z.array(token).min(1),
  z.array(z.string().max(TEXT)).min(1),
  z.array(z.array(token).min(1)).min(1),
]);

export const completionRequest = z.strictObject({
  ...shared,
  prompt,
  echo: maybe(z.boolean()),
  logprobs: maybe(whole.min(0).max(20)),
});

const part = z.object({ type: z.literal('text', { error: 'only parts of type "text" are read' }), text: z.string() });
const content = z.union([z.string().max(TEXT), z.array(part).max(1024)]);
const name = maybe(z.string().max(256));
const toolName = z.string().regex(/^[\w.-]{1,128}$/, 'expected letters, digits, ".", "_" and "-", at most 128');
const calls = z.array(
  z.strictObject({
    id: z.string().min(1).max(256),
    type: z.literal('function'),
    function: z.strictObject({ name: toolName, arguments: z.string().max(TEXT) }),
  }),
);
/** Clients send an assistant's message back as it came, with what is null in it. */
const assistant = z.strictObject({
  role: z.literal('assistant'),
  content: maybe(content),
  name,
  reasoning_content: maybe(z.string().max(TEXT)),
  tool_calls: maybe(calls.max(128)),
  refusal: z.null().optional(),
  audio: z.null().optional(),
  function_call: z.null().optional(),
  annotations: maybe(z.array(z.never())),
});
const message = z.discriminatedUnion('role', [
  z.strictObject({ role: z.enum(['system', 'developer', 'user']), content, name }),
  assistant,
  z.strictObject({ role: z.literal('tool'), content, name, tool_call_id: z.string().max(256) }),
]);

/** Checked, and then as it was given: templates print keys in their order. */
const asGiven = <T>(schema: z.ZodType) =>
  z.custom<T>().superRefine((value, context) => {
    const { error } = schema.safeParse(value);
    for (const { message: said, path } of error?.issues ?? [])
      context.addIssue({ code: 'custom', message: said, path });
  });
/** Whatever else stands in a tool goes to the model's template with it. */
const tool = asGiven<Tool>(
  z.looseObject({
    type: z.literal('function'),
    function: z.looseObject({
      name: toolName,
      parameters: maybe(z.record(z.string(), z.unknown())),
      strict: maybe(z.boolean()),
    }),
  }),
);
const toolChoice = z.union(
  [
    z.enum(['none', 'auto', 'required']),
    z.strictObject({ type: z.literal('function'), function: z.strictObject({ name: toolName }) }),
  ],
  { error: 'expected "none", "auto", "required" or {"type": "function", "function": {"name": …}}' },
);

export const chatRequest = z.strictObject({
  ...shared,
  messages: z.array(message).min(1).max(4096),
  max_completion_tokens: maybe(whole.min(1)),
  logprobs: maybe(z.boolean()),
  top_logprobs: maybe(whole.min(0).max(20)),
  tools: maybe(z.array(tool).max(128)),
  tool_choice: maybe(toolChoice),
  parallel_tool_calls: maybe(z.boolean()),
  /** What the model's template reads beside messages and tools, such as enable_thinking. */
  chat_template_kwargs: maybe(z.record(z.string().max(64), z.unknown())),
});

export const embeddingRequest = z.strictObject({
  model: shared.model,
  input: prompt,
  encoding_format: maybe(z.enum(['float', 'base64'])),
});

export const tokenizeRequest = z.strictObject({
  model: shared.model,
  prompt: z.string().max(TEXT),
  add_special_tokens: maybe(z.boolean()),
  return_token_strs: maybe(z.boolean()),
});

export const modelRequest = z.strictObject({ model: z.string().max(512) });

export const detokenizeRequest = z.strictObject({ model: shared.model, tokens: z.array(token) });

export type CompletionRequest = z.infer<typeof completionRequest>;
export type ChatRequest = z.infer<typeof chatRequest>;
export type RequestMessage = ChatRequest['messages'][number];
export type SharedRequest = Omit<CompletionRequest, 'prompt' | 'echo' | 'logprobs'>;

/** They say something about the request, and change no text. */
const ignored = new Set([
  'user',
  'metadata',
  'service_tier',
  'safety_identifier',
  'prompt_cache_key',
  'prompt_cache_retention',
  'verbosity',
]);

const isEmpty = (value: unknown) => (Array.isArray(value) ? value.length === 0 : value === '');
/** What is not done here yet, with the values that ask for nothing. */
const refused: Readonly<Record<string, (value: unknown) => boolean>> = {
  audio: () => false,
  best_of: (value) => value === 1,
  dimensions: () => false,
  function_call: (value) => value === 'none',
  functions: isEmpty,
  modalities: (value) => Array.isArray(value) && value.every((each) => each === 'text'),
  prediction: () => false,
  reasoning_effort: () => false,
  store: (value) => value === false,
  suffix: isEmpty,
  web_search_options: () => false,
};

/** Checks a request's JSON. Errors: `unsupported-parameter`, `invalid-request`, both naming the parameter. */
export function readRequest<T extends z.ZodType>(schema: T, json: unknown): z.infer<T> {
  const result = schema.safeParse(withoutNeutral(json));
  if (result.success) return result.data;
  const { issue, path } = deepest(result.error.issues);
  const at = issue?.code === 'unrecognized_keys' ? [...path, ...issue.keys.slice(0, 1)] : path;
  const param = at.map(String).join('.').slice(0, 100);
  const what = issue?.code === 'unrecognized_keys' ? 'this parameter is not known' : (issue?.message ?? 'not readable');
  throw new RequestError('invalid-request', param === '' ? `The body: ${what}.` : `${param}: ${what}.`, {
    status: 400,
    param: param || undefined,
  });
}

interface Found {
  readonly issue: z.core.$ZodIssue | undefined;
  readonly path: readonly PropertyKey[];
}

/** Where something may be one thing or another: what is wrong with the one that fits furthest. */
function deepest([issue]: readonly z.core.$ZodIssue[]): Found {
  const found: Found = { issue, path: issue?.path ?? [] };
  if (issue?.code !== 'invalid_union') return found;
  const inner = issue.errors.map((issues) => deepest(issues)).filter(({ path }) => path.length > 0);
  const [best] = inner.toSorted((a, b) => b.path.length - a.path.length);
  return best ? { issue: best.issue, path: [...found.path, ...best.path] } : found;
}

function withoutNeutral(json: unknown): unknown {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return json;
  return Object.fromEntries(
    Object.entries(json).filter(([key, value]: [string, unknown]) => {
      if (ignored.has(key)) return false;
      const isNeutral = Object.hasOwn(refused, key) ? refused[key] : undefined;
      if (!isNeutral) return true;
      if (value === null || isNeutral(value)) return false;
      throw new RequestError('unsupported-parameter', `${key}: this server does not support it; leave it out.`, {
        status: 400,
        param: key,
      });
    }),
  );
}
