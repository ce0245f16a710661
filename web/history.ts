// Conversations kept in this browser (IndexedDB), and as files. Nothing of them leaves the machine.
import type { Conversation, Message } from './conversation.ts';

const STORE = 'conversations';

function asPromise<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.addEventListener('success', () => resolve(request.result));
    request.addEventListener('error', () => reject(request.error ?? new Error('The browser’s storage failed.')));
  });
}

async function transact<T>(mode: IDBTransactionMode, work: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const opening = indexedDB.open('lfm-playground', 1);
  opening.addEventListener('upgradeneeded', () => opening.result.createObjectStore(STORE, { keyPath: 'id' }));
  const database = await asPromise(opening);
  try {
    return await asPromise(work(database.transaction(STORE, mode).objectStore(STORE)));
  } finally {
    database.close();
  }
}

/** All of them, the last changed first. */
export async function loadConversations(): Promise<readonly Conversation[]> {
  const found: unknown[] = await transact('readonly', (store) => store.getAll());
  return found.filter(isConversation).toSorted((a, b) => b.changed - a.changed);
}

export async function saveConversation(conversation: Conversation): Promise<void> {
  await transact('readwrite', (store) => store.put(conversation));
}

export async function deleteConversation(id: string): Promise<void> {
  await transact('readwrite', (store) => store.delete(id));
}

/** Hands the user a file of them. */
export function exportConversations(conversations: readonly Conversation[]): void {
  const file = new Blob([`${JSON.stringify(conversations, undefined, 2)}\n`], { type: 'application/json' });
  const url = URL.createObjectURL(file);
  const link = document.createElement('a');
  link.href = url;
  link.download = 'lfm-conversations.json';
  link.click();
  URL.revokeObjectURL(url);
}

/** Reads what `exportConversations` wrote. Errors: where it is anything else. */
export function parseConversations(text: string): readonly Conversation[] {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch (cause) {
    throw new Error('The file is not JSON: choose one that Export wrote.', { cause });
  }
  if (Array.isArray(found) && found.every(isConversation)) return found;
  throw new Error('The file holds no conversations: choose one that Export wrote.');
}

type Fields = Readonly<Record<string, unknown>>;

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isConversation(value: unknown): value is Conversation {
  return (
    isFields(value) &&
    ['id', 'title', 'system'].every((key) => typeof value[key] === 'string') &&
    typeof value['changed'] === 'number' &&
    isNullOrText(value['leaf']) &&
    Array.isArray(value['messages']) &&
    value['messages'].every(isMessage)
  );
}

const isNullOrText = (value: unknown) => value === null || typeof value === 'string';
const isAbsentOr = (type: string, value: unknown) => value === undefined || typeof value === type;
const isEach = (value: unknown, check: (each: Fields) => boolean) =>
  value === undefined || (Array.isArray(value) && value.every((each) => isFields(each) && check(each)));
const isChance = (each: Fields) => typeof each['text'] === 'string' && typeof each['logprob'] === 'number';

function isMessage(value: unknown): value is Message {
  if (!isFields(value)) return false;
  const { id, parent, role, content, reasoning, model, finish, toolCallId, toolCalls, chances, usage } = value;
  return (
    typeof id === 'string' &&
    isNullOrText(parent) &&
    ['user', 'assistant', 'tool'].includes(String(role)) &&
    typeof content === 'string' &&
    [reasoning, model, finish, toolCallId].every((text) => isAbsentOr('string', text)) &&
    isEach(toolCalls, (call) => ['id', 'name', 'arguments'].every((key) => typeof call[key] === 'string')) &&
    isEach(
      chances,
      (chance) => isChance(chance) && isEach(chance['others'], isChance) && chance['others'] !== undefined,
    ) &&
    (usage === undefined || (isFields(usage) && Object.values(usage).every((figure) => typeof figure === 'number')))
  );
}
