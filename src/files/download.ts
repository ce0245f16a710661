// Large files by URL in a browser: downloaded once, kept in the browser's Cache Storage, read by ranges.
import { host } from '#host';
import { LfmError } from '../tensor/error.ts';
import type { ByteSource } from './gguf-read.ts';

export interface DownloadOptions {
  /** Hears of bytes that arrive over the network; of a file that was kept, once, with all of them done. */
  readonly onDownload?: ((progress: { doneBytes: number; totalBytes: number }) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Sent with each request. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** Under this header a kept file says which version of it was downloaded. */
const VERSION = 'x-lfm-version';

/**
 * The file at a URL, without being all in memory; undefined where there is none. A kept copy is taken as long as the server
 * tells the same size and the same entity tag (or date), or does not answer at all.
 * Errors: `file-unreadable`, `file-cut-short`, the reason of `signal`.
 */
export async function openUrl(url: string, options: DownloadOptions = {}): Promise<ByteSource | undefined> {
  const { onDownload, signal, headers = {} } = options;
  const cache = await openCache();
  const kept = await cache?.match(url);
  const head = await fetch(url, { method: 'HEAD', headers, signal: signal ?? null, cache: 'no-cache' }).catch(
    (cause: unknown) => {
      signal?.throwIfAborted();
      if (kept) return undefined;
      throw new LfmError('file-unreadable', `Could not fetch ${url}: the request failed.`, { cause });
    },
  );
  // Servers of pages answer what they do not have with the page.
  if (head?.status === 404 || head?.headers.get('content-type')?.startsWith('text/html')) return undefined;
  if (head && !head.ok) throw unreadable(url, head);
  const version = head && versionOf(head);
  if (kept && (!version || kept.headers.get(VERSION) === version)) {
    const blob = await kept.blob();
    onDownload?.({ doneBytes: blob.size, totalBytes: blob.size });
    return blobSource(blob, url);
  }
  return blobSource(await download(url, cache, options), url);
}

/** Absent in pages that are not served securely, and where the user forbids it. */
async function openCache(): Promise<Cache | undefined> {
  if (!('caches' in globalThis)) return undefined;
  return caches.open(host.cacheFolder()).catch(() => undefined);
}

function versionOf({ headers }: Response): string {
  const tag = headers.get('etag') ?? headers.get('last-modified') ?? '';
  return `${tag} ${headers.get('content-length') ?? ''}`;
}

function unreadable(url: string, { status }: Response): LfmError {
  return new LfmError('file-unreadable', `Could not fetch ${url}: the server answered ${status}.`);
}

async function download(url: string, cache: Cache | undefined, options: DownloadOptions): Promise<Blob> {
  const response = await fetch(url, {
    headers: options.headers ?? {},
    signal: options.signal ?? null,
    cache: 'no-store',
  });
  if (!response.ok || !response.body) throw unreadable(url, response);
  const whole = new Response(counted(response.body, Number(response.headers.get('content-length') ?? 0), options), {
    headers: { [VERSION]: versionOf(response) },
  });
  try {
    if (!cache) return await whole.blob();
    await cache.put(url, whole);
    const kept = await cache.match(url);
    if (kept) return await kept.blob();
  } catch (cause) {
    options.signal?.throwIfAborted();
    // The browser keeps no more: the model runs all the same, and is downloaded again the next time.
    if (cause instanceof DOMException && cause.name === 'QuotaExceededError') return download(url, undefined, options);
    throw new LfmError('file-unreadable', `Could not fetch ${url}: the download was cut off.`, { cause });
  }
  return download(url, undefined, options);
}

/** The same bytes, counted. */
function counted(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  totalBytes: number,
  { onDownload }: DownloadOptions,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  let doneBytes = 0;
  return body.pipeThrough(
    new TransformStream({
      transform(chunk: Uint8Array<ArrayBuffer>, controller) {
        doneBytes += chunk.byteLength;
        onDownload?.({ doneBytes, totalBytes: Math.max(totalBytes, doneBytes) });
        controller.enqueue(chunk);
      },
    }),
  );
}

function blobSource(blob: Blob, url: string): ByteSource {
  return {
    size: blob.size,
    async read(into, offset) {
      const bytes = new Uint8Array(await blob.slice(offset, offset + into.byteLength).arrayBuffer());
      if (bytes.byteLength < into.byteLength)
        throw new LfmError('file-cut-short', `${url} ended at byte ${offset + bytes.byteLength} while being read.`);
      into.set(bytes);
    },
    close: async () => undefined,
  };
}
