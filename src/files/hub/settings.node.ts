// Where the hub is, where its files are kept and who asks for them, as the usual tools read it from the environment.

import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';

import { LfmError } from '../../tensor/error.ts';

const DEFAULT_ENDPOINT = 'https://huggingface.co';

export interface HubSettings {
  /** HF_ENDPOINT, without a slash at its end. */
  readonly endpoint: string;
  /** HF_HUB_CACHE, or `hub` in HF_HOME. */
  readonly cache: string;
  /** HF_TOKEN, or the file that logging in writes. Sent to the endpoint's origin and nowhere else. */
  readonly token: string | undefined;
  /** HF_HUB_OFFLINE: only what the cache holds. */
  readonly offline: boolean;
  /** False where HF_HUB_DISABLE_SYMLINKS is set: files then stand in the snapshot itself. */
  readonly symlinks: boolean;
  /** How long to wait before a broken download goes on; longer after each failure. */
  readonly retryMs: number;
  /** Without any data for as long, a connection counts as broken. */
  readonly stallMs: number;
}

/** Errors: `hub-endpoint`, `hub-token`. */
export async function hubSettings(env: NodeJS.ProcessEnv = process.env): Promise<HubSettings> {
  const set = (name: string) => env[name] || undefined;
  const isOn = (name: string) => /^(1|on|yes|true)$/i.test(env[name] ?? '');
  const home = set('HF_HOME') ?? join(set('XDG_CACHE_HOME') ?? join(homedir(), '.cache'), 'huggingface');
  return {
    endpoint: checkEndpoint(set('HF_ENDPOINT') ?? DEFAULT_ENDPOINT),
    cache: set('HF_HUB_CACHE') ?? set('HUGGINGFACE_HUB_CACHE') ?? join(home, 'hub'),
    token: checkToken(
      set('HF_TOKEN') ??
        set('HUGGING_FACE_HUB_TOKEN') ??
        (await readToken(set('HF_TOKEN_PATH') ?? join(home, 'token'))),
    ),
    offline: isOn('HF_HUB_OFFLINE') || isOn('TRANSFORMERS_OFFLINE'),
    symlinks: !isOn('HF_HUB_DISABLE_SYMLINKS'),
    retryMs: 500,
    stallMs: 60_000,
  };
}

function checkEndpoint(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url && /^https?:$/.test(url.protocol) && url.username === '') return text.replace(/\/+$/, '');
  const found = text.includes('@') ? 'one with a user in it' : JSON.stringify(text.slice(0, 80));
  throw new LfmError(
    'hub-endpoint',
    `HF_ENDPOINT must be the address of a hub, such as https://hub.example.org; found ${found}.`,
  );
}

/** The message never shows any of the token. */
function checkToken(text: string | undefined): string | undefined {
  const token = text?.trim() || undefined;
  if (token === undefined || /^[\x21-\x7e]{1,1024}$/.test(token)) return token;
  throw new LfmError('hub-token', 'The token for the hub holds characters that no token has: set HF_TOKEN anew.');
}

async function readToken(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(() => undefined);
}
