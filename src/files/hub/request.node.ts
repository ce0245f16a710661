// Requests to the hub. Redirects are followed by hand: the token goes to the hub's own origin and to no other.

import { LfmError } from '../../tensor/error.ts';
import type { HubName } from './name.ts';
import type { HubSettings } from './settings.node.ts';

const MOST_REDIRECTS = 5;

/** The network failed, not the hub: worth another try. */
export class BrokenConnection extends Error {}

/** Answers a response that is no redirect, whatever its status. Errors: `BrokenConnection`, `hub-redirect`, the reason of `signal`. */
export async function request(
  { endpoint, token }: HubSettings,
  url: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Response> {
  let at = new URL(url);
  for (let count = 0; count <= MOST_REDIRECTS; count++) {
    const isHub = at.origin === new URL(endpoint).origin;
    const authorization = token !== undefined && isHub ? { authorization: `Bearer ${token}` } : undefined;
    const response = await fetch(at, {
      // Compressed bytes could be neither counted nor resumed.
      headers: { 'accept-encoding': 'identity', 'user-agent': 'lfm', ...headers, ...authorization },
      redirect: 'manual',
      signal,
    }).catch((cause: unknown) => {
      signal.throwIfAborted();
      throw new BrokenConnection(reasonOf(cause), { cause });
    });
    const location = response.headers.get('location');
    if (![301, 302, 303, 307, 308].includes(response.status) || location === null) return response;
    await response.body?.cancel();
    at = nextAddress(at, location);
  }
  throw new LfmError('hub-redirect', `${url} led to more than ${MOST_REDIRECTS} other addresses.`);
}

function nextAddress(from: URL, location: string): URL {
  const to = URL.canParse(location, from) ? new URL(location, from) : undefined;
  if (to && (to.protocol === 'https:' || (to.protocol === 'http:' && from.protocol === 'http:'))) return to;
  throw new LfmError('hub-redirect', `${from.origin} led to an address that is not safe to follow.`);
}

/** fetch says only that it failed; what it was stands in its cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error && error.cause.message !== '' ? error.cause.message : error.message;
}

/** What a status that is no success means for a user. Frees the response. */
export async function refusal(
  response: Response,
  { endpoint, token }: HubSettings,
  { owner, name }: HubName,
  what: string,
): Promise<LfmError> {
  await response.body?.cancel();
  const { status } = response;
  const code = response.headers.get('x-error-code') ?? '';
  const model = `${owner}/${name}`;
  const login =
    token === undefined
      ? 'If it is private, set HF_TOKEN to a token that may read it.'
      : 'The token that was sent may not read it.';
  if (code === 'RevisionNotFound') return new LfmError('hub-not-found', `${model} has no revision ${what}.`);
  if (code === 'EntryNotFound') return new LfmError('hub-not-found', `${model} has no ${what}.`);
  if (status === 403 || code === 'GatedRepo') {
    return new LfmError(
      'hub-denied',
      `${model} may not be read: accept its terms at ${endpoint}/${model} while logged in. ${login}`,
    );
  }
  if (status === 401)
    return new LfmError('hub-denied', `The hub knows no ${model} that may be read without permission. ${login}`);
  if (status === 404)
    return new LfmError('hub-not-found', `There is no model ${model} at ${endpoint} (${what}). ${login}`);
  if (status === 429)
    return new LfmError('hub-busy', 'The hub refuses further requests for a while (429): try again in some minutes.');
  return new LfmError('hub-failed', `The hub answered ${status} when asked for ${what} of ${model}: try again later.`);
}
