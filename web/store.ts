// All that the page shows, in one value that is replaced and never changed; `useStore` draws a component again when it is.
import { useEffect, useState } from 'preact/hooks';
import type { Conversation } from './conversation.ts';
import { newConversation } from './conversation.ts';
import type { Settings } from './settings.ts';
import { loadSettings } from './settings.ts';
import type { ModelInfo } from './source.ts';

export interface State {
  readonly view: 'chat' | 'model';
  readonly models: readonly ModelInfo[];
  readonly settings: Settings;
  /** The one that is shown, and all that are kept, the last changed first. */
  readonly conversation: Conversation;
  readonly conversations: readonly Conversation[];
  /** The message that is being written. */
  readonly writing: string | undefined;
  /** `share`: how much of something long is done. */
  readonly status: { readonly text: string; readonly isError: boolean; readonly share?: number };
  readonly opened: 'none' | 'history' | 'settings';
}

let state: State = {
  view: 'chat',
  models: [],
  settings: loadSettings(),
  conversation: newConversation(),
  conversations: [],
  writing: undefined,
  status: { text: 'Asking for the models…', isError: false },
  opened: 'none',
};
const listeners = new Set<() => void>();

export function getState(): State {
  return state;
}

export function setState(changes: Partial<State>): void {
  state = { ...state, ...changes };
  for (const listener of listeners) listener();
}

export function useStore(): State {
  const [shown, setShown] = useState(state);
  useEffect(() => {
    const listener = () => setShown(state);
    listeners.add(listener);
    // It may have changed between drawing and now.
    listener();
    return () => void listeners.delete(listener);
  }, []);
  return shown;
}

export function chosenModel({ models, settings }: State): ModelInfo | undefined {
  return models.find(({ id }) => id === settings.model) ?? models[0];
}

/** A model without a chat template continues, whatever was chosen. */
export function modeOf(at: State): 'chat' | 'continue' {
  return chosenModel(at)?.chats === false ? 'continue' : at.settings.mode;
}
