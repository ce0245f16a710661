// What the user sets beside the conversation, kept in this browser; the API key only as long as the tab.
import type { TabEngine } from '../src/web/client.ts';
import type { Sampling } from './source.ts';

/** Where models run. */
export type Place = 'server' | 'tab';

export interface Settings {
  readonly place: Place;
  /** What a model in the tab runs on. */
  readonly engine: TabEngine;
  readonly model: string;
  readonly mode: 'chat' | 'continue';
  readonly probabilities: boolean;
  readonly sampling: Sampling;
  /** JSON text, or empty. */
  readonly schema: string;
  readonly tools: string;
}

const initial: Settings = {
  place: 'server',
  engine: 'auto',
  model: '',
  mode: 'chat',
  probabilities: false,
  sampling: { maxTokens: 256 },
  schema: '',
  tools: '',
};

const STORE = 'lfm-settings';
const KEY = 'lfm-key';

export function loadSettings(): Settings {
  try {
    const found: Partial<Settings> = JSON.parse(localStorage.getItem(STORE) ?? '{}');
    const text = (value: unknown) => (typeof value === 'string' ? value : '');
    const sampling = Object.entries(found.sampling ?? initial.sampling).filter(([, value]) => Number.isFinite(value));
    return {
      place: found.place === 'tab' ? 'tab' : 'server',
      engine: found.engine === 'webgpu' || found.engine === 'wasm' ? found.engine : 'auto',
      model: text(found.model),
      mode: found.mode === 'continue' ? 'continue' : 'chat',
      probabilities: found.probabilities === true,
      sampling: Object.fromEntries(sampling),
      schema: text(found.schema),
      tools: text(found.tools),
    };
  } catch {
    return initial;
  }
}

/** A browser that keeps nothing forgets them with the tab. */
export function saveSettings(settings: Settings): void {
  try {
    localStorage.setItem(STORE, JSON.stringify(settings));
  } catch {}
}

export const apiKey = {
  get: (): string => sessionStorage.getItem(KEY) ?? '',
  set: (key: string): void => sessionStorage.setItem(KEY, key),
};

/** JSON that a box holds; undefined where it is empty. Errors: naming the box. */
export function parseBox(name: string, text: string): unknown {
  if (text.trim() === '') return undefined;
  try {
    const found: unknown = JSON.parse(text);
    return found;
  } catch (error) {
    throw new Error(`${name}: this is not JSON (${error instanceof Error ? error.message : String(error)}).`, {
      cause: error,
    });
  }
}
