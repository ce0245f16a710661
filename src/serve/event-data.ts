// Server-sent events as whoever asks a server reads them.

/** The data of each event, a line each as `/v1` streams have it, [DONE] among them. Leaving the loop closes the connection. */
export async function* eventData(body: ReadableStream<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let held = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = `${held}${decoder.decode(value, { stream: true })}`.split(/\r?\n/);
      held = lines.pop() ?? '';
      for (const line of lines) if (line.startsWith('data:')) yield line.slice('data:'.length).trim();
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
