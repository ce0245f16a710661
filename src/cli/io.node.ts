// What a command sees of the world: streams, whether they are a terminal, and Ctrl-C.
import { LfmError } from '../tensor/error.ts';

export interface Io {
  readonly stdin: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  readonly stdout: NodeJS.WritableStream & { readonly isTTY?: boolean };
  readonly stderr: NodeJS.WritableStream & { readonly isTTY?: boolean };
  /** Calls `handler` at each Ctrl-C, or SIGTERM, until the function that it returns is called. */
  readonly onInterrupt: (handler: () => void) => () => void;
}

export const processIo: Io = {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  onInterrupt(handler) {
    const signals = ['SIGINT', 'SIGTERM'] as const;
    for (const signal of signals) process.on(signal, handler);
    return () => {
      for (const signal of signals) process.off(signal, handler);
    };
  },
};

/** Ctrl-C ended the command. */
export class Interrupted extends Error {}

/** Runs what a first Ctrl-C ends by the signal, with `Interrupted` as its reason; a second one ends the process. */
export async function interruptible<T>({ onInterrupt }: Io, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const off = onInterrupt(() => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort(new Interrupted('interrupted'));
  });
  try {
    return await work(controller.signal);
  } catch (error) {
    // Whatever the work made of it, the cause was Ctrl-C.
    throw controller.signal.aborted ? controller.signal.reason : error;
  } finally {
    off();
  }
}

export function isTerminal({ stdin, stdout }: Io): boolean {
  return Boolean(stdin.isTTY && stdout.isTTY);
}

/** Grey on a terminal that takes colours. */
export function dim(text: string, stream: { readonly isTTY?: boolean }): string {
  return text !== '' && stream.isTTY && !process.env['NO_COLOR'] ? `\u001b[2m${text}\u001b[22m` : text;
}

/** The longest text that standard input may hold; no model reads as much. */
const MOST_BYTES = 64 * 2 ** 20;

/** All of standard input, without the line break that `echo` ends it with. Errors: `not-text`, `text-too-long`. */
export async function readAll(stdin: Io['stdin']): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stdin) {
    const part = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    bytes += part.length;
    if (bytes > MOST_BYTES)
      throw new LfmError('text-too-long', `Standard input holds over ${MOST_BYTES} bytes; no model takes as much.`);
    chunks.push(part);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks)).replace(/\r?\n$/, '');
  } catch (cause) {
    throw new LfmError('not-text', 'Standard input is not UTF-8 text: convert it first.', { cause });
  }
}
