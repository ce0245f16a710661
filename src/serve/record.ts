// What is written down of a request: never its text, nor anything of it that was not checked.
import type { Completion } from '../generate/reply.ts';

/** One line of the log, and what the metrics count. Times in milliseconds. */
export interface LogEntry {
  readonly time: string;
  readonly id: string;
  readonly method: string;
  /** The pattern of the path; `*` for what is not served. */
  readonly route: string;
  readonly status: number;
  readonly ms: number;
  readonly model?: string;
  readonly stream?: boolean;
  readonly promptTokens?: number;
  readonly cachedTokens?: number;
  readonly completionTokens?: number;
  readonly firstTokenMs?: number;
  /** `cancelled`: the client left, or was cut off. */
  readonly finish?: string;
  readonly error?: string;
}

const round = (ms: number) => Math.round(ms * 100) / 100;

export class RequestRecord {
  readonly id = `req_${crypto.randomUUID().replaceAll('-', '')}`;
  readonly #start = performance.now();
  readonly #method: string;
  readonly #write: (entry: LogEntry) => void;
  #firstTokenMs: number | undefined;
  #isWritten = false;
  model: string | undefined;
  /** The answer goes on after its handler has returned; whoever streams it ends the record. */
  isStreamed = false;
  #usage: { promptTokens: number; cachedTokens: number; completionTokens: number } | undefined;
  #finish: string | undefined;

  constructor(method: string, write: (entry: LogEntry) => void) {
    this.#method = method;
    this.#write = write;
  }

  /** Milliseconds since the request came. */
  get ms(): number {
    return performance.now() - this.#start;
  }

  get firstTokenMs(): number | undefined {
    return this.#firstTokenMs;
  }

  sawToken(): void {
    this.#firstTokenMs ??= this.ms;
  }

  sawUsage(usage: Completion['usage'], finish?: string): void {
    this.#usage = usage;
    this.#finish = finish;
  }

  end(route: string, status: number, error?: string): void {
    if (this.#isWritten) return;
    this.#isWritten = true;
    this.#write({
      time: new Date().toISOString(),
      id: this.id,
      method: this.#method,
      route,
      status,
      ms: round(this.ms),
      ...(this.model !== undefined && { model: this.model }),
      ...(this.isStreamed && { stream: true }),
      ...this.#usage,
      ...(this.#firstTokenMs !== undefined && { firstTokenMs: round(this.#firstTokenMs) }),
      ...(this.#finish !== undefined && { finish: this.#finish }),
      ...(error !== undefined && { error }),
    });
  }
}
