// Means of items with what is known of them from so many items only.
import type { Estimate } from './part.ts';

/** The normal distribution's two-sided 95% point. */
const Z = 1.959964;

/** The mean of values, and its standard error: their sample deviation over the root of their number, as lm_eval has it. */
export function meanOf(values: readonly number[]): { readonly mean: number; readonly standardError: number } {
  const count = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / count;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, standardError: count > 1 ? Math.sqrt(squares / (count - 1) / count) : NaN };
}

/** A share of items, with Wilson's interval (1927), which also holds near 0 and 1 and for few items. */
export function shareOf(hits: readonly boolean[]): Estimate {
  const { mean, standardError } = meanOf(hits.map(Number));
  const count = hits.length;
  const scale = 1 + Z ** 2 / count;
  const centre = (mean + Z ** 2 / (2 * count)) / scale;
  const reach = (Z / scale) * Math.sqrt((mean * (1 - mean)) / count + Z ** 2 / (4 * count ** 2));
  return { value: mean, standardError, low: Math.max(0, centre - reach), high: Math.min(1, centre + reach) };
}

/** With the normal distribution's interval. */
export function asEstimate(value: number, standardError: number): Estimate {
  return { value, standardError, low: value - Z * standardError, high: value + Z * standardError };
}

/** exp of an estimate: its interval through exp, its error to first order. */
export function exponentialOf({ value, standardError, low, high }: Estimate): Estimate {
  const top = Math.exp(value);
  return { value: top, standardError: top * standardError, low: Math.exp(low), high: Math.exp(high) };
}

/** exp of minus the mean of log-likelihoods. */
export function perplexityOf(logLikelihoods: readonly number[]): Estimate {
  const { mean, standardError } = meanOf(logLikelihoods.map((value) => -value));
  return exponentialOf(asEstimate(mean, standardError));
}

/**
 * Sum of `tops` over sum of `bottoms`, as nats a token over windows of a text: what windows have in common within them counts, as
 * they are the units that vary (the ratio estimator of survey sampling).
 */
export function ratioOf(tops: readonly number[], bottoms: readonly number[]): Estimate {
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const [count, below] = [tops.length, sum(bottoms)];
  const value = sum(tops) / below;
  const squares = sum(tops.map((top, i) => (top - value * (bottoms[i] ?? 0)) ** 2));
  const standardError = count > 1 ? Math.sqrt((squares * count) / (count - 1)) / below : NaN;
  return asEstimate(value, standardError);
}

export function scaled({ value, standardError, low, high }: Estimate, by: number): Estimate {
  return { value: value * by, standardError: standardError * by, low: low * by, high: high * by };
}

/** An estimate of what lies between 0 and 1, whose interval may not. */
export function asShare({ value, standardError, low, high }: Estimate): Estimate {
  return { value, standardError, low: Math.max(0, low), high: Math.min(1, high) };
}
