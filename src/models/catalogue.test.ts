// Every definition: its parameters against tools/oracles/catalogue.py, its state against public facts, and that it traces.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { lossProgram, parameterCounts, stateBytes, stepProgram } from '../liquid/index.ts';
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

  it('meets the sizes that a paper gives rounded', () => {
    const { total } = parameterCounts(modelOf('afm-edge'));
    expect((total / 1e9).toFixed(2)).toBe((2.58 + 0.15).toFixed(2));
  });

  // Rows of keys and values in bfloat16 from public configurations: layers x 2 x key/value heads x width x 2 bytes.
  it.each([
    ['lfm2-350m', 12],
    ['lfm2-2.6b', 16],
  ])('%s grows by %i KiB a token', (name, kibibytes) => {
    const model = modelOf(name);
    expect(stateBytes(model, 32_768) - stateBytes(model, 16_384)).toBe(16_384 * kibibytes * 1024);
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
