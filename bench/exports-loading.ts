// Loading a GGUF file and giving its first token, lfm beside node-llama-cpp: time, and anonymous memory at its peak and after.
import { spawn } from 'node:child_process';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { openGguf } from '../src/files/gguf.node.ts';
import { ROOT } from '../test/root.ts';

export interface Loading {
  readonly who: string;
  /** From before the file is opened to the first token, the library being loaded; the median of the rounds. */
  readonly firstTokenMs: number;
  /** Of the process from its start. */
  readonly processMs: number;
  /** Of all threads from the start to the first token: what other work on the machine moves least. */
  readonly cpuMs: number;
  readonly peakMB: number;
  readonly afterMB: number;
  /** Anonymous memory over the size of the file, and over that of its weights in float32. */
  readonly peakOfFile: number;
  readonly afterOfFile: number;
  readonly peakOfFloat32: number;
  readonly afterOfFloat32: number;
  /** The token that it gave. */
  readonly token: number;
}

const EVERY_MS = 4;
const PROMPT = [1, 504, 3575, 282, 4649, 314]; // "The capital of France is", after SmolLM2's <|im_start|>

interface Round {
  readonly firstTokenMs: number;
  readonly processMs: number;
  readonly cpuMs: number;
  readonly peak: number;
  readonly after: number;
  readonly token: number;
}

/** Rounds take turns, and the first of each, which warms the page cache, is left out. */
export async function measureLoading(path: string, rounds: number): Promise<Loading[]> {
  const asked = JSON.stringify({ prompts: [PROMPT], tokens: 1, threads: 2 });
  const commands: Readonly<Record<string, readonly string[]>> = {
    lfm: ['--expose-gc', 'bench/first-token.mjs', path, asked],
    'node-llama-cpp': ['bench/rivals/node-llama-cpp/generate.mjs', path, asked],
  };
  const found: Record<string, Round[]> = {};
  for (let round = 0; round <= rounds; round++)
    for (const [who, words] of Object.entries(commands)) (found[who] ??= []).push(await measure(words));
  const { size } = await stat(path);
  const { tensors, close } = await openGguf(path);
  await close();
  const wide = [...tensors.values()].reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 4), 0);
  return Object.entries(found).map(([who, [, ...kept]]) => {
    const of = (pick: (round: Round) => number) => median(kept.map(pick));
    const [peak, after] = [of((round) => round.peak), of((round) => round.after)];
    return {
      who,
      firstTokenMs: Math.round(of((round) => round.firstTokenMs)),
      processMs: Math.round(of((round) => round.processMs)),
      cpuMs: Math.round(of((round) => round.cpuMs)),
      peakMB: Math.round(peak / 1e6),
      afterMB: Math.round(after / 1e6),
      peakOfFile: Number((peak / size).toFixed(2)),
      afterOfFile: Number((after / size).toFixed(2)),
      peakOfFloat32: Number((peak / wide).toFixed(2)),
      afterOfFloat32: Number((after / wide).toFixed(2)),
      token: kept[0]?.token ?? -1,
    };
  });
}

/** Runs a process that prints a line of JSON once it has its token, and ends when its input does. */
function measure(words: readonly string[]): Promise<Round> {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const child = spawn(process.execPath, words, { cwd: join(ROOT), stdio: ['pipe', 'pipe', 'inherit'] });
    let [peak, after, out, processMs] = [0, 0, '', 0];
    const watch = setInterval(
      () => void anonymous(child.pid).then((bytes) => (peak = Math.max(peak, bytes))),
      EVERY_MS,
    );
    child.stdout.on('data', (chunk) => {
      out += String(chunk);
      if (!out.endsWith('\n') || processMs > 0) return;
      processMs = performance.now() - started;
      // A moment for what is freed to go back.
      setTimeout(() => {
        void anonymous(child.pid).then((bytes) => {
          after = bytes;
          child.stdin.end();
        });
      }, 1000);
    });
    child.on('error', reject);
    child.on('exit', (code) => {
      clearInterval(watch);
      const line = out.trim().split('\n').at(-1);
      if (code !== 0 || !line) return reject(new Error(`${words.join(' ')} ended with code ${code}.`));
      const { firstTokenMs, cpuMs, tokens } = JSON.parse(line) as Pick<Round, 'firstTokenMs' | 'cpuMs'> & {
        tokens: number[][];
      };
      resolve({ firstTokenMs, processMs, cpuMs, peak, after, token: tokens[0]?.[0] ?? -1 });
    });
  });
}

/** Bytes of memory of a process that no file stands behind (Linux). */
async function anonymous(pid: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return Number(/^RssAnon:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return ((sorted[Math.floor((sorted.length - 1) / 2)] ?? 0) + (sorted[Math.floor(sorted.length / 2)] ?? 0)) / 2;
}
