// Log-probabilities in the two forms that OpenAI's endpoints have for them.
import type { Choice } from '../generate/sampler.ts';
import type { DecodeOptions, Tokenizer } from '../text/tokenizer.ts';

/** Of /v1/completions. The same number stands in both lists: lm-evaluation-harness compares them for equality. */
export interface CompletionLogprobs {
  tokens: string[];
  token_logprobs: (number | null)[];
  top_logprobs: (Record<string, number> | null)[];
  /** Where each token begins in the text, in code points. */
  text_offset: number[];
}

export interface ChatLogprob {
  readonly token: string;
  readonly logprob: number;
  readonly bytes: readonly number[];
  readonly top_logprobs: readonly Omit<ChatLogprob, 'top_logprobs'>[];
}

/** JSON has no -Infinity. */
const finite = (logprob: number) => Math.max(logprob, -9999);

const points = (text: string) => Array.from(text).length;

/** A token's text; bytes that are no text by themselves are spelt out, so that tokens do not share a name. */
function nameOf(tokenizer: Tokenizer, id: number): string {
  const bytes = tokenizer.tokenOf(id) ?? new Uint8Array();
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return `bytes:${Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')}`;
  }
}

/** The likeliest tokens and the one that was taken, which may not be among them. */
function topOf(choice: Choice): readonly { readonly id: number; readonly logprob: number }[] {
  const { top = [] } = choice;
  return top.some(({ id }) => id === choice.id) ? top : [...top, choice];
}

export function completionLogprobs(tokenizer: Tokenizer, located: readonly Located[]): CompletionLogprobs {
  const out: CompletionLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
  for (const { id, offset, choice } of located) {
    out.tokens.push(nameOf(tokenizer, id));
    out.text_offset.push(offset);
    out.token_logprobs.push(choice ? finite(choice.logprob) : null);
    // Without a prototype: a token may be called `constructor`.
    const top: Record<string, number> = Object.create(null);
    // Of two tokens with one name the likelier one stays; it comes first.
    for (const each of choice ? topOf(choice) : []) top[nameOf(tokenizer, each.id)] ??= finite(each.logprob);
    out.top_logprobs.push(choice ? top : null);
  }
  return out;
}

/** `most`: how many of the likeliest tokens were asked for. */
export function chatLogprobs(tokenizer: Tokenizer, located: readonly Located[], most: number): ChatLogprob[] {
  const entry = (id: number, logprob: number) => ({
    token: tokenizer.decode([id]),
    logprob: finite(logprob),
    bytes: Array.from(tokenizer.tokenOf(id) ?? []),
  });
  return located.flatMap(({ id, choice }) =>
    choice
      ? [
          {
            ...entry(id, choice.logprob),
            top_logprobs: (choice.top ?? []).slice(0, most).map((each) => entry(each.id, each.logprob)),
          },
        ]
      : [],
  );
}

export interface Located {
  readonly id: number;
  /** Code points of text before it. */
  readonly offset: number;
  /** Absent for a text's first token, which nothing foretold. */
  readonly choice?: Choice;
}

/** Finds each token's place in the text, and lets go of it once text from that place on is shown. */
export class TokenLocator {
  readonly #decoder: { push(id: number): string };
  #offset = 0;
  #shown = 0;
  #waiting: Located[] = [];

  /** `decoding`: as the text was decoded. */
  constructor(tokenizer: Tokenizer, decoding: DecodeOptions = { skipSpecialTokens: true }) {
    this.#decoder = tokenizer.streamDecoder(decoding);
  }

  /** A prompt that is part of the text. */
  takePrompt(ids: readonly number[], choices: readonly Choice[]): Located[] {
    const located = ids.map((id, i) => this.#locate(id, choices[i - 1]));
    this.#shown = this.#offset;
    return located;
  }

  take(tokens: readonly Choice[], text: string): Located[] {
    this.#waiting.push(...tokens.map((choice) => this.#locate(choice.id, choice)));
    this.#shown += points(text);
    return this.#release(({ offset }) => offset < this.#shown);
  }

  /** What waits at the end of a text; `isCut`: by a stop string, whose own tokens are no part of it. */
  flush(isCut: boolean): Located[] {
    return isCut ? [] : this.#release(() => true);
  }

  /** The token that ended the text and shows none. */
  takeLast(choice: Choice): Located[] {
    return [{ id: choice.id, offset: this.#offset, choice }];
  }

  #locate(id: number, choice: Choice | undefined): Located {
    const located = { id, offset: this.#offset, ...(choice && { choice }) };
    this.#offset += points(this.#decoder.push(id));
    return located;
  }

  #release(isShown: (token: Located) => boolean): Located[] {
    const shown = this.#waiting.filter(isShown);
    this.#waiting = this.#waiting.filter((token) => !isShown(token));
    return shown;
  }
}
