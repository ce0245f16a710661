// Every architecture from a folder as transformers writes it, against transformers' logits: whole sequences, a token at a time with
// state, and two texts of unequal length side by side. `npm run bench -- parity` prints the same figures.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../engines/engine.ts';
import { measureParity, parityNames } from './testing-parity.node.ts';
import { engines } from './testing.node.ts';

const names = await parityNames();

describe.each(engines)('parity with transformers [%s]', (_, open) => {
  let engine: Engine;
  beforeAll(async () => void (engine = await open()));
  afterAll(() => engine.close());

  it.each(names)('%s', async (name) => {
    const { sequence, tokenByToken, unequalBatch, tokens } = await measureParity(engine, name);
    expect(Math.max(sequence, tokenByToken, unequalBatch)).toBeLessThan(1e-4);
    expect(tokens).toBe(73);
    expect(engine.live().buffers).toBe(0);
  });
});
