// The platform seam in a browser: fetch and Cache Storage.
import { LfmError } from '../tensor/error.ts';
import type { Host } from './host.ts';

export const host: Host = {
  name: 'browser',

  cacheFolder: () => 'lfm',

  async readBytes(location, headers = {}) {
    let response: Response;
    try {
      response = await fetch(location, { headers });
    } catch (cause) {
      throw new LfmError('file-unreadable', `Could not fetch ${String(location)}: the request failed.`, { cause });
    }
    if (!response.ok) {
      const code = response.status === 404 ? 'file-not-found' : 'file-unreadable';
      throw new LfmError(code, `Could not fetch ${String(location)}: the server answered ${response.status}.`);
    }
    // Servers of pages answer what they do not have with the page itself, so that a chat template would seem to be there.
    if (response.headers.get('content-type')?.startsWith('text/html'))
      throw new LfmError('file-not-found', `No file at ${String(location)}: the server answered with a page.`);
    return new Uint8Array(await response.arrayBuffer());
  },

  coreCount: () => Math.max(1, navigator.hardwareConcurrency || 1),
};
