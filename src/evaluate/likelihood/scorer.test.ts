// Scores of rows against transformers' logits, in runs of few shapes and of any, on each engine present.
import { describe, expect, it } from 'vitest';
import { xlaEngine } from '../../engines/xla/engine.node.ts';
import { cpuPlugin } from '../../engines/xla/testing.node.ts';
import { disposeBuffers } from '../../generate/state.ts';
import { engines, readFixture, upload } from '../../generate/testing.node.ts';
import { rollingRows } from './encode.ts';
import type { RunSizes, ScoredRow } from './scorer.ts';
import { Scorer } from './scorer.ts';

const { model, weights, rows, logitsAt } = await readFixture();

/** ln softmax of the oracle's logits at a place, of one class, and whether none is higher. */
function expected(row: number, place: number, label: number): { readonly logprob: number; readonly isGreedy: boolean } {
  const logits = Array.from(logitsAt(row, place));
  const top = Math.max(...logits);
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0);
  return { logprob: (logits[label] ?? NaN) - top - Math.log(total), isGreedy: logits[label] === top };
}

/** Rows of several lengths out of the two of the fixture: beginnings of them, scored at some of their places. */
const cuts = [17, 3, 9, 12, 17, 5, 1].map((length, i) => ({ row: i % 2, length }));
const scored: ScoredRow[] = cuts.map(({ row, length }, i) => {
  const tokens = rows[row]?.slice(0, length) ?? [];
  const places = tokens.map((_, place) => place).filter((place) => place % 2 === i % 2 || place === length - 1);
  return { tokens, places, labels: places.map((place) => (place * 37 + i) % 128) };
});
// A group that begins alike with its first row's ten tokens; labels follow from shared tokens and from each row's own.
for (const length of [10, 14, 17]) {
  const places = [6, 9, 11, 13, 16].filter((place) => place < length);
  const labels = places.map((place) => (place * 11 + length) % 128);
  scored.push({ tokens: rows[1].slice(0, length), places, labels, group: 7 });
  cuts.push({ row: 1, length });
}
// One that greedy decoding gives.
const likeliest = logitsAt(0, 4).indexOf(Math.max(...logitsAt(0, 4)));
scored.push({ tokens: rows[0].slice(0, 5), places: [4], labels: [likeliest] });
cuts.push({ row: 0, length: 5 });

const xla: [string, () => ReturnType<typeof xlaEngine>][] = cpuPlugin
  ? [['xla', () => xlaEngine({ cacheFolder: null, ...(cpuPlugin && { plugin: cpuPlugin.path }) })]]
  : [];

describe.each([...engines, ...xla])('the scorer [%s]', (name, open) => {
  const fixed: RunSizes = { tokens: 32, positions: 8, lengths: [8, 16, 32] };
  it.each([...(name === 'xla' ? [] : [{ tokens: 40, positions: 5 }]), fixed])(
    'gives the oracle’s numbers, in runs of %o',
    async (sizes) => {
      const engine = await open();
      const buffers = await upload(engine, model, weights);
      const scorer = new Scorer({ engine, model, weights: buffers, dtype: 'float32', sizes });
      const shares: number[] = [];
      const found = await scorer.score(scored, { onProgress: (share) => shares.push(share) });
      found.forEach(({ logprob, isGreedy }, i) => {
        const { places = [], labels = [] } = scored[i] ?? {};
        const wanted = places.map((place, at) => expected(cuts[i]?.row ?? 0, place, labels[at] ?? 0));
        expect(logprob).toBeCloseTo(
          wanted.reduce((sum, one) => sum + one.logprob, 0),
          3,
        );
        expect(isGreedy).toBe(wanted.every((one) => one.isGreedy));
      });
      expect(found.at(-1)?.isGreedy).toBe(true);
      expect(shares.at(-1)).toBe(1);
      await expect(scorer.score([{ tokens: [128], places: [0], labels: [1] }])).rejects.toMatchObject({
        code: 'bad-token',
      });
      const long = { tokens: new Array<number>(5000).fill(1), places: [0], labels: [1] };
      await expect(scorer.score([long])).rejects.toMatchObject({ code: 'context-full' });
      const aborted = AbortSignal.abort(new Error('enough'));
      await expect(scorer.score(scored, { signal: aborted })).rejects.toThrow('enough');
      await scorer.release();
      disposeBuffers(buffers);
      expect(engine.live().buffers).toBe(0);
      await engine.close();
    },
  );
});

describe('rolling windows', () => {
  const tokens = Array.from({ length: 10 }, (_, i) => 100 + i);

  it('predict each token once, the last from as much as fits', () => {
    expect(rollingRows(tokens, 0, 4)).toEqual([
      { tokens: [0, 100, 101, 102], places: [0, 1, 2, 3], labels: [100, 101, 102, 103] },
      { tokens: [103, 104, 105, 106], places: [0, 1, 2, 3], labels: [104, 105, 106, 107] },
      { tokens: [105, 106, 107, 108], places: [2, 3], labels: [108, 109] },
    ]);
  });

  it('of a short text are one', () => {
    expect(rollingRows([5], 0, 4)).toEqual([{ tokens: [0], places: [0], labels: [5] }]);
    expect(rollingRows([], 0, 4)).toEqual([]);
  });
});
