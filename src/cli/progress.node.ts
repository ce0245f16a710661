// One live line for work that takes over two seconds: how far it is and how long it will still take.
import { formatSeconds } from './format.node.ts';
import type { Io } from './io.node.ts';

/** How long work must be expected to take for a line to appear, and how often the line changes. */
const WORTH_MS = 2000;
const BETWEEN_MS = 100;
/** Less tells nothing of how long the rest takes. */
const TELLING_SHARE = 0.01;

export class Progress {
  readonly #stream: Io['stderr'];
  readonly #what: string;
  readonly #start: number;
  readonly #now: () => number;
  #shown = 0;

  constructor(stream: Io['stderr'], what: string, now: () => number = () => performance.now()) {
    this.#stream = stream;
    this.#what = what;
    this.#now = now;
    this.#start = now();
  }

  /** `share` done, from 0 to 1. Nothing is shown where nobody watches. */
  update(share: number): void {
    const now = this.#now();
    const passed = now - this.#start;
    const left = share >= TELLING_SHARE ? (passed / share) * (1 - share) : Infinity;
    const isLong = passed > WORTH_MS || (passed > BETWEEN_MS && passed + left > WORTH_MS);
    if (!this.#stream.isTTY || !isLong || now - this.#shown < BETWEEN_MS) return;
    this.#shown = now;
    const time = Number.isFinite(left) ? `, ${formatSeconds(left / 1000)} left` : '';
    this.#stream.write(`\r\u001b[K${this.#what}: ${Math.floor(100 * share)}%${time}`);
  }

  /** Takes the line away. */
  end(): void {
    if (this.#shown > 0) this.#stream.write('\r\u001b[K');
  }
}
