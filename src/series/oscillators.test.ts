import { expect, it } from 'vitest';
import { dampedOscillators } from './oscillators.ts';

it('is the same for a seed, within its bounds, and follows the equation of its oscillator', () => {
  const found = dampedOscillators(200, 48, 3);
  expect(dampedOscillators(200, 48, 3)).toEqual(found);
  expect(dampedOscillators(200, 48, 4)).not.toEqual(found);
  const mean = found.frequencies.reduce((sum, f) => sum + f, 0) / 200;
  const square = found.frequencies.reduce((sum, f) => sum + f * f, 0) / 200;
  expect(Math.abs(mean)).toBeLessThan(0.15);
  expect(Math.abs(square - 1 / 3)).toBeLessThan(0.08);
  for (let row = 0; row < 200; row++) {
    const steps = found.timeSteps.subarray(48 * row, 48 * (row + 1));
    expect(steps[0]).toBe(0);
    expect(steps.subarray(1).every((step) => step >= 0.099 && step <= 1.601)).toBe(true);
    // Without damping, three values at known times fix A cos and A sin: the least-squares error of the true frequency is small.
    const w = 4 ** (((found.frequencies[row] ?? 0) - 1) / 2);
    expect(misfit(found.values.subarray(48 * row, 48 * (row + 1)), steps, w)).toBeLessThan(0.12);
  }
  const [values, steps] = [found.values.subarray(0, 48), found.timeSteps.subarray(0, 48)];
  expect(misfit(values, steps, 2)).toBeGreaterThan(0.3);
});

/** Share of the series' power that the best a cos(w t) + b sin(w t) leaves, over the first 16 values. */
function misfit(values: Float32Array, steps: Float32Array, w: number): number {
  let [time, cc, cs, ss, cv, sv, vv] = [0, 0, 0, 0, 0, 0, 0];
  for (let at = 0; at < 16; at++) {
    time += steps[at] ?? 0;
    const [c, s, v] = [Math.cos(w * time), Math.sin(w * time), values[at] ?? 0];
    [cc, cs, ss, cv, sv, vv] = [cc + c * c, cs + c * s, ss + s * s, cv + c * v, sv + s * v, vv + v * v];
  }
  const determinant = cc * ss - cs * cs;
  const [a, b] = [(cv * ss - sv * cs) / determinant, (sv * cc - cv * cs) / determinant];
  return 1 - (a * cv + b * sv) / vv;
}
