// A terminal session: line by line, each answered as it is generated. Ctrl-C ends an answer, then the session.
import { createInterface } from 'node:readline';
import type { LanguageModel, TextOptions } from '../generate/model.ts';
import type { Reply } from '../generate/reply.ts';
import { LfmError } from '../tensor/error.ts';
import type { Io } from './io.node.ts';
import { dim, Interrupted } from './io.node.ts';

/** Answers one line. */
export interface Talker {
  reply(line: string, signal: AbortSignal): Reply;
  /** What stands before the answer. */
  readonly lead: (line: string) => string;
}

/** A base model continues each line, by itself. */
export function continues(model: LanguageModel, options: Omit<TextOptions, 'signal'>): Talker {
  return { reply: (line, signal) => model.generate(line, { ...options, signal }), lead: (line) => line };
}

/** A chat remembers what was said. */
export function converses(
  model: LanguageModel,
  system: string | undefined,
  options: Omit<TextOptions, 'signal'>,
): Talker {
  const conversation = model.conversation({ system });
  return { reply: (line, signal) => conversation.say(line, { ...options, signal }), lead: () => '' };
}

/**
 * Talks until the input ends. The terminal hands Ctrl-C over as a key; `signal` is for one that comes from elsewhere.
 * Errors: `Interrupted` where Ctrl-C ended the session.
 */
export async function talk(io: Io, talker: Talker, signal: AbortSignal): Promise<void> {
  const lines = createInterface({ input: io.stdin, output: io.stdout, terminal: true, prompt: '> ' });
  let generation: AbortController | undefined;
  let interrupted = false;
  let closed = false;
  lines.on('close', () => {
    closed = true;
  });
  const end = () => {
    interrupted = true;
    generation?.abort(new Interrupted('interrupted'));
    lines.close();
  };
  lines.on('SIGINT', () => {
    if (generation) generation.abort(new Interrupted('interrupted'));
    else end();
  });
  signal.addEventListener('abort', end);
  lines.prompt();
  for await (const line of lines) {
    if (line.trim() !== '') {
      generation = new AbortController();
      await answer(io, talker, line, generation.signal);
      generation = undefined;
    }
    // The input may have ended while its last line was answered; newer Nodes refuse a prompt then.
    if (!closed) lines.prompt();
  }
  io.stdout.write('\n');
  if (interrupted) throw new Interrupted('interrupted');
}

async function answer(io: Io, talker: Talker, line: string, signal: AbortSignal): Promise<void> {
  try {
    io.stdout.write(dim(talker.lead(line), io.stdout));
    for await (const piece of talker.reply(line, signal)) io.stdout.write(piece);
  } catch (error) {
    if (error instanceof LfmError) io.stdout.write(`error: ${error.message}`);
    else if (!(error instanceof Interrupted)) throw error;
  }
  io.stdout.write('\n\n');
}
