// How fast recurrences forget when they begin to learn, as Mamba 2 sets it (Dao and Gu 2024, arXiv 2405.21060).
import { LfmError } from '../tensor/error.ts';

/** Far above any model: these values are made when a model is defined, so a hostile file must not say how many. */
const MOST_HEADS = 2 ** 16;

/** A value a head. Errors: `bad-heads`. */
function perHead(heads: number, value: (head: number) => number): number[] {
  if (Number.isInteger(heads) && heads >= 1 && heads <= MOST_HEADS)
    return Array.from({ length: heads }, (_, head) => value(head));
  throw new LfmError('bad-heads', `A recurrence of ${heads} heads: expected a whole number from 1 to ${MOST_HEADS}.`);
}

/** Logarithms of 1, 2, … : head h keeps exp(-(h + 1) Δ) of its state. */
export function decayRates(heads: number): number[] {
  return perHead(heads, (head) => Math.log(head + 1));
}

/** Biases whose softplus runs over time steps from 0.001 to 0.1, evenly in their logarithms. */
export function timeStepBiases(heads: number): number[] {
  return perHead(heads, (head) => {
    const step = 0.001 * 100 ** (heads > 1 ? head / (heads - 1) : 0.5);
    return Math.log(Math.expm1(step));
  });
}
