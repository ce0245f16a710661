// In which style a model calls tools, told from its chat template and its tokens; which control tokens a text keeps.
import { LfmError } from '../tensor/error.ts';
import type { DecodeOptions, Tokenizer } from '../text/tokenizer.ts';
import type { ChatTemplate } from './chat.ts';
import { THINKING } from './reply-parts.ts';
import { callMarkers, type CallMarkers, type ToolCallStyle } from './tool-calls.ts';

/** Whether a template has a place for tools at all; others leave them out without a word. */
export function takesTools(template: ChatTemplate): boolean {
  return Object.values(template.sources).some((source) => /\btools\b/.test(source));
}

/**
 * LFM3's templates write a call's XML, LFM2's and LFM2.5's models have control tokens around Python's notation; what is left
 * is taken for JSON, which most other families write.
 */
export function toolCallStyleOf(template: ChatTemplate, tokenizer: Tokenizer): ToolCallStyle {
  const text = Object.values(template.sources).join('\n');
  if (text.includes('<function=')) return 'xml';
  if (text.includes('<tool_call>')) return 'json';
  const [{ open } = { open: '' }] = callMarkers.pythonic;
  return tokenizer.idOf(open) === undefined ? 'json' : 'pythonic';
}

/** What a model writes around its calls: of JSON, the pair that stands in its template. */
export function markersOf(template: ChatTemplate, style: ToolCallStyle): CallMarkers {
  const text = Object.values(template.sources).join('\n');
  const [usual, other] = callMarkers[style];
  if (!usual) throw new LfmError('bad-tools', `There are no markers for calls in the style ${style}.`);
  return other && text.includes(other.open) ? other : usual;
}

/** How tokens are decoded where control tokens stay in the text: all, none, or these. */
export function decodingOf(keep: boolean | readonly number[] = false): DecodeOptions {
  return typeof keep === 'boolean'
    ? { skipSpecialTokens: !keep }
    : { skipSpecialTokens: true, keptSpecialTokens: new Set(keep) };
}

/** Control tokens that must stand in a text for `ReplyParts` to see thoughts and, with a style, calls. */
export function markerTokens(tokenizer: Tokenizer, style: ToolCallStyle | undefined): readonly number[] {
  const calls = style === undefined ? [] : callMarkers[style].flatMap(({ open, close }) => [open, close]);
  return [...THINKING, ...calls].flatMap((marker) => {
    const id = tokenizer.idOf(marker);
    return id !== undefined && tokenizer.isSpecial(id) ? [id] : [];
  });
}
