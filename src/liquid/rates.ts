// How fast recurrences forget when they begin to learn, as Mamba 2 sets it (Dao and Gu 2024, arXiv 2405.21060).

/** Logarithms of 1, 2, … : head h keeps exp(-(h + 1) Δ) of its state. */
export function decayRates(heads: number): number[] {
  return Array.from({ length: heads }, (_, head) => Math.log(head + 1));
}

/** Biases whose softplus runs over time steps from 0.001 to 0.1, evenly in their logarithms. */
export function timeStepBiases(heads: number): number[] {
  return Array.from({ length: heads }, (_, head) => {
    const step = 0.001 * 100 ** (heads > 1 ? head / (heads - 1) : 0.5);
    return Math.log(Math.expm1(step));
  });
}
