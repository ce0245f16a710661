// Examples held in memory: rows of named arrays, and batches of them. For sets that are small beside a corpus.
import { hashIntegers, permutation } from '../data/permutation.ts';
import { COUNTS, segmentsOf } from '../data/marks.ts';
import { LfmError } from '../tensor/error.ts';
import type { Batch } from './trainer.ts';
import { splitRows } from './trainer.ts';

export interface Examples {
  readonly count: number;
  /**
   * By name of a model's inputs, with `labels` and `weights` (how much each position counts; 0: not at all), row-major
   * [count, ...].
   */
  readonly arrays: Readonly<Record<string, Float32Array | Int32Array>>;
}

/**
 * Marked rows of `length` + 1 tokens as a batch: labels count where they are marked, all alike, and with `segments` documents
 * are told apart. Where none counts, all weights are 0.
 */
export function markedBatch(tokens: Int32Array, marks: Int32Array, length: number, segments: boolean): Batch {
  const { inputs, labels } = splitRows(tokens, length);
  const { inputs: own, labels: ahead } = splitRows(marks, length);
  const counting = ahead.reduce((sum, mark) => sum + (mark & COUNTS), 0);
  return {
    tokens: inputs,
    labels,
    weights: Float32Array.from(ahead, (mark) => (mark & COUNTS) / Math.max(counting, 1)),
    ...(segments && { segments: segmentsOf(own, length) }),
  };
}

/** Rows of them, in this order, as a batch; the weights add up to 1. Errors: `bad-input` for arrays that are no whole rows. */
export function batchOf({ count, arrays }: Examples, rows: readonly number[]): Batch {
  const batch: Record<string, Float32Array | Int32Array> = {};
  for (const [name, values] of Object.entries(arrays)) {
    const size = values.length / count;
    if (!Number.isInteger(size))
      throw new LfmError('bad-input', `"${name}" has ${values.length} elements, which are not ${count} equal rows.`);
    const length = rows.length * size;
    const found = values instanceof Float32Array ? new Float32Array(length) : new Int32Array(length);
    rows.forEach((row, at) => found.set(values.subarray(row * size, (row + 1) * size), at * size));
    batch[name] = found;
  }
  const { weights } = batch;
  if (weights instanceof Float32Array) {
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    batch['weights'] = weights.map((weight) => weight / total);
  }
  return batch;
}

/** Rows of batch number `index` (from 0) of `size`: the examples in a new order each time they run out. */
export function rowsOfBatch(count: number, size: number, index: number, seed: number): number[] {
  return Array.from({ length: size }, (_, at) => {
    const drawn = index * size + at;
    return permutation(count, hashIntegers(seed, Math.floor(drawn / count)))(drawn % count);
  });
}
