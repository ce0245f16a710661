// metrics.jsonl: a line a step and a line for each held-out measure; a resumed run goes on where its checkpoint stood.
import { closeSync, fstatSync, fsyncSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { LfmError } from '../tensor/error.ts';
import type { HeldOutReport } from './session.ts';
import type { StepReport } from './loop.ts';

export interface StepLine {
  readonly kind: 'step';
  readonly step: number;
  readonly loss: number;
  readonly learningRate: number;
  readonly norm: number;
  readonly seconds: number;
  readonly tokens: number;
  /** What the objective tells besides; absent where that is nothing. */
  readonly metrics?: Readonly<Record<string, number>>;
}

export type HeldOutLine = { readonly kind: 'heldOut' } & HeldOutReport;
export type MetricsLine = StepLine | HeldOutLine;

export function stepLine({ step, loss, learningRate, norm, seconds, tokens, metrics }: StepReport): StepLine {
  const rest = Object.keys(metrics).length > 0 ? { metrics } : {};
  return { kind: 'step', step, loss, learningRate, norm, seconds: Number(seconds.toPrecision(6)), tokens, ...rest };
}

/** Writes at once, so that a killed run leaves all its lines. */
export class MetricsLog {
  readonly #path: string;
  readonly #file: number;
  #bytes: number;

  /** Keeps the first `keepBytes` bytes of an older log. Errors: `write-failed`, `disk-full`. */
  constructor(path: string, keepBytes: number) {
    this.#path = path;
    this.#file = this.#guard(() => openSync(path, 'a'));
    this.#bytes = this.#guard(() => Math.min(keepBytes, fstatSync(this.#file).size));
    this.#guard(() => ftruncateSync(this.#file, this.#bytes));
  }

  append(line: MetricsLine): void {
    const bytes = new TextEncoder().encode(`${JSON.stringify(line)}\n`);
    for (let done = 0; done < bytes.length;) done += this.#guard(() => writeSync(this.#file, bytes, done));
    this.#bytes += bytes.length;
  }

  /** The log's length in bytes, once all of it is on the disk. */
  flush(): number {
    this.#guard(() => fsyncSync(this.#file));
    return this.#bytes;
  }

  close(): void {
    closeSync(this.#file);
  }

  #guard<T>(work: () => T): T {
    try {
      return work();
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException;
      const full = code === 'ENOSPC' || code === 'EDQUOT';
      throw new LfmError(
        full ? 'disk-full' : 'write-failed',
        `cannot write ${this.#path}: ${full ? 'the disk is full' : message}`,
        { cause },
      );
    }
  }
}

/** The lines of a log; what a kill cut short at its end is left out. */
export async function readMetrics(path: string): Promise<MetricsLine[]> {
  const text = await readFile(path, 'utf8').catch(() => '');
  return text.split('\n').flatMap((line) => {
    try {
      return line ? [JSON.parse(line) as MetricsLine] : [];
    } catch {
      return [];
    }
  });
}
