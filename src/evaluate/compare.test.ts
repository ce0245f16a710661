// Comparisons of two models, against what resampling the items says.
import { describe, expect, it } from 'vitest';
import { Random } from '../tensor/index.ts';
import { perplexityRatio, shareAboveChance } from './compare.ts';
import type { PartResult } from './part.ts';
import { meanOf } from './statistics.ts';

const random = new Random(3);
const resultOf = (values: readonly number[], chance = 0, sizes?: readonly number[]): PartResult => ({
  items: values.length,
  metrics: {},
  chance,
  perItem: { values, ...(sizes && { sizes }) },
});

/** Items that the teacher solves with some probability and the student mostly where the teacher does. */
function drawn(count: number, solved: number) {
  const teacher = Array.from({ length: count }, () => Number(random.uniform() < solved));
  const student = teacher.map((value) => (random.uniform() < 0.85 ? value : 1 - value));
  return [student, teacher] as const;
}

/** The deviation of a number over samples of the items with replacement. */
function deviation(count: number, of: (pick: readonly number[]) => number): number {
  const found = Array.from({ length: 400 }, () =>
    of(Array.from({ length: count }, () => Math.floor(random.uniform() * count))),
  );
  return meanOf(found).standardError * Math.sqrt(found.length);
}

describe('a share above chance', () => {
  it('is of means, and as sure as resampling says', () => {
    const [student, teacher] = drawn(500, 0.6);
    const { share, ...means } = shareAboveChance([[resultOf(student, 0.25), resultOf(teacher, 0.25)]]);
    expect(means.student).toBeCloseTo(meanOf(student).mean - 0.25, 12);
    expect(share.value).toBeCloseTo(means.student / means.teacher, 12);
    const at = (values: readonly number[], pick: readonly number[]) => meanOf(pick.map((i) => values[i] ?? 0)).mean;
    const resampled = deviation(500, (pick) => (at(student, pick) - 0.25) / (at(teacher, pick) - 0.25));
    expect(share.standardError / resampled).toBeGreaterThan(0.85);
    expect(share.standardError / resampled).toBeLessThan(1.15);
  });

  it('of several tasks is that of their means', () => {
    const pairs = [0.5, 0.7].map((solved) => drawn(300, solved).map((values) => resultOf(values, 0.25)));
    const both = pairs.flatMap(([student, teacher]) => (student && teacher ? [[student, teacher] as const] : []));
    const { share, student, teacher } = shareAboveChance(both);
    const single = both.map((pair) => shareAboveChance([pair]));
    expect(student).toBeCloseTo(meanOf(single.map((one) => one.student)).mean, 12);
    expect(share.value).toBeCloseTo(student / teacher, 12);
    expect(share.standardError).toBeLessThan(Math.max(...single.map((one) => one.share.standardError)));
  });

  it('needs the same items', () => {
    expect(() => shareAboveChance([[resultOf([1, 0]), resultOf([1])]])).toThrow('same items');
  });
});

describe('a ratio of perplexities', () => {
  const sizes = Array.from({ length: 200 }, () => 50 + Math.floor(random.uniform() * 100));
  const teacher = sizes.map((size) => size * (2.5 + random.uniform()));
  const student = teacher.map((nats, i) => nats + (sizes[i] ?? 0) * (0.02 + 0.05 * (random.uniform() - 0.5)));

  it('is of the same tokens, surer than the perplexities themselves', () => {
    const { value, low, high } = perplexityRatio([resultOf(student, 0, sizes), resultOf(teacher, 0, sizes)]);
    const total = (values: readonly number[]) => values.reduce((sum, one) => sum + one, 0);
    expect(value).toBeCloseTo(Math.exp((total(student) - total(teacher)) / total(sizes)), 12);
    expect(high - low).toBeLessThan(0.01);
    const other = sizes.map((size, i) => size + (i % 2));
    expect(() => perplexityRatio([resultOf(student, 0, sizes), resultOf(teacher, 0, other)])).toThrow('other tokens');
  });
});
