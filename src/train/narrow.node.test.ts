// A stored model with narrower MLPs: the strongest units stay, whole, and everything else is as it was.
import { expect, it } from 'vitest';
import { writeModelFolder } from '../generate/testing.node.ts';
import { withNarrowStored } from './narrow.ts';
import { openStored } from './stored.node.ts';
import { temporaryFolder } from './testing.node.ts';

it('keeps the units with the largest weights, and refuses more than there are', async () => {
  const folder = await temporaryFolder();
  await writeModelFolder(folder);
  const stored = await openStored(folder, '<|im_end|>');
  const scope = 'model.layers.0.feed_forward.';
  const [units = 0, hidden = 0] = stored.model.parameters[`${scope}w1.weight`]?.shape ?? [];
  const narrow = withNarrowStored(stored, units / 2);
  const read = async (from: typeof stored, name: string) => [...(await from.parameters.readFloat32(`${scope}${name}`))];
  const rows = (values: readonly number[]) =>
    Array.from({ length: values.length / hidden }, (_, i) => values.slice(i * hidden, (i + 1) * hidden));
  const columns = (values: readonly number[]) => {
    const width = values.length / hidden;
    return Array.from({ length: width }, (_, f) =>
      Array.from({ length: hidden }, (__, d) => values[d * width + f] ?? 0),
    );
  };
  const unitsOf = async (from: typeof stored) => {
    const [w1, w3, w2] = [
      rows(await read(from, 'w1.weight')),
      rows(await read(from, 'w3.weight')),
      columns(await read(from, 'w2.weight')),
    ];
    return w1.map((gate, f) => ({ gate, up: w3[f] ?? [], down: w2[f] ?? [] }));
  };
  const norm = (vector: readonly number[]) => Math.hypot(...vector);
  const size = ({ gate, up, down }: Awaited<ReturnType<typeof unitsOf>>[number]) => norm(gate) * norm(up) * norm(down);
  const before = await unitsOf(stored);
  const least = before.map(size).sort((a, b) => b - a)[units / 2 - 1] ?? 0;
  expect(await unitsOf(narrow)).toEqual(before.filter((unit) => size(unit) >= least));
  const norms = 'model.layers.0.ffn_norm.weight';
  expect(await narrow.parameters.readFloat32(norms)).toEqual(await stored.parameters.readFloat32(norms));
  expect(() => withNarrowStored(stored, units + 1)).toThrow(`at least ${units + 1} units; found ${units}`);
  await stored.close();
});
