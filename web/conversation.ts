// A conversation as a tree: an edited message or another answer is a branch beside the first, and nothing is lost.
import type { Chance, Turn, Usage } from './source.ts';

export interface Message extends Turn {
  readonly id: string;
  /** The message that it follows; null at the beginning. */
  readonly parent: string | null;
  /** Who answered, and what it took. */
  readonly model?: string;
  readonly chances?: readonly Chance[];
  readonly usage?: Usage;
  /** Why it ended: `stop`, `length`, `tool_calls`; `stopped` by the user. */
  readonly finish?: string;
}

export interface Conversation {
  readonly id: string;
  readonly title: string;
  readonly system: string;
  /** In the order in which they were made. */
  readonly messages: readonly Message[];
  /** The last message of the branch that is shown. */
  readonly leaf: string | null;
  /** Milliseconds since 1970. */
  readonly changed: number;
}

/** Also where a page has no crypto.randomUUID: outside secure contexts. */
export function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export function newConversation(): Conversation {
  return { id: newId(), title: 'New conversation', system: '', messages: [], leaf: null, changed: Date.now() };
}

/** The branch that is shown, from its beginning. */
export function shownMessages({ messages, leaf }: Conversation): readonly Message[] {
  const byId = new Map(messages.map((message) => [message.id, message]));
  const path: Message[] = [];
  // A file from elsewhere may say that a message follows itself.
  for (let at = byId.get(leaf ?? ''); at && path.length < messages.length; at = byId.get(at.parent ?? ''))
    path.push(at);
  return path.toReversed();
}

/** Those that stand in one place, itself among them. */
export function alternatives({ messages }: Conversation, { parent }: Message): readonly Message[] {
  return messages.filter((message) => message.parent === parent);
}

/** Adds a message after `parent`, and shows it. */
export function add(
  conversation: Conversation,
  parent: string | null,
  turn: Omit<Message, 'id' | 'parent'>,
): { conversation: Conversation; id: string } {
  const id = newId();
  const messages = [...conversation.messages, { ...turn, id, parent }];
  const isFirst = conversation.messages.length === 0 && turn.content.trim() !== '';
  const title = isFirst ? turn.content.trim().replaceAll(/\s+/g, ' ').slice(0, 60) : conversation.title;
  return { id, conversation: { ...conversation, title, messages, leaf: id, changed: Date.now() } };
}

export function change(
  conversation: Conversation,
  id: string,
  changes: Partial<Omit<Message, 'id' | 'parent'>>,
): Conversation {
  const messages = conversation.messages.map((message) => (message.id === id ? { ...message, ...changes } : message));
  return { ...conversation, messages, changed: Date.now() };
}

/** Takes out a message that nothing follows, and shows the one before it. */
export function drop(conversation: Conversation, id: string): Conversation {
  const parent = conversation.messages.find((message) => message.id === id)?.parent ?? null;
  return { ...conversation, messages: conversation.messages.filter((message) => message.id !== id), leaf: parent };
}

/** Shows the branch through a message, to its newest end. */
export function show(conversation: Conversation, id: string): Conversation {
  const { messages } = conversation;
  let leaf = id;
  // As many steps as there are messages: a file from elsewhere may hold a circle.
  for (const _ of messages) leaf = messages.findLast(({ parent }) => parent === leaf)?.id ?? leaf;
  return { ...conversation, leaf };
}
