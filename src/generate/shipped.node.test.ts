// Models that come with lfm, and those of data packages that are installed beside a project.
import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { load } from './load.ts';
import { defaultModel, shippedFolder, shippedNames } from './shipped.node.ts';
import { resolveModel } from './source.node.ts';
import { writeModelFolder } from './testing.node.ts';

let project: string;
const before = process.cwd();
const packageAt = () => join(project, 'node_modules/@lfm/tiny-stand-in');
beforeAll(async () => {
  project = await realpath(await mkdtemp(join(tmpdir(), 'lfm-project-')));
  await mkdir(packageAt(), { recursive: true });
  await writeModelFolder(packageAt());
  await writeFile(join(packageAt(), 'package.json'), JSON.stringify({ name: '@lfm/tiny-stand-in', version: '1.0.0' }));
});
afterAll(async () => {
  process.chdir(before);
  await rm(project, { recursive: true });
});

describe('a data package', () => {
  it('is found by its short name where the project runs, and loads', async () => {
    await expect(resolveModel('tiny-stand-in')).rejects.toMatchObject({ code: 'model-missing' });
    process.chdir(project);
    expect(await resolveModel('tiny-stand-in')).toEqual({ kind: 'folder', name: 'tiny-stand-in', path: packageAt() });
    await using model = await load('tiny-stand-in', { engine: 'reference' });
    expect((await model.generate('The', { maxTokens: 3 })).usage.completionTokens).toBeGreaterThan(0);
  });

  it('is no way out of the folders of packages', async () => {
    process.chdir(project);
    for (const name of ['../tiny-stand-in', 'TINY', '.', '', 'tiny-stand-in/..'])
      expect(await shippedFolder(name)).toBeUndefined();
  });
});

it('the default is the chat model where it is, else the small one', async () => {
  const names = await shippedNames();
  expect(names).toContain('brook-7m');
  expect(await defaultModel()).toBe(names.includes('brook-123m') ? 'brook-123m' : 'brook-7m');
});
