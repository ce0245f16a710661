// One piece of work after another, whatever became of the one before.
import { expect, it } from 'vitest';
import { inTurn } from './in-turn.ts';

it('begins work when what was given before is over, done or failed', async () => {
  const run = inTurn();
  const seen: string[] = [];
  const work = (name: string, fails = false) =>
    run(async () => {
      seen.push(`${name} begins`);
      await new Promise((resolve) => setTimeout(resolve));
      seen.push(`${name} ends`);
      if (fails) throw new Error(name);
      return name;
    });
  const [a, b, c] = [work('a'), work('b', true), work('c')];
  await expect(b).rejects.toThrow('b');
  expect([await a, await c]).toEqual(['a', 'c']);
  expect(seen).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
});
