// What is left of a distribution to draw from: cuts by rank, by mass and by typicality, each without sorting all of it.

/** The first index of the largest logit. */
export function indexOfMost(logits: Float32Array): number {
  let best = 0;
  let most = logits[0] ?? -Infinity;
  for (let i = 1; i < logits.length; i++) {
    const logit = logits[i] as number;
    if (logit > most) [best, most] = [i, logit];
  }
  return best;
}

/** exp(-i / 64) down to where an exponential adds nothing to a sum of float64 that 1 is part of. */
const STEPS = 64;
const powers = Float64Array.from({ length: 64 * STEPS }, (_, i) => Math.exp(-i / STEPS));

/** exp(x) for x up to 0, within 1e-11 of it and 0 from -64 down: a table's entry times a polynomial, where Math.exp takes three times as long. */
export function power(x: number): number {
  if (x <= -64) return 0;
  const step = (x * -STEPS) | 0;
  const rest = x + step * (1 / STEPS);
  return (powers[step] as number) * (1 + rest * (1 + rest * (1 / 2 + rest * (1 / 6 + rest * (1 / 24)))));
}

/** The n-th largest value, by a heap of the n largest so far whose root is the least of them. */
export function nthLargest(values: Float32Array, n: number): number {
  const heap = values.slice(0, n);
  const sink = (from: number) => {
    const value = heap[from] ?? 0;
    let at = from;
    for (let child = 2 * at + 1; child < n; child = 2 * at + 1) {
      if (child + 1 < n && (heap[child + 1] ?? 0) < (heap[child] ?? 0)) child++;
      if ((heap[child] ?? 0) >= value) break;
      heap[at] = heap[child] ?? 0;
      at = child;
    }
    heap[at] = value;
  };
  for (let at = (n >> 1) - 1; at >= 0; at--) sink(at);
  for (let i = n; i < values.length; i++) {
    const value = values[i] ?? 0;
    if (value <= (heap[0] ?? 0)) continue;
    heap[0] = value;
    sink(0);
  }
  return heap[0] ?? -Infinity;
}

/**
 * Clears the weights of all but the fewest largest whose sum reaches `share` of `total`; at least one stays, and of equals
 * the first.
 */
export function keepNucleus(weights: Float64Array, total: number, share: number): void {
  // All weights below this bound together are less than the part to clear, so only the others need sorting: a few.
  // The factor is for rounding: where all are equal, all must pass.
  const bound = (0.999 * total * (1 - share)) / weights.length;
  let count = 0;
  for (let id = 0; id < weights.length; id++) if ((weights[id] as number) > bound) count++;
  const large = new Float64Array(count);
  count = 0;
  for (let id = 0; id < weights.length; id++) {
    const weight = weights[id] as number;
    if (weight > bound) large[count++] = weight;
  }
  large.sort();
  let at = large.length - 1;
  let sum = large[at] ?? 0;
  while (at > 0 && sum < share * total) sum += large[--at] ?? 0;
  const least = large[at] ?? 0;
  let equals = 0;
  for (let i = at; i < large.length && large[i] === least; i++) equals++;
  for (let id = 0; id < weights.length; id++) {
    const weight = weights[id] ?? 0;
    if (weight < least || (weight === least && equals-- <= 0)) weights[id] = 0;
  }
}

/**
 * Clears the weights of all but those whose surprise lies nearest the mean surprise, the entropy, as few as reach `share` of
 * `total` (Meister et al. 2022, arXiv 2202.00666); those as near as the last stay too, as in transformers.
 */
export function keepTypical(weights: Float64Array, total: number, share: number): void {
  let entropy = 0;
  for (const weight of weights) if (weight > 0) entropy -= (weight / total) * Math.log(weight / total);
  const distance = (weight: number) => Math.abs(-Math.log(weight / total) - entropy);
  const kept: { readonly weight: number; readonly far: number }[] = [];
  for (const weight of weights) if (weight > 0) kept.push({ weight, far: distance(weight) });
  kept.sort((a, b) => a.far - b.far);
  let at = 0;
  for (let sum = kept[0]?.weight ?? 0; at < kept.length - 1 && sum < share * total;) sum += kept[++at]?.weight ?? 0;
  const most = kept[at]?.far ?? Infinity;
  for (let id = 0; id < weights.length; id++) if (distance(weights[id] ?? 0) > most) weights[id] = 0;
}
