// What npm run bench -- serve starts and asks: a server in a process of its own, and streams from it with the time of each piece.
import type { ChildProcessByStdio } from 'node:child_process';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { ROOT } from '../test/root.ts';

/** A server that was started; ends with its standard input. */
export class Served {
  url = '';
  version = '';
  /** lfm's: the token that ends a text. */
  end = -1;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  private constructor(words: readonly string[]) {
    this.#child = spawn(process.execPath, words, { cwd: ROOT, stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Waits until it listens. */
  static async start(words: readonly string[]): Promise<Served> {
    const served = new Served(words);
    return Object.assign(served, await served.#next<object>());
  }

  /** A command of lfm's side. */
  ask<Answer>(command: { readonly name: string; readonly [option: string]: unknown }): Promise<Answer> {
    this.#child.stdin.write(`${JSON.stringify(command)}\n`);
    return this.#next();
  }

  stop(): void {
    this.#child.stdin.end();
  }

  async #next<Answer>(): Promise<Answer> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('A server ended before it answered.');
    return JSON.parse(value) as Answer;
  }
}

/** Milliseconds from the request to each piece of text; `ended`: it said that it was whole. */
export interface Streamed {
  readonly times: readonly number[];
  readonly ended: boolean;
  readonly status: number;
}

/** Streams a completion. `leaveAfter` pieces the client goes away. */
export async function stream(url: string, body: object, leaveAfter = Infinity): Promise<Streamed> {
  const controller = new AbortController();
  const started = performance.now();
  const answer = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...body, stream: true }),
    signal: controller.signal,
  });
  const times: number[] = [];
  let [held, ended] = ['', false];
  if (!answer.ok || !answer.body) {
    await answer.text();
    return { times, ended, status: answer.status };
  }
  const decoder = new TextDecoder();
  try {
    for await (const chunk of answer.body) {
      held += decoder.decode(chunk, { stream: true });
      const events = held.split('\n\n');
      held = events.pop() ?? '';
      for (const event of events) {
        if (event === 'data: [DONE]') ended = true;
        else if (/"text":"(?!")/.test(event)) times.push(performance.now() - started);
      }
      if (times.length >= leaveAfter) controller.abort();
    }
  } catch (error) {
    if (!controller.signal.aborted) throw error;
  }
  return { times, ended, status: answer.status };
}

const words = 'river stone winter morning garden letter captain window silver market music shadow'.split(' ');

/** A prompt unlike others: what was computed for them is of no use to it. */
export function freshPrompt(index: number, length = 24): string {
  const chosen = Array.from({ length }, (_, i) => words[(index * 7 + i * (index + 3)) % words.length]);
  return `${index}: ${chosen.join(' ')}`;
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
}
