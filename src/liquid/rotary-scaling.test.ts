// Stretched rotary positions: the formulas at their corners (models are compared with transformers in generate/parity).
import { describe, expect, it } from 'vitest';
import { rotaryFrequencies } from './rotary-scaling.ts';

const plain = { width: 8, theta: 10_000 };
const unscaled = rotaryFrequencies(plain, 1);

describe('rotary frequencies', () => {
  it('fall by powers of theta, and are 0 for pairs that do not turn', () => {
    expect(unscaled).toEqual([1, 0.1, 0.01, 0.001].map((value) => expect.closeTo(value, 12)));
    expect(rotaryFrequencies({ ...plain, pairs: 2 }, 1).slice(2)).toEqual([0, 0]);
  });

  it('linear divides all', () => {
    const found = rotaryFrequencies({ ...plain, scaling: { type: 'linear', factor: 4 } }, 1);
    expect(found).toEqual(unscaled.map((value) => value / 4));
  });

  it('llama3 keeps fast pairs, divides slow ones, and passes smoothly between', () => {
    const scaling = {
      type: 'llama3',
      factor: 8,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPositionEmbeddings: 128,
    } as const;
    const [a = 0, b = 0, c = 0, d = 0] = rotaryFrequencies({ ...plain, scaling }, 1);
    // Turns over 128 positions: 20, 2.04, 0.2, 0.02.
    expect([a, c, d]).toEqual([1, 0.01 / 8, 0.001 / 8].map((value) => expect.closeTo(value, 12)));
    const kept = ((128 * 0.1) / (2 * Math.PI) - 1) / 3;
    expect(b).toBeCloseTo((1 - kept) * (0.1 / 8) + kept * 0.1, 12);
  });

  it('longrope takes other factors beyond the original context, one a pair', () => {
    const scaling = {
      type: 'longrope',
      shortFactor: [1, 1, 2, 2],
      longFactor: [1, 2, 4, 8],
      attentionFactor: 1.2,
      originalMaxPositionEmbeddings: 16,
    } as const;
    const at = (reach: number) => rotaryFrequencies({ ...plain, scaling }, reach).map((v, i) => (unscaled[i] ?? 0) / v);
    expect(at(16)).toEqual([1, 1, 2, 2].map((value) => expect.closeTo(value, 9)));
    expect(at(17)).toEqual([1, 2, 4, 8].map((value) => expect.closeTo(value, 9)));
    expect(() => rotaryFrequencies({ width: 6, theta: 10, scaling }, 17)).toThrow(
      expect.objectContaining({ code: 'bad-rotary' }),
    );
  });
});
