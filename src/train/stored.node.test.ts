// A stored model with layers left out: the others keep their weights under new names.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { writeModelFolder } from '../generate/testing.node.ts';
import { openStored, readerOf, withoutStored } from './stored.node.ts';

it('reads what is left by its new depth, and refuses what is not there', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'lfm-drop-'));
  await writeModelFolder(folder);
  const stored = await openStored(folder, '<|im_end|>');
  const left = withoutStored(stored, [0]);
  expect(left.model.layers).toHaveLength(1);
  const keys = Object.keys(left.model.parameters);
  expect(keys.some((key) => key.includes('layers.0.self_attn'))).toBe(true);
  expect(keys.some((key) => key.includes('layers.1.'))).toBe(false);
  for (const key of keys) {
    const before = key.replace('layers.0.', 'layers.1.');
    expect(await readerOf(left, left.model, key)?.()).toEqual(await stored.parameters.readFloat32(before));
  }
  for (const [drop, message] of [
    [[2], 'no layer 2'],
    [[0, 1], 'No layer would be left'],
  ] as const)
    expect(() => withoutStored(stored, drop)).toThrow(message);
  await stored.close();
  await rm(folder, { recursive: true });
});
