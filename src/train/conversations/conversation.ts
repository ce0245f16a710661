// A conversation as a line of a .jsonl file has it.
export interface Conversation {
  readonly messages: readonly { readonly role: 'system' | 'user' | 'assistant'; readonly content: string }[];
  /** Who wrote the answers: a model, or code that knows them. */
  readonly source: 'teacher' | 'verified';
}
