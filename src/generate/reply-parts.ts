// What a model writes, taken apart as it comes: what it says, what it thinks between <think> and </think>, and which tools it
// calls. Control tokens must stand in the text: decode without skipping them.

import { callMarkers, readCalls, type Tool, type ToolCall, type ToolCallStyle } from './tool-calls.ts';

export type ReplyPart =
  | { readonly type: 'text' | 'reasoning'; readonly text: string }
  | { readonly type: 'call'; readonly call: ToolCall };

export interface ReplyPartsOptions {
  /** Absent: calls are not looked for. */
  readonly style?: ToolCallStyle | undefined;
  /** Types of parameters, for the style 'xml'. */
  readonly tools?: readonly Tool[] | undefined;
  /** The prompt ended within <think>, as some templates do. Default false. */
  readonly startsThinking?: boolean | undefined;
}

const THINK = '<think>';
export const END_OF_THINK = '</think>';
export const THINKING: readonly string[] = [THINK, END_OF_THINK];
/** Calls longer than this are shown as text. */
const MOST_CALL_LENGTH = 1 << 20;

/**
 * Feed it text piece by piece, cut wherever; each answer holds what is sure by then, and all answers together what
 * `parseToolCalls` makes of the whole. What looks like a call and is none (unbalanced, cut off, nested too deep, too long) is
 * text. Never throws.
 */
export class ReplyParts {
  readonly #options: ReplyPartsOptions;
  /** What may follow in each mode, and how to find the first of it. */
  readonly #markers: Readonly<Record<'text' | 'reasoning', { readonly all: readonly string[]; readonly any: RegExp }>>;
  /** 'call' with the marker that opened it. */
  #mode: 'text' | 'reasoning' | { readonly open: string; readonly close: string };
  #held = '';
  /** Where in `#held` a call's end has not been looked for. */
  #searched = 0;
  /** Line breaks after a marker are layout; before one they are held back. */
  #dropsBreaks = false;
  #hasText = false;

  constructor(options: ReplyPartsOptions = {}) {
    this.#options = options;
    const { style } = options;
    const opens = style === undefined ? [] : callMarkers[style].map(({ open }) => open);
    const find = (...all: string[]) => ({ all, any: new RegExp(all.map(escaped).join('|')) });
    this.#markers = { text: find(THINK, END_OF_THINK, ...opens), reasoning: find(END_OF_THINK) };
    this.#mode = options.startsThinking ? 'reasoning' : 'text';
    this.#dropsBreaks = options.startsThinking ?? false;
  }

  push(piece: string): ReplyPart[] {
    this.#held += piece;
    const out: ReplyPart[] = [];
    while (this.#advance(out));
    return merge(out);
  }

  /** The rest, at the end of the text. */
  flush(): ReplyPart[] {
    const out: ReplyPart[] = [];
    const mode = this.#mode;
    if (typeof mode === 'object') this.#emit(out, 'text', mode.open + this.#held);
    else this.#emit(out, mode, mode === 'reasoning' ? this.#held.replace(/\n+$/, '') : this.#held);
    this.#held = '';
    this.#mode = 'text';
    return merge(out);
  }

  /** One step; false where more text must come. */
  #advance(out: ReplyPart[]): boolean {
    const mode = this.#mode;
    if (typeof mode === 'object') return this.#endCall(mode, out);
    const { all, any } = this.#markers[mode];
    const found = any.exec(this.#held);
    if (!found) {
      const keep = heldBack(this.#held, all, mode === 'reasoning');
      this.#emit(out, mode, this.#held.slice(0, this.#held.length - keep));
      this.#held = this.#held.slice(this.#held.length - keep);
      return false;
    }
    const before = this.#held.slice(0, found.index);
    this.#held = this.#held.slice(found.index + found[0].length);
    this.#emit(out, mode, mode === 'reasoning' ? before.replace(/\n+$/, '') : before);
    this.#pass(found[0], out);
    return true;
  }

  #pass(marker: string, out: ReplyPart[]): void {
    const call = this.#options.style && callMarkers[this.#options.style].find(({ open }) => open === marker);
    if (call) {
      this.#mode = call;
      this.#searched = 0;
    } else if (marker === END_OF_THINK && this.#mode === 'text' && this.#hasText) {
      this.#emit(out, 'text', marker);
    } else {
      // An end before anything was said, without a beginning: models whose thinking was switched off write it.
      this.#mode = marker === THINK ? 'reasoning' : 'text';
      this.#dropsBreaks = true;
    }
  }

  #endCall({ open, close }: { readonly open: string; readonly close: string }, out: ReplyPart[]): boolean {
    const found = this.#held.indexOf(close, this.#searched);
    if (found < 0 && this.#held.length < MOST_CALL_LENGTH + close.length) {
      this.#searched = Math.max(0, this.#held.length - close.length);
      return false;
    }
    const end = found >= 0 && found <= MOST_CALL_LENGTH ? found : undefined;
    const body = this.#held.slice(0, end ?? MOST_CALL_LENGTH);
    const { style, tools } = this.#options;
    const calls = style && end !== undefined ? readCalls(body, style, tools) : undefined;
    const whole = end === undefined ? body : body + close;
    this.#held = this.#held.slice(whole.length);
    this.#mode = 'text';
    this.#hasText = true;
    if (calls) for (const call of calls) out.push({ type: 'call', call });
    else this.#emit(out, 'text', open + whole);
    return true;
  }

  #emit(out: ReplyPart[], type: 'text' | 'reasoning', text: string): void {
    const kept = this.#dropsBreaks ? text.replace(/^\n+/, '') : text;
    if (kept === '') return;
    this.#dropsBreaks = false;
    if (type === 'text' && kept.trim() !== '') this.#hasText = true;
    out.push({ type, text: kept });
  }
}

export interface ParsedReply {
  /** What the model says. */
  readonly text: string;
  /** What it thought; '' where it did not. */
  readonly reasoning: string;
  readonly calls: readonly ToolCall[];
}

/** A whole reply taken apart, as `ReplyParts` does with one that comes. Never throws. */
export function parseToolCalls(
  reply: string,
  style: ToolCallStyle,
  options: Omit<ReplyPartsOptions, 'style'> = {},
): ParsedReply {
  const parts = new ReplyParts({ ...options, style });
  const all = [...parts.push(reply), ...parts.flush()];
  const textOf = (type: ReplyPart['type']) =>
    all.map((part) => (part.type !== 'call' && part.type === type ? part.text : '')).join('');
  return {
    text: textOf('text'),
    reasoning: textOf('reasoning'),
    calls: all.flatMap((part) => (part.type === 'call' ? part.call : [])),
  };
}

function escaped(marker: string): string {
  return marker.replaceAll('|', '\\|');
}

/** How much of the end may turn out to belong to a marker, with the line breaks before one. */
function heldBack(text: string, markers: readonly string[], holdsBreaks: boolean): number {
  let keep = 0;
  for (const marker of markers) {
    for (let length = Math.min(text.length, marker.length - 1); length > keep; length--)
      if (marker.startsWith(text.slice(text.length - length))) keep = length;
  }
  if (!holdsBreaks) return keep;
  while (text.charAt(text.length - keep - 1) === '\n') keep++;
  return keep;
}

/** Neighbours of one kind as one part. */
function merge(parts: readonly ReplyPart[]): ReplyPart[] {
  const out: ReplyPart[] = [];
  for (const part of parts) {
    const last = out.at(-1);
    if (last && part.type !== 'call' && last.type === part.type && 'text' in last)
      out[out.length - 1] = { type: part.type, text: last.text + part.text };
    else out.push(part);
  }
  return out;
}
