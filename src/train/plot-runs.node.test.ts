// The losses of runs as numbers and as a picture: from the folders that runs leave, and from folders that are none.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lossPicture, readLosses } from './plot-runs.node.ts';

describe('readLosses', () => {
  let root = '';
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'lfm-plot-'));
    const line = (step: number, loss: number) =>
      JSON.stringify({ kind: 'step', step, loss, learningRate: 0.1, norm: 1, seconds: 1, tokens: 8 });
    for (const [folder, offset] of [
      ['a/run', 0],
      ['b/run', 1],
    ] as const) {
      await mkdir(join(root, folder), { recursive: true });
      const lines = [1, 2, 3].map((step) => line(step, 4 - step + offset));
      await writeFile(join(root, folder, 'metrics.jsonl'), `${lines.join('\n')}\n{"kind":"st`);
    }
    await mkdir(join(root, 'empty'));
  });
  afterAll(() => rm(root, { recursive: true }));

  it('tells runs of one name apart, and leaves out what a kill cut short', async () => {
    const runs = await readLosses([join(root, 'a/run'), join(root, 'b/run')]);
    expect(runs.map(({ name }) => name)).toEqual(['a/run', 'b/run']);
    expect(runs.map(({ loss }) => loss)).toEqual([
      [3, 2, 1],
      [4, 3, 2],
    ]);
    const [ours, theirs] = ['a/run', 'b/run'].map((name) => lossPicture(runs, 'Loss', false).indexOf(`>${name}<`));
    expect(ours).toBeGreaterThan(0);
    expect(theirs).toBeGreaterThan(0);
    expect(lossPicture(runs, 'Loss', true)).toContain('running means');
  });

  it.each([
    ['empty', 'no steps there'],
    ['missing', 'no such folder'],
  ])('says what %s is not', async (folder, found) => {
    await expect(readLosses([join(root, folder)])).rejects.toMatchObject({
      code: 'no-metrics',
      message: expect.stringContaining(found) as string,
    });
  });
});
