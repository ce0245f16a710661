// How what a model writes to a conversation is to be read: in which style it calls tools, and what marks its thoughts.
import type { Tokenizer } from '../text/tokenizer.ts';
import type { ChatMessage, ChatOptions, ChatTemplate } from './chat.ts';
import { END_OF_THINK } from './reply-parts.ts';
import type { ToolCallStyle } from './tool-calls.ts';
import { markerTokens, takesTools, toolCallStyleOf } from './tool-style.ts';

export interface ReplyForm {
  /** Absent where no tools were given, or the template has no place for them: what looks like a call is text then. */
  readonly style?: ToolCallStyle | undefined;
  /** Control tokens that `ReplyParts` must see: the request's `keepSpecialTokens`. */
  readonly kept: readonly number[];
  /** The prompt ends within <think>. */
  readonly startsThinking: boolean;
  /** The token that ends a thought, where one does. */
  readonly endOfThought?: number | undefined;
}

/** Errors: those of `ChatTemplate.encode`. */
export function replyForm(
  template: ChatTemplate,
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  options: ChatOptions,
): ReplyForm {
  const { tools = [] } = options;
  const style = tools.length > 0 && takesTools(template) ? toolCallStyleOf(template, tokenizer) : undefined;
  return {
    style,
    kept: markerTokens(tokenizer, style),
    startsThinking: /<think>\s*$/.test(template.renderMarked(messages, options).text),
    endOfThought: tokenizer.idOf(END_OF_THINK),
  };
}
