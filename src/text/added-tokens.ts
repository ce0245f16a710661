// Tokens that stand for a literal text and are cut out before words are made: `<|im_start|>` and its like.

import { LfmError } from '../tensor/error.ts';

export interface AddedToken {
  readonly id: number;
  /** The text it stands for; never empty. */
  readonly content: string;
  /** Special tokens are control: parsed from text only when asked, and skipped when decoding on demand. */
  readonly special: boolean;
  /** As in `tokenizer.json`. Tokens with false are cut out first; without a normalizer that is all it means. */
  readonly normalized: boolean;
  /** Whether white space before or after it in a text belongs to it. Default false. */
  readonly takesSpaceBefore?: boolean;
  readonly takesSpaceAfter?: boolean;
}

interface TrieNode {
  readonly next: Map<number, TrieNode>;
  token?: AddedToken;
  /** Of the token's text, in UTF-16 units. */
  length?: number;
}

/** Finds added tokens in text: leftmost first, and of those that start together the longest. */
export class AddedTokenMatcher {
  readonly #root: TrieNode = { next: new Map() };

  /**
   * @param textOf what a token looks like in the text to be split, where that is not its content
   * Errors: `added-token-invalid` when that is empty.
   */
  constructor(tokens: Iterable<AddedToken>, textOf: (content: string) => string = (content) => content) {
    for (const token of tokens) {
      const text = textOf(token.content);
      if (text === '') throw new LfmError('added-token-invalid', `Added token ${token.id} has no text.`);
      let node = this.#root;
      for (let i = 0; i < text.length; i++) {
        const unit = text.charCodeAt(i);
        let child = node.next.get(unit);
        if (!child) node.next.set(unit, (child = { next: new Map() }));
        node = child;
      }
      node.token = token;
      node.length = text.length;
    }
  }

  /**
   * Calls `onText` with each stretch between tokens (none is empty) and where it starts, and `onToken` with each token, in
   * order.
   */
  split(text: string, onText: (text: string, start: number) => void, onToken: (token: AddedToken) => void): void {
    const first = this.#root.next;
    let start = 0;
    for (let i = 0; i < text.length && first.size > 0; i++) {
      if (!first.has(text.charCodeAt(i))) continue;
      const node = this.#longestAt(text, i);
      if (!node?.token) continue;
      let end = i + (node.length ?? 0);
      const before = node.token.takesSpaceBefore ? spaceBefore(text, start, i) : i;
      if (before > start) onText(text.slice(start, before), start);
      onToken(node.token);
      if (node.token.takesSpaceAfter) while (end < text.length && SPACE.test(text.charAt(end))) end++;
      start = end;
      i = start - 1;
    }
    if (start < text.length) onText(start === 0 ? text : text.slice(start), start);
  }

  #longestAt(text: string, at: number): TrieNode | undefined {
    let found: TrieNode | undefined;
    let node: TrieNode | undefined = this.#root;
    for (let i = at; node && i < text.length; i++) {
      node = node.next.get(text.charCodeAt(i));
      if (node?.token) found = node;
    }
    return found;
  }
}

/** Every white space is one UTF-16 unit. */
const SPACE = /\p{White_Space}/u;

/** Where the white space that ends at `end` begins, but not before `start`. */
function spaceBefore(text: string, start: number, end: number): number {
  let at = end;
  while (at > start && SPACE.test(text.charAt(at - 1))) at--;
  return at;
}
