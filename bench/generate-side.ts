// One of those that npm run bench -- generate compares: a process that has the model loaded and answers commands.
import type { ChildProcessByStdio } from 'node:child_process';
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { ROOT } from '../test/root.ts';
import { bundled } from './bundled.ts';

let built: Promise<string> | undefined;

/** lfm's side as one script, since whoever uses lfm has no compiler in the process: that takes 50 MB. */
async function build(): Promise<string> {
  const outfile = join(ROOT, '.cache/bench/generate-lfm.mjs');
  await bundled('bench/generate-lfm.ts', outfile, { packages: 'external' });
  return outfile;
}

/** `cpu`: time of the process, for a machine that others use; with one thread, which waits for nobody. */
export type Clock = 'wall' | 'cpu';

export interface SideSettings {
  readonly clock: Clock;
  readonly threads: number;
  readonly contextLength: number;
  /** lfm's; absent: the rival. */
  readonly numerics?: string;
}

/** What a text gave: its tokens, and the time to each, in milliseconds. */
export interface TextAnswer {
  readonly ids: readonly number[];
  readonly times: readonly number[];
}

export class Side {
  readonly name: string;
  readonly isOurs: boolean;
  version = '';
  loadMs = 0;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  private constructor(name: string, script: string, path: string, settings: SideSettings) {
    this.name = name;
    this.isOurs = settings.numerics !== undefined;
    this.#child = spawn(process.execPath, [script, path, JSON.stringify(settings)], {
      cwd: ROOT,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Starts it and waits until its model is loaded. */
  static async start(name: string, path: string, settings: SideSettings): Promise<Side> {
    const script =
      settings.numerics === undefined ? 'bench/rivals/node-llama-cpp/serve.mjs' : await (built ??= build());
    const side = new Side(name, script, path, settings);
    const { version, loadMs } = await side.ask<{ version: string; loadMs: number }>({ name: 'about' });
    side.version = version;
    side.loadMs = loadMs;
    return side;
  }

  async ask<Answer>(command: { readonly name: string; readonly [option: string]: unknown }): Promise<Answer> {
    this.#child.stdin.write(`${JSON.stringify(command)}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`${this.name} ended before it answered "${command.name}".`);
    return JSON.parse(value) as Answer;
  }

  /** `tokens` continued by `count` likeliest ones; `goesOn`: what the last text held need not be computed again. */
  text(
    tokens: readonly number[],
    count: number,
    { goesOn = false, promptLookup = 0 }: { readonly goesOn?: boolean; readonly promptLookup?: number } = {},
  ): Promise<TextAnswer> {
    return this.ask({ name: 'text', tokens, count, goesOn, promptLookup });
  }

  /** Memory of the process (Linux): what no file stands behind, and all of it, mapped weights too. */
  async memory(): Promise<{ readonly anonymous: number; readonly resident: number }> {
    const status = await readFile(`/proc/${this.#child.pid}/status`, 'utf8').catch(() => '');
    const bytes = (key: string) => 1024 * Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? NaN);
    return { anonymous: bytes('RssAnon'), resident: bytes('VmRSS') };
  }

  end(): void {
    this.#child.stdin.end();
  }
}
