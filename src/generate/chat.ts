// A chat as tokens: the model's own template, with what people write kept from posing as control tokens.
import { Template } from '@huggingface/jinja';
import { z } from 'zod';
import { AddedTokenMatcher } from '../text/added-tokens.ts';
import type { Tokenizer } from '../text/tokenizer.ts';
import { LfmError } from '../tensor/index.ts';

export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant' | 'tool';
  readonly content: string;
}

const messagesSchema = z
  .array(z.object({ role: z.enum(['system', 'user', 'assistant', 'tool']), content: z.string() }))
  .min(1);

/** Named by their text, or as transformers writes added tokens. */
const namedToken = z
  .union([z.string(), z.object({ content: z.string() }).transform(({ content }) => content)])
  .nullish();

const configSchema = z.object({
  bos_token: namedToken,
  eos_token: namedToken,
  chat_template: z.union([z.string(), z.array(z.object({ name: z.string(), template: z.string() }))]).nullish(),
});

/** Turns messages into a prompt. */
export class ChatTemplate {
  readonly #template: Template;
  readonly #names: Readonly<Record<string, string>>;
  readonly #tokenizer: Tokenizer;
  readonly #special: AddedTokenMatcher;

  constructor(tokenizer: Tokenizer, source: string, names: Readonly<Record<string, string>>) {
    try {
      this.#template = new Template(source);
    } catch (cause) {
      throw new LfmError('bad-chat-template', `The model's chat template cannot be read: ${messageOf(cause)}`, {
        cause,
      });
    }
    this.#names = names;
    this.#tokenizer = tokenizer;
    this.#special = new AddedTokenMatcher(tokenizer.definition.addedTokens.filter(({ special }) => special));
  }

  /**
   * The tokens of a conversation up to where the model's answer begins. A control token that a message spells out stays
   * ordinary text. Errors: `bad-messages`; `chat-template-failed` with what the template says of the messages.
   */
  encode(messages: readonly ChatMessage[]): number[] {
    const checked = messagesSchema.safeParse(messages);
    if (!checked.success) {
      const [issue] = checked.error.issues;
      throw new LfmError(
        'bad-messages',
        `messages${issue?.path.map((key) => `[${String(key)}]`).join('') ?? ''}: ${issue?.message ?? 'not a chat'}`,
      );
    }
    const mark = unusedCharacter(messages);
    const defused = messages.map(({ role, content }) => ({ role, content: this.#defuse(content, mark) }));
    let text: string;
    try {
      text = this.#template.render({ ...this.#names, messages: defused, add_generation_prompt: true });
    } catch (cause) {
      throw new LfmError(
        'chat-template-failed',
        `The model's chat template refused the messages: ${messageOf(cause)}`,
        { cause },
      );
    }
    const ids: number[] = [];
    const encode = (piece: string) => {
      for (const id of this.#tokenizer.encode(piece.replaceAll(mark, ''), { addSpecialTokens: false })) ids.push(id);
    };
    this.#special.split(text, encode, ({ id }) => ids.push(id));
    return ids;
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
  const { source, names } = chatTemplateText(config, file);
  return source === undefined ? undefined : new ChatTemplate(tokenizer, source, names);
}

/** The same as text, and the tokens that it may name. Errors: `bad-tokenizer-config`. */
export function chatTemplateText(
  config: unknown = {},
  file?: string,
): { readonly source: string | undefined; readonly names: Readonly<Record<'bos_token' | 'eos_token', string>> } {
  const parsed = configSchema.safeParse(config);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new LfmError(
      'bad-tokenizer-config',
      `tokenizer_config.json: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'unreadable'}`,
    );
  }
  const { bos_token, eos_token, chat_template: stored } = parsed.data;
  const named = typeof stored === 'string' ? stored : stored?.find(({ name }) => name === 'default')?.template;
  return { source: file ?? named, names: { bos_token: bos_token ?? '', eos_token: eos_token ?? '' } };
}

/** A private character that no message holds. */
function unusedCharacter(messages: readonly ChatMessage[]): string {
  for (let code = 0xe000; code <= 0xf8ff; code++) {
    const character = String.fromCharCode(code);
    if (!messages.some(({ content }) => content.includes(character))) return character;
  }
  throw new LfmError('bad-messages', 'messages: they use every private character of Unicode; leave one out.');
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
