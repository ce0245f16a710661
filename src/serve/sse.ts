// Server-sent events that are made no faster than the client reads them.

export interface StreamOptions {
  /** A client that leaves an event unread for so long is cut off. */
  readonly stallSeconds: number;
  /** Cuts the connection. */
  readonly drop: () => void;
}

/** `first`: the event that has been asked for already. */
export function eventStream(
  first: IteratorResult<string, void>,
  events: AsyncGenerator<string, void, undefined>,
  { stallSeconds, drop }: StreamOptions,
): Response {
  const encoder = new TextEncoder();
  let next: IteratorResult<string, void> | undefined = first;
  let stall: ReturnType<typeof setTimeout> | undefined;
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        clearTimeout(stall);
        const { done, value } = next ?? (await events.next());
        next = undefined;
        if (done) return controller.close();
        controller.enqueue(encoder.encode(`data: ${value}\n\n`));
        stall = setTimeout(drop, stallSeconds * 1000);
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
