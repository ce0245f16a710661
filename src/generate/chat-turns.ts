// A whole chat as tokens in its template's form, with the assistant's turns told apart: what fine-tuning is trained on.
import { LfmError } from '../tensor/error.ts';
import type { Tokenizer } from '../text/tokenizer.ts';
import type { ChatTemplate } from './chat.ts';
import { parseMessages } from './chat.ts';

export interface ChatTurns {
  readonly ids: readonly number[];
  /** 1 for the tokens that the assistant says, its closing control token among them; as long as `ids`. */
  readonly counts: readonly number[];
  /** Of the rendered text. */
  readonly bytes: number;
}

/** Who may speak after whom; the first message follows 'nobody'. */
const followers: Readonly<Record<string, readonly string[]>> = {
  nobody: ['system', 'user'],
  system: ['user'],
  user: ['assistant'],
  assistant: ['user', 'tool'],
  tool: ['assistant', 'tool'],
};

/** Errors: `chat-roles`, naming the message, for speakers out of turn, and where the assistant says nothing. */
export function requireTurns(messages: readonly { readonly role: string }[]): void {
  let before = 'nobody';
  messages.forEach(({ role }, index) => {
    const expected = followers[before] ?? [];
    if (!expected.includes(role))
      throw new LfmError(
        'chat-roles',
        `messages[${index}].role: expected ${expected.join(' or ')} ${before === 'nobody' ? 'at the beginning' : `after ${before}`}; found ${JSON.stringify(role)}.`,
      );
    before = role;
  });
  if (!messages.some(({ role }) => role === 'assistant'))
    throw new LfmError('chat-roles', 'messages: expected at least one of the role assistant; found none.');
}

/**
 * The tokens of a chat, cut where a prompt would end and the model would begin to answer, so that they are those of
 * generation. Errors: `bad-messages`, `chat-roles`, those of the template; `chat-template-rewrites` for a template that
 * writes a turn otherwise once others follow.
 */
export function chatTurns(template: ChatTemplate, tokenizer: Tokenizer, given: unknown): ChatTurns {
  const messages = parseMessages(given);
  requireTurns(messages);
  const now = new Date();
  const whole = template.renderMarked(messages, { addGenerationPrompt: false, now });
  const { mark } = whole;
  const upTo = (count: number, addGenerationPrompt: boolean): string => {
    const part = template.renderMarked(messages.slice(0, count), { addGenerationPrompt, now });
    return part.text.replaceAll(part.mark, mark);
  };
  const ids: number[] = [];
  const counts: number[] = [];
  const push = (text: string, counting: boolean): void => {
    const found = template.tokensOf({ text, mark });
    const last = found.findLastIndex((id) => tokenizer.isSpecial(id));
    found.forEach((id, at) => {
      ids.push(id);
      // What a template writes behind the token that closes a turn is never generated.
      counts.push(counting && (last < 0 || at <= last) ? 1 : 0);
    });
  };
  let at = 0;
  messages.forEach(({ role }, index) => {
    if (role !== 'assistant') return;
    const [before, after] = [upTo(index, true), upTo(index + 1, false)];
    if (!after.startsWith(before) || !whole.text.startsWith(after))
      throw new LfmError(
        'chat-template-rewrites',
        `messages[${index}]: the model's chat template writes this turn otherwise than the prompt that asks for it, or than the whole chat: it cannot be trained on as it would be generated.`,
      );
    push(whole.text.slice(at, before.length), false);
    push(whole.text.slice(before.length, after.length), true);
    at = after.length;
  });
  push(whole.text.slice(at), false);
  return { ids, counts, bytes: new TextEncoder().encode(whole.text.replaceAll(mark, '')).length };
}
