// The sampler against cases worked out by hand, its own definitions computed the slow way, and counts of many draws.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Random } from '../tensor/index.ts';
import { power } from './cuts.ts';
import type { SamplingOptions } from './sampler.ts';
import { Sampler } from './sampler.ts';

/** No cut, so that a test turns on one thing. */
const plain = { temperature: 1, minP: 0, seed: 1 };

/** How often each token comes up, as a share. */
function shares(logits: readonly number[], options: SamplingOptions, draws = 4000): number[] {
  const sampler = new Sampler({ ...plain, ...options });
  const counts = logits.map(() => 0);
  for (let i = 0; i < draws; i++) {
    const { id } = sampler.sample(Float32Array.from(logits));
    counts[id] = (counts[id] ?? 0) + 1;
  }
  return counts.map((count) => count / draws);
}

/** Tokens that come up at all. */
function support(logits: readonly number[], options: SamplingOptions): number[] {
  return shares(logits, options).flatMap((share, id) => (share > 0 ? [id] : []));
}

/** Which tokens the definitions keep, by sorting everything. */
function keptSlowly(
  logits: Float32Array,
  { temperature = 1, topK = 0, topP = 1, minP = 0 }: SamplingOptions,
): Set<number> {
  const order = [...logits.keys()].sort((a, b) => (logits[b] ?? 0) - (logits[a] ?? 0) || a - b);
  const most = logits[order[0] ?? 0] ?? 0;
  const kth = topK > 0 ? (logits[order[Math.min(topK, order.length) - 1] ?? 0] ?? 0) : -Infinity;
  const first = order.filter((id) => (logits[id] ?? 0) >= kth);
  const weight = (id: number) => Math.exp(((logits[id] ?? 0) - most) / temperature);
  const total = first.reduce((sum, id) => sum + weight(id), 0);
  const kept = new Set<number>();
  let before = 0;
  for (const id of first) {
    if ((before < topP * total || kept.size === 0) && weight(id) >= minP) kept.add(id);
    before += weight(id);
  }
  return kept;
}

/** Logits with these probabilities. */
function logitsOf(...probabilities: number[]): number[] {
  return probabilities.map((probability) => Math.log(probability) + 3);
}

describe('temperature', () => {
  it('0 takes the likeliest, the first of equals', () => {
    expect(new Sampler({ temperature: 0 }).sample(Float32Array.of(1, 5, -2, 5)).id).toBe(1);
  });

  it('1 draws in proportion to the probabilities', () => {
    const found = shares(logitsOf(0.5, 0.3, 0.2), {});
    [0.5, 0.3, 0.2].forEach((expected, id) => expect(Math.abs((found[id] ?? 0) - expected)).toBeLessThan(0.03));
  });

  it('divides the logits', () => {
    // At 0.5 probabilities are squared: 0.6² : 0.4² = 9 : 4.
    expect(Math.abs((shares(logitsOf(0.6, 0.4), { temperature: 0.5 })[0] ?? 0) - 9 / 13)).toBeLessThan(0.03);
    expect(Math.abs((shares(logitsOf(0.9, 0.1), { temperature: 1000 })[0] ?? 0) - 0.5)).toBeLessThan(0.03);
    expect(support(logitsOf(0.6, 0.4), { temperature: 1e-30 })).toEqual([0]);
  });
});

describe('cuts', () => {
  const logits = logitsOf(0.05, 0.4, 0.3, 0.2, 0.05);
  it('top-k keeps the k likeliest, and ties with the last', () => {
    expect(support(logits, { topK: 2 })).toEqual([1, 2]);
    expect(support(logits, { topK: 4 })).toEqual([0, 1, 2, 3, 4]);
    expect(support(logits, { topK: 100 })).toEqual([0, 1, 2, 3, 4]);
  });

  it('top-p keeps the fewest that reach the sum, one at least', () => {
    expect(support(logits, { topP: 0.39 })).toEqual([1]);
    expect(support(logits, { topP: 0.41 })).toEqual([1, 2]);
    expect(support(logits, { topP: 0.71 })).toEqual([1, 2, 3]);
    expect(support(logits, { topP: 0 })).toEqual([1]);
    expect(support([2, 2, 2, 2], { topP: 0.5 })).toEqual([0, 1]);
    expect(support([2, 2, 2, 2], { topP: 0 })).toEqual([0]);
  });

  it('top-p counts what top-k left', () => {
    // Of 0.4 and 0.3 the first is 0.57.
    expect(support(logits, { topK: 2, topP: 0.55 })).toEqual([1]);
    expect(support(logits, { topK: 2, topP: 0.6 })).toEqual([1, 2]);
  });

  it('min-p keeps what reaches a share of the likeliest', () => {
    expect(support(logits, { minP: 0.49 })).toEqual([1, 2, 3]);
    expect(support(logits, { minP: 0.51 })).toEqual([1, 2]);
    expect(support(logits, { minP: 1 })).toEqual([1]);
  });

  it('agrees with sorting everything, on a large vocabulary', () => {
    const random = new Random(11);
    const large = Float32Array.from({ length: 5000 }, () => 3 * random.normal());
    const cases = [
      { topK: 40 },
      { topP: 0.3 },
      { topK: 500, topP: 0.7, temperature: 1.5 },
      { topP: 0.9, minP: 0.02 },
      { topK: 3, topP: 0.99, minP: 0.1 },
    ];
    for (const options of cases) {
      const kept = keptSlowly(large, options);
      const found = new Set<number>();
      const sampler = new Sampler({ ...plain, ...options });
      for (let draw = 0; draw < 300; draw++) found.add(sampler.sample(large.slice()).id);
      expect(
        [...found].filter((id) => !kept.has(id)),
        JSON.stringify(options),
      ).toEqual([]);
      if (kept.size <= 3) expect(found.size).toBe(kept.size);
    }
  });
});

describe('transformers', () => {
  const path = new URL('../../test/fixtures/sampling.json', import.meta.url);
  const oracle: {
    logits: number[];
    context: number[];
    cases: { options: SamplingOptions; probabilities: number[] }[];
  } = JSON.parse(readFileSync(path, 'utf8'));

  it.each(oracle.cases.map((one) => [JSON.stringify(one.options), one] as const))(
    'leaves the same distribution under %s',
    (_title, { options, probabilities }) => {
      const counts = oracle.logits.map(() => 0);
      const draws = 3000;
      for (let i = 0; i < draws; i++) {
        // A sampler of its own for each draw: the text does not grow.
        const sampler = new Sampler({ ...options, seed: i }, oracle.context);
        const { id } = sampler.sample(Float32Array.from(oracle.logits));
        counts[id] = (counts[id] ?? 0) + 1;
      }
      for (const [id, probability] of probabilities.entries()) {
        const share = (counts[id] ?? 0) / draws;
        if (probability === 0) expect(share, `token ${id}`).toBe(0);
        else expect(Math.abs(share - probability), `token ${id}`).toBeLessThan(5 * Math.sqrt(0.25 / draws));
        if (probability > 0.005) expect(share, `token ${id}`).toBeGreaterThan(0);
      }
    },
  );
});

describe('presence and frequency penalties', () => {
  it('are taken off what was generated, once and by count', () => {
    const draw = (options: SamplingOptions, context: number[] = []) => {
      const sampler = new Sampler({ temperature: 0, ...options }, context);
      return [1, 2, 3, 4].map(() => sampler.sample(Float32Array.of(3, 2.4, 0)).id);
    };
    // 3 - 1 < 2.4, then 2.4 - 1 < 2, and no more is taken off.
    expect(draw({ presencePenalty: 1 })).toEqual([0, 1, 0, 0]);
    // 3, 2.4, then 2 against 1.4, then 1 against 1.4.
    expect(draw({ frequencyPenalty: 1 })).toEqual([0, 1, 0, 1]);
    // The prompt does not count.
    expect(draw({ presencePenalty: 1, frequencyPenalty: 1 }, [0, 0])[0]).toBe(0);
    expect(draw({ presencePenalty: -1 })).toEqual([0, 0, 0, 0]);
  });
});

describe('log-probabilities', () => {
  it('name the likeliest tokens as the model has them, whatever is penalised', () => {
    const sampler = new Sampler({ temperature: 0, topLogprobs: 2, logitBias: { 1: -100 } });
    const { id, top, logprob } = sampler.sample(Float32Array.from(logitsOf(0.2, 0.5, 0.3)));
    expect(id).toBe(2);
    expect(top?.map((one) => one.id)).toEqual([1, 2]);
    expect(top?.[0]?.logprob).toBeCloseTo(Math.log(0.5), 5);
    expect(logprob).toBeCloseTo(Math.log(0.3), 5);
    expect(top?.[1]?.logprob).toBe(logprob);
  });
});

it('powers are exponentials', () => {
  let worst = 0;
  for (let x = 0; x > -64; x -= 0.0007) worst = Math.max(worst, Math.abs(power(x) / Math.exp(x) - 1));
  expect(worst).toBeLessThan(1e-11);
  expect([0, -64, -1e30, -Infinity, NaN].map(power)).toEqual([1, 0, 0, 0, NaN]);
});

describe('repetition penalty', () => {
  it('divides positive and multiplies negative logits of tokens in the text, once each', () => {
    // 3 / 1.5 = 2 < 2.5; and -1 * 1.5 = -1.5 < -1.4.
    expect(new Sampler({ temperature: 0, repetitionPenalty: 1.5 }, [0, 0]).sample(Float32Array.of(3, 2.5)).id).toBe(1);
    expect(new Sampler({ temperature: 0, repetitionPenalty: 1.5 }, [0]).sample(Float32Array.of(-1, -1.4)).id).toBe(1);
    expect(new Sampler({ temperature: 0, repetitionPenalty: 1.5 }, [0, 0]).sample(Float32Array.of(3, 1.9)).id).toBe(0);
  });

  it('counts what was generated', () => {
    const sampler = new Sampler({ temperature: 0, repetitionPenalty: 2 });
    expect([1, 2, 3].map(() => sampler.sample(Float32Array.of(3, 2, 1)).id)).toEqual([0, 1, 0]);
  });

  it('leaves the log-probability that the model gave', () => {
    const { id, logprob } = new Sampler({ temperature: 0, repetitionPenalty: 2 }, [0]).sample(Float32Array.of(3, 2));
    expect(id).toBe(1);
    expect(logprob).toBeCloseTo(2 - Math.log(Math.exp(3) + Math.exp(2)), 6);
    const again = new Sampler({ temperature: 0, repetitionPenalty: 1.1 }, [0]).sample(Float32Array.of(3, 2));
    expect(again.logprob).toBeCloseTo(3 - Math.log(Math.exp(3) + Math.exp(2)), 6);
  });
});

describe('seed', () => {
  const draw = (seed: number | undefined) => {
    const sampler = new Sampler({ temperature: 1, minP: 0, seed });
    return Array.from({ length: 40 }, () => sampler.sample(new Float32Array(100)).id);
  };

  it('gives the same tokens again', () => {
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
    expect(draw(7)).not.toEqual(draw(7 + 2 ** 32));
  });

  it('is another each time where none is given', () => expect(draw(undefined)).not.toEqual(draw(undefined)));
});

describe('errors', () => {
  it.each([
    ['temperature', -1],
    ['temperature', NaN],
    ['topK', 1.5],
    ['topK', -1],
    ['topP', 1.1],
    ['minP', -0.1],
    ['typicalP', 0],
    ['presencePenalty', 101],
    ['frequencyPenalty', NaN],
    ['topLogprobs', 101],
    ['repetitionPenalty', 0],
    ['repetitionPenalty', Infinity],
    ['seed', -3],
  ])('%s of %d', (name, value) => {
    expect(() => new Sampler({ [name]: value })).toThrow(
      expect.objectContaining({ code: 'bad-sampling', message: expect.stringContaining(name) }),
    );
  });

  it('of a bias', () => {
    const refused = expect.objectContaining({ code: 'bad-sampling', message: expect.stringContaining('logitBias') });
    expect(() => new Sampler({ logitBias: { 3: Infinity } })).toThrow(refused);
    expect(() => new Sampler({ logitBias: { [-1]: 1 } })).toThrow(refused);
  });

  it.each([[[NaN, 1]], [[1, Infinity]], [[-Infinity, -Infinity]]])('logits %j', (logits) => {
    expect(() => new Sampler().sample(Float32Array.from(logits))).toThrow(
      expect.objectContaining({ code: 'bad-logits' }),
    );
  });

  it('never a token that cannot be', () => expect(support([-Infinity, 0, -Infinity], { temperature: 5 })).toEqual([1]));
});
