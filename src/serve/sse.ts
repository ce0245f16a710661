// Server-sent events that are made no faster than the client reads them.

/** What is used of Node's ServerResponse. */
interface Outgoing {
  chunkedEncoding: boolean;
  readonly headersSent: boolean;
  readonly socket: { cork(): void; uncork(): void } | null;
  destroy(): void;
}

export interface StreamOptions {
  /** A client that leaves an event unread for so long is cut off. */
  readonly stallSeconds: number;
  /** Node's answer, where the events go to a socket; a worker has none. */
  readonly outgoing: Outgoing | undefined;
}

/** An event, as it is written. */
export const eventOf = (data: string) => `data: ${data}\n\n`;

/** `first`: what has been asked for already. Each string is one event or several, written at once. */
export function eventStream(
  first: IteratorResult<string, void>,
  events: AsyncGenerator<string, void, undefined>,
  { stallSeconds, outgoing }: StreamOptions,
): Response {
  const encoder = new TextEncoder();
  let next: IteratorResult<string, void> | undefined = first;
  let stall: ReturnType<typeof setTimeout> | undefined;
  let isFramed = false;
  const socket = outgoing?.socket;
  if (socket) {
    // The head goes with the first event, which is at hand.
    socket.cork();
    setImmediate(() => socket.uncork());
  }
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        clearTimeout(stall);
        if (next && outgoing?.headersSent && outgoing.chunkedEncoding) {
          // Node's own framing gives the socket three pieces a chunk, and writing those takes twice as long as one.
          outgoing.chunkedEncoding = false;
          isFramed = true;
        }
        const { done, value } = next ?? (await events.next());
        next = undefined;
        const bytes = encoder.encode(value ?? '');
        if (isFramed) controller.enqueue(chunkOf(bytes));
        else if (bytes.length > 0) controller.enqueue(bytes);
        if (done) return controller.close();
        stall = setTimeout(() => outgoing?.destroy(), stallSeconds * 1000);
      },
      async cancel() {
        clearTimeout(stall);
        await events.return();
      },
    },
    // Nothing is made before it is asked for, and it is asked for once the socket has taken what was there.
    { highWaterMark: 0 },
  );
  return new Response(body, {
    headers: {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      'transfer-encoding': 'chunked',
      // Proxies must not collect what is meant to be seen as it comes.
      'x-accel-buffering': 'no',
    },
  });
}

/** A chunk of an HTTP body (RFC 9112, 7.1); one of no bytes is the last. */
function chunkOf(bytes: Uint8Array): Uint8Array {
  const head = `${bytes.length.toString(16)}\r\n`;
  const chunk = new Uint8Array(head.length + bytes.length + 2);
  for (let i = 0; i < head.length; i++) chunk[i] = head.charCodeAt(i);
  chunk.set(bytes, head.length);
  chunk.set([0x0d, 0x0a], head.length + bytes.length);
  return chunk;
}
