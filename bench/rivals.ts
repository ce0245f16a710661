// Rivals that benchmarks install for themselves.
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '../test/root.ts';

const run = promisify(execFile);

export interface Rival {
  readonly command?: string;
  readonly skipped?: string;
}

/** Installs node-llama-cpp unless it is there in its wanted version. */
export async function prepareLlama(): Promise<Rival> {
  const folder = join(ROOT, 'bench/rivals/node-llama-cpp');
  try {
    const installed = await readFile(join(folder, 'node_modules/.package-lock.json'), 'utf8').catch(() => '');
    const wanted = await readFile(join(folder, 'package-lock.json'), 'utf8');
    const isThere = installed.includes(
      `${/"node_modules\/node-llama-cpp": \{\s+"version": "[\d.]+"/.exec(wanted)?.[0]}`,
    );
    if (!isThere) {
      console.error('Installing node-llama-cpp under bench/rivals (about 700 MB) …');
      await run('npm', ['ci', '--prefer-offline'], { cwd: folder });
    }
    return { command: process.execPath };
  } catch (error) {
    return { skipped: `node-llama-cpp could not be installed: ${lastLine(error)}` };
  }
}

/** What an error has to say, in a line. */
export function lastLine(error: unknown): string {
  const { stderr = '' } = error as { stderr?: string };
  return stderr.trim().split('\n').at(-1) || String(error);
}
