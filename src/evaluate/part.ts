// A measurement as items that are answered one block after another, so that what was answered can be kept and gone on from.

export interface BlockOptions {
  readonly signal?: AbortSignal | undefined;
  /** Hears of the share of the block that is done. */
  readonly onProgress: (share: number) => void;
}

/** What is measured of a model, with R the answer to an item: plain JSON. */
export interface Part<R = unknown> {
  /** As the command names it. */
  readonly name: string;
  readonly items: number;
  /** Items that are best answered together. */
  readonly block: number;
  /** An answer for each of these items, numbers from 0. */
  answer(items: readonly number[], options: BlockOptions): Promise<readonly R[]>;
  /** An answer as it was kept. Errors: those of zod. */
  read(kept: unknown): R;
  /** What all answers say, in the items' order. */
  result(answers: readonly R[]): PartResult;
}

/** A number with its standard error and the interval that holds the true one in 95 of 100 cases. */
export interface Estimate {
  readonly value: number;
  readonly standardError: number;
  readonly low: number;
  readonly high: number;
}

export interface PartResult {
  readonly items: number;
  /** By name, as lm_eval names them where it has them. */
  readonly metrics: Readonly<Record<string, Estimate>>;
  /** The metric that stands for all where one is asked for, and what it is for who knows nothing. */
  readonly main?: string;
  readonly chance?: number;
  /** What each item came to, for comparing models item by item: 1 where it was solved; of a text's rows nats, and `sizes` tokens. */
  readonly perItem: { readonly values: readonly number[]; readonly sizes?: readonly number[] };
  /** Further numbers, as tokens and bytes of a text. */
  readonly counts?: Readonly<Record<string, number>>;
}
