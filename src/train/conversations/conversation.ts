// What `lfm data` writes, as a line of a .jsonl file has it.
export interface Conversation {
  readonly messages: readonly { readonly role: 'system' | 'user' | 'assistant'; readonly content: string }[];
  /** Who wrote the answers: a model, or code that knows them. */
  readonly source: 'teacher' | 'verified';
}

/** An opening and how a model went on. */
export interface WrittenText {
  readonly text: string;
  readonly source: 'teacher';
}

export type Piece = Conversation | WrittenText;

/** What was written rather than asked: the answers, or the text. */
export function writtenIn(piece: Piece): string[] {
  if ('text' in piece) return [piece.text];
  return piece.messages.filter(({ role }) => role === 'assistant').map(({ content }) => content);
}
