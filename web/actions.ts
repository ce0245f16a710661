// What the user can do. Each action reads the state, changes it, and keeps the conversation.
import type { Conversation, Message } from './conversation.ts';
import { add, alternatives, change, drop, newConversation, show, shownMessages } from './conversation.ts';
import {
  deleteConversation,
  exportConversations,
  loadConversations,
  parseConversations,
  saveConversation,
} from './history.ts';
import { protocolSource } from './protocol-source.ts';
import { keyHeaders, serverFetch } from './server.ts';
import type { Place, Settings } from './settings.ts';
import { apiKey, parseBox, saveSettings } from './settings.ts';
import type { Asked, ChatSource, ToolCall, Turn } from './source.ts';
import { chosenModel, getState, modeOf, setState } from './store.ts';
import { tabSource } from './tab-source.ts';
import { Reader } from './reader.ts';

const ask = serverFetch(apiKey.get);
const server = protocolSource(ask);
const sources: Readonly<Record<Place, ChatSource>> = {
  server,
  tab: tabSource({
    send: ask,
    headers: () => keyHeaders(apiKey.get()),
    engine: () => getState().settings.engine,
    server,
    onProgress: ({ stage, doneBytes, totalBytes }) => {
      const megabytes = (bytes: number) => (bytes / 1e6).toFixed(0);
      const text =
        stage === 'download'
          ? `The model comes into this tab: ${megabytes(doneBytes)} of ${megabytes(totalBytes)} MB…`
          : 'Its weights are laid out…';
      setState({ status: { text, isError: false, share: totalBytes > 0 ? doneBytes / totalBytes : 0 } });
    },
  }),
};
const source = (): ChatSource => sources[getState().settings.place];
let running: AbortController | undefined;

export const inspect = (model: string) => source().inspect(model);

export function say(text: string, isError = false): void {
  setState({ status: { text, isError } });
}

/** Whatever goes wrong is said on the page. */
function attempt(work: () => Promise<void>): Promise<void> {
  return work().catch((error: unknown) => say(messageOf(error), true));
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Asks for the models until the first is in memory, and reads what this browser keeps. */
export async function start(): Promise<void> {
  try {
    setState({ conversations: await loadConversations() });
  } catch (error) {
    say(`This browser keeps no conversations: ${messageOf(error)}`, true);
  }
  await refreshModels();
}

export function refreshModels(): Promise<void> {
  return attempt(async () => {
    setState({ models: await source().models() });
    const model = chosenModel(getState());
    if (!model) return say('No model is served.', true);
    const isServer = getState().settings.place === 'server';
    if (!isServer || getState().models.some(({ loaded }) => loaded)) return say(readiness());
    say(`${model.id} is loading…`);
    setTimeout(refreshModels, 500);
  });
}

function readiness(): string {
  const at = getState();
  const model = chosenModel(at);
  if (!model) return '';
  if (!model.loaded && at.settings.place === 'tab') return `${model.id} comes into this tab when it is asked.`;
  if (!model.loaded) return `${model.id} will be loaded when it is asked.`;
  return model.chats === false ? `${model.id} continues texts: it was not taught to answer.` : `${model.id} is ready.`;
}

export function setSettings(changes: Partial<Settings>): void {
  const settings = { ...getState().settings, ...changes };
  saveSettings(settings);
  setState({ settings });
  if (changes.model !== undefined) say(readiness());
}

/** Models run there from now on. */
export function setPlace(changes: Partial<Pick<Settings, 'place' | 'engine'>>): Promise<void> {
  setSettings(changes);
  return refreshModels();
}

export function setKey(key: string): Promise<void> {
  apiKey.set(key);
  return refreshModels();
}

/** Shows a conversation as it is now, and keeps it. */
function keep(conversation: Conversation): void {
  const others = getState().conversations.filter(({ id }) => id !== conversation.id);
  setState({ conversation, conversations: [conversation, ...others] });
  saveConversation(conversation).catch((error: unknown) =>
    say(`This browser did not keep it: ${messageOf(error)}`, true),
  );
}

export function setSystem(system: string): void {
  const { conversation } = getState();
  const changed = { ...conversation, system };
  if (conversation.messages.length > 0) keep(changed);
  else setState({ conversation: changed });
}

/** Sends what was written; in continuations it may be empty, for more of the same. */
export async function send(content: string): Promise<void> {
  const { conversation } = getState();
  if (running) return;
  if (content === '') return answer(conversation, conversation.leaf);
  const added = add(conversation, conversation.leaf, { role: 'user', content });
  await answer(added.conversation, added.id);
}

/** Another answer in the place of this one, which stays beside it. */
export async function regenerate({ parent }: Message): Promise<void> {
  await answer(getState().conversation, parent);
}

/** Another message in the place of this one. A user's is answered anew; a model's is left as the user wrote it. */
export async function edit(message: Message, content: string): Promise<void> {
  if (running) return;
  const { role, model } = message;
  const added = add(getState().conversation, message.parent, { role, content, ...(model !== undefined && { model }) });
  if (role === 'user') await answer(added.conversation, added.id);
  else keep(added.conversation);
}

/** Tells the model what its calls gave, and has it go on. */
export async function giveResults(calls: readonly ToolCall[], results: readonly string[]): Promise<void> {
  if (running) return;
  let { conversation } = getState();
  for (const [index, { id }] of calls.entries())
    ({ conversation } = add(conversation, conversation.leaf, {
      role: 'tool',
      content: results[index] ?? '',
      toolCallId: id,
    }));
  await answer(conversation, conversation.leaf);
}

/** Shows the answer that stands so many places further in the same place. */
export function turnTo(message: Message, by: number): void {
  if (running) return;
  const { conversation } = getState();
  const all = alternatives(conversation, message);
  const next = all[all.findIndex(({ id }) => id === message.id) + by];
  if (next) keep(show(conversation, next.id));
}

export function stop(): void {
  running?.abort();
}

export function openConversation(conversation: Conversation): void {
  if (!running) setState({ conversation, view: 'chat', opened: 'none' });
}

export function startConversation(): void {
  openConversation({ ...newConversation(), system: getState().conversation.system });
}

export function removeConversation({ id }: Conversation): Promise<void> {
  return attempt(async () => {
    if (running) return;
    await deleteConversation(id);
    const conversations = getState().conversations.filter((other) => other.id !== id);
    setState({ conversations });
    if (getState().conversation.id === id) setState({ conversation: newConversation() });
  });
}

export function exportAll(): void {
  exportConversations(getState().conversations);
}

export function importFile(file: File): Promise<void> {
  return attempt(async () => {
    const found = parseConversations(await file.text());
    for (const conversation of found) await saveConversation(conversation);
    setState({ conversations: await loadConversations() });
    say(`${found.length} conversations were read.`);
  });
}

function askedFor(conversation: Conversation, turns: readonly Message[]): Asked {
  const at = getState();
  const { settings } = at;
  const mode = modeOf(at);
  const [schema, tools] = [parseBox('JSON schema', settings.schema), parseBox('Tools', settings.tools)];
  const system: readonly Turn[] =
    mode === 'chat' && conversation.system.trim() !== '' ? [{ role: 'system', content: conversation.system }] : [];
  return {
    model: chosenModel(at)?.id ?? '',
    mode,
    turns: [...system, ...turns],
    sampling: settings.sampling,
    probabilities: settings.probabilities,
    ...(schema !== undefined && { schema }),
    ...(tools !== undefined && { tools }),
  };
}

/** Has the model write what follows `parent`. */
async function answer(conversation: Conversation, parent: string | null): Promise<void> {
  if (running || parent === null) return;
  running = new AbortController();
  const { signal } = running;
  const turns = shownMessages({ ...conversation, leaf: parent });
  const { id: model = '' } = chosenModel(getState()) ?? {};
  const begun = add(conversation, parent, { role: 'assistant', content: '', model });
  keep(conversation);
  setState({ conversation: begun.conversation, writing: begun.id });
  say(`${model} is writing…`);
  const draw = (changes: Partial<Message>) =>
    setState({ conversation: change(getState().conversation, begun.id, changes) });
  const reader = new Reader(draw);
  try {
    for await (const piece of source().answer(askedFor(conversation, turns), signal)) reader.add(piece);
    reader.end();
    const { usage, finish } = reader.changes;
    const why = finish === 'length' ? ' It reached the limit.' : '';
    say(`Done: ${usage?.completionTokens ?? 0} tokens.${why}`);
  } catch (error) {
    reader.end(signal.aborted ? 'stopped' : 'error');
    if (signal.aborted) say('Stopped.');
    else say(messageOf(error), true);
  } finally {
    running = undefined;
    const { conversation: now } = getState();
    keep(reader.isEmpty ? drop(now, begun.id) : now);
    setState({ writing: undefined });
    if (!getState().models.every(({ loaded }) => loaded))
      setState({
        models: await source()
          .models()
          .catch(() => getState().models),
      });
  }
}
