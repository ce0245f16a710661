// Every definition: its parameters against tools/oracles/catalogue.py, its state against public facts, and that it traces.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { lossProgram, memoryAt, parameterCounts, stateBytes, stepProgram } from '../liquid/index.ts';
import { announcedNames, publishedScores } from './announcement.ts';
import { catalogue } from './catalogue.ts';

const fixture = new URL('../../test/fixtures/catalogue/parameters.json', import.meta.url);
const counts = z
  .record(z.string(), z.object({ total: z.number(), active: z.number() }))
  .parse(JSON.parse(readFileSync(fixture, 'utf8')));

/** Whose sizes are another entry's. */
const same: Readonly<Record<string, string>> = { 'lfm2.5-350m': 'lfm2-350m', 'lfm2.5-1.2b': 'lfm2-1.2b' };

const names = Object.keys(catalogue);
function modelOf(name: string) {
  const entry = catalogue[name];
  if (!entry) throw new Error(`${name} is not in the catalogue`);
  return entry.model();
}

describe('catalogue', () => {
  it.each(names)('%s traces without weights', (name) => {
    const model = modelOf(name);
    expect(lossProgram(model, { batch: 1, length: 8 }).outputs.map((port) => port.name)).toEqual(['loss']);
    const step = stepProgram(model, { batch: 1, length: 4, capacity: 16 });
    expect(step.outputs[0]?.value.shape).toEqual([1, model.head.classes]);
  });

  it.each(names.filter((name) => counts[same[name] ?? name]))('%s has exactly the parameters of the oracle', (name) => {
    expect(parameterCounts(modelOf(name))).toEqual(counts[same[name] ?? name]);
  });

  // AFM's paper: 2.58B besides 0.15B of the embedding. The announcement: 1.3B and 3.1B.
  it.each([
    ['afm-edge', 2.73e9, 0.002],
    ['lfm-1.3b', 1.3e9, 0.01],
    ['lfm-3.1b', 3.1e9, 0.01],
    ['lfm-40.3b-a12b', 40.3e9, 0.01],
  ])('%s has about the stated %d parameters', (name, stated, share) => {
    expect(Math.abs(parameterCounts(modelOf(name)).total / stated - 1)).toBeLessThan(share);
  });

  it('lfm3-1.7b has the published 286 tensors', () => {
    expect(Object.keys(modelOf('lfm3-1.7b').parameters)).toHaveLength(286);
  });

  it('lfm-40.3b-a12b reads about 12B for a token', () => {
    expect(Math.abs(parameterCounts(modelOf('lfm-40.3b-a12b')).active / 12e9 - 1)).toBeLessThan(0.01);
  });

  // Rows of keys and values in bfloat16 from public configurations: layers x 2 x key/value heads x width x 2 bytes.
  it.each([
    ['lfm2-350m', 12],
    ['lfm2-2.6b', 16],
    ['llama-3.2-3b', 112],
    ['phi-3.5-mini', 384],
  ])('%s grows by %i KiB a token', (name, kibibytes) => {
    const model = modelOf(name);
    expect(stateBytes(model, 32_768) - stateBytes(model, 16_384)).toBe(16_384 * kibibytes * 1024);
  });
});

describe('figure 2', () => {
  const GiB = 2 ** 30;
  it('has the order that the announcement claims: of the 3B class, ours needs least at every length', () => {
    for (const length of [4096, 32_768, 131_072]) {
      const [ours = 0, ...theirs] = ['lfm-3.1b', 'llama-3.2-3b', 'phi-3.5-mini'].map(
        (name) => memoryAt(modelOf(name), length).total,
      );
      expect(Math.min(...theirs)).toBeGreaterThan(ours);
    }
  });

  // Public configurations: 3.5 GiB and 12 GiB of keys and values against 0.5 GiB.
  it.each([
    ['llama-3.2-3b', 3.5],
    ['phi-3.5-mini', 12],
    ['lfm2-2.6b', 0.5],
  ])('%s holds %d GiB of state at 32k', (name, gibibytes) => {
    expect(stateBytes(modelOf(name), 32_768) / GiB).toBeCloseTo(gibibytes, 2);
  });
});

describe('the announcement', () => {
  it('has its figures beside the names of the catalogue', () => {
    expect(announcedNames).toHaveLength(15);
    expect(publishedScores('llama-3.2-3b')).toEqual([
      {
        table: 'RULER',
        model: 'Llama 3.2 3B',
        contextLength: '128k, effective 4k',
        scores: { '4k': 88.7, '8k': 82.4 },
      },
    ]);
    expect(publishedScores('lfm-3.1b').map(({ table }) => table)).toEqual(['LFM-3B', 'RULER']);
  });
});
