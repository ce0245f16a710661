// Choices from lists and ranges, each of one random number.
import type { Random } from '../../tensor/index.ts';

/** A whole number from `from` to `to`. */
export function whole(random: Random, from: number, to: number): number {
  return from + Math.floor(random.uniform() * (to - from + 1));
}

/** One of a list that is not empty. */
export function pick<T>(random: Random, list: readonly T[]): T {
  return list[whole(random, 0, list.length - 1)] as T;
}
