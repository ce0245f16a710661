// How many steps fit into a time, on a machine that is not always as fast.
import { describe, expect, it } from 'vitest';
import { Deadline } from './budget.ts';

/** When a run of `most` steps ends that asks every ten, where step number n takes `seconds(n)`. */
function endOf(deadline: Deadline, most: number, begin: number, seconds: (step: number) => number) {
  let [at, steps] = [begin, most];
  for (let step = 1; step <= steps; step++) {
    at += seconds(step);
    if (step === 3 || step % 10 === 0) steps = deadline.steps(step, most, at);
    if (step >= steps) return { at, step };
  }
  throw new Error('expected an end');
}

describe('Deadline', () => {
  const open = () => new Deadline(100, 600, 20, 130); // ends at 100 + 552 - 20

  it('fills the time, and no more', () => {
    const { at, step } = endOf(open(), 1e6, 130, () => 2);
    expect(at).toBeGreaterThan(627);
    expect(at).toBeLessThanOrEqual(632);
    expect(step).toBe(251);
  });

  it.each<[string, (step: number) => number]>([
    ['becomes four times slower', (step) => (step < 80 ? 2 : 8)],
    ['becomes four times faster', (step) => (step < 30 ? 8 : 2)],
    ['has a slow first step', (step) => (step === 1 ? 30 : 2)],
  ])('ends in time where the machine %s', (_, seconds) => {
    const { at } = endOf(open(), 1e6, 130, seconds);
    expect(at).toBeGreaterThan(602);
    expect(at).toBeLessThan(642);
  });

  it('leaves a run as long as it is where that fits, and ends at once where the time is over', () => {
    expect(endOf(open(), 57, 130, () => 2).step).toBe(57);
    expect(endOf(open(), 57, 130, () => 400).step).toBe(3);
  });
});
