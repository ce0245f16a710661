// Counts what runs or waits, and refuses more than is allowed: a queue that grew without end would answer nobody.
import { RequestError } from './errors.ts';

export class Gate {
  readonly #most: number;
  #pending = 0;
  #isClosed = false;
  #idle: (() => void)[] = [];

  constructor(most: number) {
    this.#most = most;
  }

  get pending(): number {
    return this.#pending;
  }

  /** Whether it lets nobody in any more. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Takes places for `texts`; call what comes back once they are done, as often as you like. Errors: `queue-full` (429), `shutting-down` (503). */
  enter(texts: number): () => void {
    if (this.#isClosed)
      throw new RequestError('shutting-down', 'The server is shutting down.', { status: 503, retryAfter: 5 });
    if (this.#pending + texts > this.#most) {
      throw new RequestError(
        'queue-full',
        `${this.#pending} of at most ${this.#most} texts are under way, and this request asks for ${texts}: ask again later.`,
        { status: 429, retryAfter: 1 },
      );
    }
    this.#pending += texts;
    let left = false;
    return () => {
      if (left) return;
      left = true;
      this.#pending -= texts;
      if (this.#pending === 0) for (const wake of this.#idle.splice(0)) wake();
    };
  }

  /** Lets nobody in any more; answers once all are out. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#pending > 0) await new Promise<void>((wake) => this.#idle.push(wake));
  }
}
