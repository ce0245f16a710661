// lfm pull and models by their names on a hub, which is a server of the test's own.
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { startHub, type TestHub } from '../files/hub/testing.node.ts';
import { load } from '../generate/load.ts';
import { writeModelFolder } from '../generate/testing.node.ts';
import type { Io } from './io.node.ts';
import { main } from './program.node.ts';

let hub: TestHub;
let made: string;
let home: string;
beforeAll(async () => {
  [hub, made] = await Promise.all([startHub(), mkdtemp(join(tmpdir(), 'lfm-made-'))]);
  await writeModelFolder(made, { chats: true });
  const names = await readdir(made);
  const contents = await Promise.all(names.map((name) => readFile(join(made, name))));
  hub.models.set('someone/tiny', Object.fromEntries(names.map((name, i) => [name, contents[i] ?? Buffer.alloc(0)])));
});
beforeEach(async () => {
  home = await mkdtemp(join(made, 'home-'));
  vi.stubEnv('HF_ENDPOINT', hub.endpoint);
  vi.stubEnv('HF_HOME', home);
  hub.asked.length = 0;
  hub.lists = undefined;
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await hub.close();
  await rm(made, { recursive: true });
});

async function run(argv: readonly string[], { input, terminal = false }: { input?: string; terminal?: boolean } = {}) {
  const stream = () => Object.assign(new PassThrough(), { isTTY: terminal });
  const [stdin, stdout, stderr] = [stream(), stream(), stream()];
  const said = { out: '', err: '' };
  stdout.on('data', (chunk) => (said.out += String(chunk)));
  stderr.on('data', (chunk) => (said.err += String(chunk)));
  const io: Io = { stdin, stdout, stderr, onInterrupt: () => () => {} };
  if (input !== undefined) stdin.end(input);
  return { code: await main(argv, io), ...said };
}

const quick = ['--engine', 'reference', '--seed', '3', '--max-tokens', '4'];

describe('lfm pull', () => {
  it('prints where the model is, which then runs without the hub', async () => {
    const { code, out } = await run(['pull', 'someone/tiny']);
    expect([code, await readdir(out.trim())]).toEqual([0, expect.arrayContaining(['model.safetensors'])]);
    const asked = hub.asked.length;
    const byName = await run(['chat', 'someone/tiny', 'hello', ...quick]);
    expect(byName).toEqual(await run(['chat', made, 'hello', ...quick]));
    expect((await run(['inspect', 'someone/tiny'])).out).toContain('someone/tiny');
    expect((await run(['pull', 'someone/tiny', '--offline'])).out).toBe(out);
    expect(hub.asked).toHaveLength(asked);
  });

  it('asks on a terminal, and takes no for an answer', async () => {
    const refused = await run(['pull', 'someone/tiny'], { terminal: true, input: 'n\n' });
    expect(refused).toMatchObject({ code: 2, err: 'lfm: Nothing of someone/tiny was downloaded.\n' });
    expect(refused.out).toMatch(/model\.safetensors +20\.3 KiB[^]*Download someone\/tiny: [\d.]+ KiB\? \[Y\/n\]/);
    expect(await run(['pull', 'someone/tiny'], { terminal: true, input: '' })).toMatchObject({ code: 2 });
    expect(hub.asked.filter(({ path }) => path.includes('/resolve/'))).toEqual([]);
    expect(await run(['pull', 'someone/tiny'], { terminal: true, input: 'y\n' })).toMatchObject({ code: 0 });
  });

  it('takes nothing large unasked', async () => {
    hub.lists = ({ sha, siblings }) => ({
      sha,
      siblings: siblings.map((file) => ({ ...file, ...(file.lfs && { lfs: { ...file.lfs, size: 2 ** 32 } }) })),
    });
    for (const command of [
      ['pull', 'someone/tiny'],
      ['chat', 'someone/tiny', 'hello', ...quick],
    ]) {
      expect(await run(command)).toMatchObject({
        code: 2,
        err: expect.stringContaining('lfm pull someone/tiny --yes'),
      });
    }
    expect(hub.asked.filter(({ path }) => path.includes('/resolve/'))).toEqual([]);
  });

  it('says what is no name, and what is not here', async () => {
    expect(await run(['pull', 'tiny'])).toMatchObject({ code: 2, err: expect.stringContaining('OWNER/NAME') });
    expect(await run(['inspect', 'a/b'])).toMatchObject({ code: 2, err: expect.stringContaining('lfm pull a/b') });
  });
});

describe("load('owner/name')", () => {
  it('downloads a model once', async () => {
    const shares: number[] = [];
    const onDownload = ({ doneBytes, totalBytes }: { doneBytes: number; totalBytes: number }) =>
      shares.push(doneBytes / totalBytes);
    for (const _ of [1, 2]) {
      await using model = await load('someone/tiny', { engine: 'reference', onDownload });
      expect(model.name).toBe('someone/tiny');
    }
    expect(shares.at(-1)).toBe(1);
    expect(hub.asked.filter(({ path }) => path.startsWith('/api/'))).toHaveLength(1);
  });

  it('takes a folder of that name first', async () => {
    const before = process.cwd();
    await mkdir(join(home, 'someone', 'tiny'), { recursive: true });
    await writeModelFolder(join(home, 'someone', 'tiny'));
    process.chdir(home);
    try {
      await using model = await load('someone/tiny', { engine: 'reference' });
      expect([model.name, hub.asked]).toEqual(['tiny', []]);
    } finally {
      process.chdir(before);
    }
  });
});
