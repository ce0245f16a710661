// A chat as tokens: the model's own template, with what people write kept from posing as control tokens.
import type { Template } from '@huggingface/jinja';
import * as z from 'zod';
import { isJsonObject, type JsonObject } from '../files/json.ts';
import { AddedTokenMatcher } from '../text/added-tokens.ts';
import type { Tokenizer } from '../text/tokenizer.ts';
import { LfmError } from '../tensor/index.ts';
import { compileTemplate, renderTemplate } from './jinja.ts';
import type { Tool, ToolCall } from './tool-calls.ts';

export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant' | 'tool';
  readonly content: string;
  /** What an assistant thought before it answered. */
  readonly reasoning?: string | undefined;
  /** What an assistant calls. */
  readonly toolCalls?: readonly (ToolCall & { readonly id?: string | undefined })[] | undefined;
  /** Of a tool's message: which tool, and which call it answers. */
  readonly name?: string | undefined;
  readonly toolCallId?: string | undefined;
}

export interface ChatOptions {
  /** Tools that the model may call, as JSON schemas. */
  readonly tools?: readonly Tool[] | undefined;
  /** Texts to answer from, for templates that take them. */
  readonly documents?: readonly JsonObject[] | undefined;
  /** Whether the assistant's next turn is begun. Default: unless the last message is to be continued. */
  readonly addGenerationPrompt?: boolean | undefined;
  /** The prompt ends within the last message, which the model goes on with. Default false. */
  readonly continueFinalMessage?: boolean | undefined;
  /** Of several templates the one of this name. Default: `tool_use` where tools are given and there is one, else `default`. */
  readonly template?: string | undefined;
  /** Whatever else a template reads, such as `enable_thinking`. */
  readonly variables?: JsonObject | undefined;
  /** What `strftime_now` tells. Default: now. */
  readonly now?: Date | undefined;
}

/** Objects of tools and documents are nested at most as deep. */
const MAX_DEPTH = 64;

const toolCallSchema = z.object({
  name: z.string(),
  arguments: z.record(z.string(), z.unknown()),
  id: z.string().optional(),
});
const messagesSchema = z
  .array(
    z.object({
      role: z.enum(['system', 'user', 'assistant', 'tool']),
      content: z.string(),
      reasoning: z.string().optional(),
      toolCalls: z.array(toolCallSchema).optional(),
      name: z.string().optional(),
      toolCallId: z.string().optional(),
    }),
  )
  .min(1);

/** A chat from outside, with what else it holds left out. Errors: `bad-messages`, naming the message. */
export function parseMessages(messages: unknown): z.output<typeof messagesSchema> {
  const checked = messagesSchema.safeParse(messages);
  if (checked.success) return checked.data;
  const [issue] = checked.error.issues;
  throw new LfmError(
    'bad-messages',
    `messages${issue?.path.map((key) => `[${String(key)}]`).join('') ?? ''}: ${issue?.message ?? 'not a chat'}`,
  );
}

/** Named by their text, or as transformers writes added tokens. */
const namedToken = z
  .union([z.string(), z.object({ content: z.string() }).transform(({ content }) => content)])
  .nullish();

const configSchema = z.object({
  bos_token: namedToken,
  eos_token: namedToken,
  chat_template: z.union([z.string(), z.array(z.object({ name: z.string(), template: z.string() }))]).nullish(),
});

/** A text in which `mark` stands inside every control token that is none. */
export interface MarkedText {
  readonly text: string;
  readonly mark: string;
}

/** Turns messages into a prompt. */
export class ChatTemplate {
  /** Jinja by name. */
  readonly sources: Readonly<Record<string, string>>;
  /** The tokens that a template may name. */
  readonly names: Readonly<Record<string, string>>;
  readonly #templates: ReadonlyMap<string, Template>;
  readonly #tokenizer: Tokenizer;
  readonly #special: AddedTokenMatcher;

  /** `sources`: Jinja by name, `default` among them. Errors: `bad-chat-template`. */
  constructor(
    tokenizer: Tokenizer,
    sources: Readonly<Record<string, string>>,
    names: Readonly<Record<string, string>>,
  ) {
    this.#templates = new Map(Object.entries(sources).map(([name, source]) => [name, compileTemplate(name, source)]));
    this.sources = sources;
    this.names = names;
    this.#tokenizer = tokenizer;
    this.#special = new AddedTokenMatcher(tokenizer.definition.addedTokens.filter(({ special }) => special));
  }

  /**
   * The tokens of a conversation up to where the model's answer begins. A control token that a message, a tool or a document
   * spells out stays ordinary text. Errors: `bad-messages`, `no-chat-template` with the names there are;
   * `chat-template-failed` with what the template says of the messages.
   */
  encode(messages: readonly ChatMessage[], options: ChatOptions = {}): number[] {
    return this.tokensOf(this.renderMarked(messages, options));
  }

  /** The text of that prompt, where forged control tokens can no longer be told from real ones. Errors: as `encode`. */
  render(messages: readonly ChatMessage[], options: ChatOptions = {}): string {
    const { text, mark } = this.renderMarked(messages, options);
    return text.replaceAll(mark, '');
  }

  /** The tokens of such a text, or of a part of it that begins and ends at control tokens. */
  tokensOf({ text, mark }: MarkedText): number[] {
    const ids: number[] = [];
    const encode = (piece: string) => {
      for (const id of this.#tokenizer.encode(piece.replaceAll(mark, ''), { addSpecialTokens: false })) ids.push(id);
    };
    this.#special.split(text, encode, ({ id }) => ids.push(id));
    return ids;
  }

  /** The text of that prompt, in which forged control tokens are none. Errors: as `encode`. */
  renderMarked(messages: readonly ChatMessage[], options: ChatOptions = {}): MarkedText {
    const checked = parseMessages(messages);
    const { tools, documents, variables, continueFinalMessage: continues = false, now = new Date() } = options;
    const template = this.#pick(options);
    const written = checked.map(toTemplate);
    const given = { messages: written, tools: tools ?? null, documents: documents ?? null };
    const [mark, end] = unusedCharacters({ ...given, variables });
    const last = written.at(-1);
    // A space behind the end tells whether the template trims messages.
    if (continues && last) last.content += `${end} `;
    const data = mapStrings({ ...variables, ...given }, (text) => this.#defuse(text, mark));
    const text = renderTemplate(
      template,
      {
        ...(isJsonObject(data) && data),
        ...this.names,
        add_generation_prompt: options.addGenerationPrompt ?? !continues,
      },
      now,
    );
    if (!continues) return { text, mark };
    const at = text.lastIndexOf(end);
    if (at < 0) {
      throw new LfmError(
        'chat-template-failed',
        "The model's chat template leaves out the last message, so it cannot be continued: ask without continueFinalMessage.",
      );
    }
    const continued = text.slice(0, at);
    return { text: text.charAt(at + 1) === ' ' ? continued : continued.trimEnd(), mark };
  }

  #pick({ template, tools }: ChatOptions): Template {
    const wanted = template ?? (tools && this.#templates.has('tool_use') ? 'tool_use' : 'default');
    const found = this.#templates.get(wanted);
    if (found) return found;
    throw new LfmError(
      'no-chat-template',
      `The model has no chat template ${JSON.stringify(wanted)}; it has ${[...this.#templates.keys()].join(', ')}: name one.`,
    );
  }

  /** Puts `mark` inside each control token that the text spells, so that it is not one. */
  #defuse(text: string, mark: string): string {
    const parts: string[] = [];
    this.#special.split(
      text,
      (piece) => parts.push(piece),
      ({ content }) => parts.push(content.slice(0, 1), mark, this.#defuse(content.slice(1), mark)),
    );
    return parts.join('');
  }
}

/**
 * The template of a model folder: its own file, or else what tokenizer_config.json holds; undefined for a base model.
 * Errors: `bad-tokenizer-config`, `bad-chat-template`.
 */
export function readChatTemplate(tokenizer: Tokenizer, config: unknown = {}, file?: string): ChatTemplate | undefined {
  const { sources, names } = chatTemplateTexts(config, file);
  return Object.keys(sources).length === 0 ? undefined : new ChatTemplate(tokenizer, sources, names);
}

/** Templates as text by name (`default` is the usual one), and the tokens that they may name. Errors: `bad-tokenizer-config`. */
export function chatTemplateTexts(
  config: unknown = {},
  file?: string,
): {
  readonly sources: Readonly<Record<string, string>>;
  readonly names: Readonly<Record<'bos_token' | 'eos_token', string>>;
} {
  const parsed = configSchema.safeParse(config);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new LfmError(
      'bad-tokenizer-config',
      `tokenizer_config.json: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'unreadable'}`,
    );
  }
  const { bos_token, eos_token, chat_template: stored } = parsed.data;
  const listed = typeof stored === 'string' ? [{ name: 'default', template: stored }] : (stored ?? []);
  const sources = Object.fromEntries(listed.map(({ name, template }) => [name, template]));
  if (file !== undefined) sources['default'] = file;
  return { sources, names: { bos_token: bos_token ?? '', eos_token: eos_token ?? '' } };
}

/** A message as templates know it. Thoughts stand under each of the names that are in use. */
function toTemplate({ reasoning, toolCalls, toolCallId, name, ...message }: z.infer<typeof messagesSchema>[number]) {
  return {
    ...message,
    ...(reasoning !== undefined && { reasoning, reasoning_content: reasoning, thinking: reasoning }),
    ...(toolCalls && {
      tool_calls: toolCalls.map(({ id, ...call }) => ({
        ...(id !== undefined && { id }),
        type: 'function',
        function: call,
      })),
    }),
    ...(name !== undefined && { name }),
    ...(toolCallId !== undefined && { tool_call_id: toolCallId }),
  };
}

/** The same with every text in it, keys too, changed. Errors: `bad-messages`. */
function mapStrings(value: unknown, change: (text: string) => string, depth = 0): unknown {
  if (depth > MAX_DEPTH)
    throw new LfmError(
      'bad-messages',
      `A tool, a document or a call is nested more than ${MAX_DEPTH} deep: flatten it.`,
    );
  if (typeof value === 'string') return change(value);
  if (Array.isArray(value)) return value.map((each) => mapStrings(each, change, depth + 1));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [change(key), mapStrings(each, change, depth + 1)]),
  );
}

/** Two private characters that nothing given holds. */
function unusedCharacters(given: unknown): [string, string] {
  const used = new Set<string>();
  mapStrings(given, (text) => {
    for (const [character] of text.matchAll(/[\ue000-\uf8ff]/g)) used.add(character);
    return text;
  });
  const found: string[] = [];
  for (let code = 0xe000; code <= 0xf8ff && found.length < 2; code++) {
    const character = String.fromCharCode(code);
    if (!used.has(character)) found.push(character);
  }
  const [mark, end] = found;
  if (mark !== undefined && end !== undefined) return [mark, end];
  throw new LfmError('bad-messages', 'messages: they use every private character of Unicode; leave two out.');
}
