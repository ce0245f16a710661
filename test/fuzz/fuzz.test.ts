// A small part of `npm run fuzz`: damaged files give success or one clear error, in little time and memory.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { modelFromConfig } from '../../src/models/index.ts';
import { parseTokenizerJson } from '../../src/text/tokenizer-json.ts';
import { watchAllocations } from './allocations.ts';
import type { Seeds } from './cases.ts';
import { kinds, makeSeeds, runCase } from './cases.ts';

let scratch: string;
let seeds: Seeds;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'lfm-fuzz-'));
  seeds = await makeSeeds(scratch);
});
afterAll(() => rm(scratch, { recursive: true }));

it('reads the files before they are damaged', async () => {
  for (const config of seeds.configs) {
    const json: unknown = JSON.parse(config);
    expect(Object.keys(modelFromConfig(json).parameters).length, config.slice(0, 200)).toBeGreaterThan(8);
  }
  for (const json of seeds.tokenizers) expect(parseTokenizerJson(json).encode('brook').length).toBeGreaterThan(0);
});

it('300 damaged files are read or refused, each with a code', async () => {
  const codes = new Map<string, Set<string>>(kinds.map((kind) => [kind, new Set()]));
  for (let index = 0; index < 300; index++) {
    const { kind, code, fault } = await runCase(seeds, 7, index, scratch);
    expect(fault, `npm run fuzz -- --seed 7 --from ${index} --files 1`).toBeUndefined();
    codes.get(kind)?.add(code);
  }
  // Each kind reaches past its first check.
  for (const [kind, found] of codes) expect(found.size, kind).toBeGreaterThan(4);
});

it('the watch sees what is asked for', async () => {
  const { largest } = await watchAllocations(async () => void new Float64Array(1000));
  expect(largest).toBe(8000);
  const listed = await watchAllocations(async () => void Array.from({ length: 5000 }, () => 0));
  expect(listed.largest).toBe(40_000);
});

it.each(['gated_delta', 'mamba2'])(
  '%s of two billion heads is refused before its values are made',
  async (operator) => {
    const options = {
      keyHeads: 1,
      keyHeadDim: 8,
      valueHeadDim: 8,
      valueHeads: 2 ** 31 - 1,
      expand: 2 ** 31,
      headDim: 1,
    };
    const layer = { mixer: { operator, options }, mlp: { operator: 'swiglu', options: { intermediateSize: 8 } } };
    const sizes = { model_type: 'liquid', liquid_version: 1, vocab_size: 64, hidden_size: 16 };
    const { largest } = await watchAllocations(async () => {
      expect(() => modelFromConfig({ ...sizes, layers: { a: layer }, layer_types: ['a'] })).toThrow(
        expect.objectContaining({ code: 'bad-config' }),
      );
    });
    expect(largest).toBeLessThan(2 ** 20);
  },
);
