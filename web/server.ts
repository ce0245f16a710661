// This machine's server, as the page asks it.
import type { Send } from './protocol-source.ts';

/** What a request says of who asks; `key`: the user's, or empty. */
export const keyHeaders = (key: string): Record<string, string> =>
  key === '' ? {} : { authorization: `Bearer ${key}` };

/** fetch with the key that the user gave, which may change between requests. Errors: fit to be shown. */
export function serverFetch(key: () => string): Send {
  return async (path, init = {}) => {
    const headers = { ...init.headers, ...keyHeaders(key()) };
    const response = await fetch(path, { ...init, headers }).catch((error: unknown) => {
      if (init.signal?.aborted) throw error;
      throw new Error('The server does not answer: is lfm serve still running?', { cause: error });
    });
    if (response.status === 401) throw new Error('This server asks for its API key: put it under Settings.');
    return response;
  };
}
