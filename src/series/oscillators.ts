// Damped oscillators observed at random times: a series that means nothing without the time between its values.
import { Random } from '../tensor/index.ts';

export interface Oscillations {
  readonly count: number;
  readonly length: number;
  /** [count, length]: A exp(-g t) cos(w t + phase), with noise of a hundredth. */
  readonly values: Float32Array;
  /** [count, length]: time since the observation before, in units of the fastest oscillator's radian; 0 at the first. */
  readonly timeSteps: Float32Array;
  /** [count]: the logarithm of w, from -1 (slowest) to 1 (fastest), uniform: its mean squared deviation is 1/3. */
  readonly frequencies: Float32Array;
}

/** Angular frequencies from 1/4 to 1. */
const SLOWEST = 0.25;

/** Steps are log-uniform between 0.1 and 1.6. The same seed gives the same series. */
export function dampedOscillators(count: number, length: number, seed: number): Oscillations {
  const random = new Random(seed);
  const between = (low: number, high: number) => low + (high - low) * random.uniform();
  const [values, timeSteps] = [new Float32Array(count * length), new Float32Array(count * length)];
  const frequencies = Float32Array.from({ length: count }, () => between(-1, 1));
  for (let row = 0; row < count; row++) {
    const w = SLOWEST ** ((1 - (frequencies[row] ?? 0)) / 2);
    const [amplitude, phase, damping] = [between(0.5, 1.5), between(0, 2 * Math.PI), between(0, 0.02)];
    let time = 0;
    for (let at = row * length; at < (row + 1) * length; at++) {
      const step = at === row * length ? 0 : 0.1 * 16 ** random.uniform();
      time += step;
      timeSteps[at] = step;
      values[at] = amplitude * Math.exp(-damping * time) * Math.cos(w * time + phase) + 0.01 * random.normal();
    }
  }
  return { count, length, values, timeSteps, frequencies };
}
