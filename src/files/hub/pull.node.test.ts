// Models from a hub, which is a server of the test's own: what is fetched, how it stands in the cache, and every fault of a
// network or a server that lies.
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { modelCache, placeBlob } from './cache.node.ts';
import { partialOf } from './download.node.ts';
import { parseHubName } from './name.ts';
import { pull, type PullOptions, type PullPlan } from './pull.node.ts';
import { type HubSettings, hubSettings } from './settings.node.ts';
import { type Asked, COMMIT_OF_MAIN, gitSha1, refuse, serve, sha256, startHub, type TestHub } from './testing.node.ts';

const model = { owner: 'someone', name: 'tiny' };
const weights = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * i) >> 3));
const config = Buffer.from('{"model_type":"lfm2"}');
const files: Record<string, Buffer> = {
  'README.md': Buffer.from('# Tiny'),
  'config.json': config,
  'tokenizer.json': Buffer.from('{}'),
  'pytorch_model.bin': Buffer.alloc(5000),
  'model.safetensors': weights,
};

let hub: TestHub;
let home: string;
let settings: HubSettings;
beforeEach(async () => {
  [hub, home] = await Promise.all([startHub(), mkdtemp(join(tmpdir(), 'lfm-hub-'))]);
  hub.models.set('someone/tiny', files);
  settings = { ...(await hubSettings({ HF_ENDPOINT: hub.endpoint, HF_HOME: home })), retryMs: 1, stallMs: 10_000 };
});
afterEach(async () => {
  await hub.close();
  await rm(home, { recursive: true });
});

const get = (options: PullOptions = {}) => pull(model, { settings, ...options });
const cache = () => modelCache(join(home, 'hub'), model);
const blobs = () => readdir(join(cache().folder, 'blobs')).catch(() => []);
const downloads = () => hub.asked.filter(({ path }) => path.includes('/resolve/'));
const isWeights = ({ path }: Asked) => path.endsWith('model.safetensors');

/** Sends the first bytes and cuts the connection, as often as told. */
function cutting(times: number, bytes: number) {
  let left = times;
  hub.fault = (asked, response, content) => {
    if (!isWeights(asked) || !asked.atStorage || left-- <= 0) return false;
    const start = Number(/\d+/.exec(asked.range ?? '')?.[0] ?? 0);
    response.writeHead(start > 0 ? 206 : 200, {
      'content-length': content.length - start,
      'content-range': `bytes ${start}-${content.length - 1}/${content.length}`,
    });
    response.write(content.subarray(start, start + bytes), () => setTimeout(() => response.destroy(), 5));
    return true;
  };
}

describe('pull', () => {
  it('fetches what is needed, once, and lays it out as the usual tools do', async () => {
    const seen: number[] = [];
    const found = await get({ onProgress: ({ doneBytes, totalBytes }) => seen.push(doneBytes / totalBytes) });
    expect(found).toMatchObject({ kind: 'folder', commit: COMMIT_OF_MAIN });
    expect((await readdir(found.path)).toSorted()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json']);
    expect(sha256(await readFile(join(found.path, 'model.safetensors')))).toBe(sha256(weights));
    expect(await readlink(join(found.path, 'model.safetensors'))).toBe(`../../blobs/${sha256(weights)}`);
    expect(await readlink(join(found.path, 'config.json'))).toBe(`../../blobs/${gitSha1(config)}`);
    expect(await readFile(join(cache().folder, 'refs', 'main'), 'utf8')).toBe(COMMIT_OF_MAIN);
    expect(await blobs()).toHaveLength(3);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    expect(seen.at(-1)).toBe(1);
    const before = downloads().length;
    expect(await get({ confirm: () => false })).toEqual(found);
    expect(downloads()).toHaveLength(before);
  });

  it('asks with the sizes, and fetches nothing against a no', async () => {
    const plans: PullPlan[] = [];
    const confirm = (plan: PullPlan) => plans.push(plan) < 0;
    await expect(get({ confirm })).rejects.toMatchObject({ code: 'hub-declined' });
    const total = weights.length + config.length + 2;
    expect(plans).toMatchObject([{ totalBytes: total, missingBytes: total }]);
    expect([downloads(), await blobs()]).toEqual([[], []]);
  });

  it('takes shards with their index, a GGUF that is chosen or alone, and says what else there is', async () => {
    const [shard, gguf] = [Buffer.alloc(2000, 1), Buffer.alloc(3000, 2)];
    const shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
    const index = { 'model.safetensors.index.json': Buffer.from('{}') };
    hub.models.set('someone/tiny', {
      'config.json': config,
      ...index,
      ...Object.fromEntries(shards.map((name) => [name, shard])),
    });
    expect(await readdir((await get()).path)).toEqual(expect.arrayContaining(shards));
    hub.models.set('someone/tiny', { 'a.Q4_0.gguf': gguf });
    const elsewhere = { settings: { ...settings, cache: join(home, 'other') } };
    expect((await get(elsewhere)).path).toMatch(/a\.Q4_0\.gguf$/);
    hub.models.set('someone/tiny', { 'a.Q4_0.gguf': gguf, 'sub/b.gguf': gguf });
    await expect(get(elsewhere)).rejects.toMatchObject({
      code: 'hub-choose',
      message: expect.stringContaining('a.Q4_0.gguf, sub/b.gguf'),
    });
    const { kind, path } = await get({ file: 'sub/b.gguf' });
    expect([kind, await readFile(path)]).toEqual(['gguf', gguf]);
    await expect(get({ file: 'c.gguf' })).rejects.toMatchObject({ code: 'hub-not-found' });
    hub.models.set('someone/tiny', { 'pytorch_model.bin': gguf });
    await expect(get()).rejects.toMatchObject({ code: 'hub-no-weights' });
  });

  it('goes on after cut connections from where they were cut', async () => {
    cutting(3, 70_000);
    const { path } = await get();
    expect(sha256(await readFile(join(path, 'model.safetensors')))).toBe(sha256(weights));
    const ranges = downloads()
      .filter((asked) => isWeights(asked) && asked.atStorage)
      .map(({ range }) => range);
    // Of what was sent before a cut the last bytes may not have come through: each goes on from what has.
    const starts = ranges.map((range) => Number(/^bytes=(\d+)-$/.exec(range ?? 'bytes=0-')?.[1]));
    expect(starts.length).toBeGreaterThanOrEqual(4);
    for (const [index, from] of starts.entries()) {
      expect(from).toBeLessThanOrEqual(70_000 * index);
      if (index > 0) expect(from).toBeGreaterThan(starts[index - 1] ?? 0);
    }
  });

  it('is cancelled, keeps what it has, and goes on another time', async () => {
    const controller = new AbortController();
    cutting(1, 100_000);
    const onProgress = ({ path, doneBytes }: { path: string; doneBytes: number }) => {
      if (path === 'model.safetensors' && doneBytes > 50_000) controller.abort(new Error('enough'));
    };
    await expect(get({ signal: controller.signal, onProgress })).rejects.toThrow('enough');
    const { size } = await stat(partialOf(cache().blob(sha256(weights))));
    expect(size).toBeGreaterThan(0);
    expect(await blobs()).not.toContain(sha256(weights));
    let plan: PullPlan | undefined;
    const { path } = await get({ confirm: (given) => (plan = given) !== undefined });
    expect(plan?.missingBytes).toBe(weights.length - size);
    expect(downloads().at(-1)?.range).toBe(`bytes=${size}-`);
    expect(sha256(await readFile(join(path, 'model.safetensors')))).toBe(sha256(weights));
    expect((await blobs()).filter((name) => name.includes('lfm'))).toEqual([]);
  });

  it.each([
    ['the whole file', (asked: Asked) => ({ ...asked, range: undefined })],
    ['another part', (asked: Asked) => ({ ...asked, range: asked.range && 'bytes=7-' })],
  ])('begins anew where a server sends %s instead', async (_, instead) => {
    const partial = partialOf(cache().blob(sha256(weights)));
    await mkdir(join(partial, '..'), { recursive: true });
    await writeFile(partial, weights.subarray(0, 1234));
    hub.fault = (asked, response, content) => {
      if (isWeights(asked) && asked.atStorage) serve(instead(asked), response, content);
      return isWeights(asked) && asked.atStorage;
    };
    expect(sha256(await readFile(join((await get()).path, 'model.safetensors')))).toBe(sha256(weights));
  });

  it('gives up a server that never sends more, and keeps what came', async () => {
    cutting(Infinity, 0);
    await expect(get()).rejects.toMatchObject({ code: 'hub-interrupted' });
    expect(downloads().filter((asked) => isWeights(asked) && asked.atStorage)).toHaveLength(6);
  });

  it('gives up a connection on which nothing comes', async () => {
    hub.fault = (asked) => isWeights(asked);
    await expect(get({ settings: { ...settings, stallMs: 20 } })).rejects.toMatchObject({
      code: 'hub-interrupted',
      message: expect.stringContaining('no data for 0.02 s'),
    });
  });

  it.each([
    ['large', 'model.safetensors', Buffer.from(weights).fill(1, 5, 6), 'hub-hash'],
    ['small', 'config.json', Buffer.from('{"model_type":"evil"}'), 'hub-hash'],
    ['longer', 'model.safetensors', Buffer.concat([weights, Buffer.alloc(1)]), 'hub-size'],
  ])('refuses a %s file that is not what is listed, and leaves nothing of it', async (_, name, evil, code) => {
    hub.fault = (asked, response) => {
      const isIt = asked.path.endsWith(name) && (asked.atStorage || name === 'config.json');
      if (isIt) serve(asked, response, evil);
      return isIt;
    };
    await expect(get()).rejects.toMatchObject({ code });
    const etag = name === 'config.json' ? gitSha1(config) : sha256(weights);
    expect((await blobs()).filter((found) => found.startsWith(etag))).toEqual([]);
    await expect(stat(cache().pointer(COMMIT_OF_MAIN, name))).rejects.toThrow('ENOENT');
    await expect(get({ settings: { ...settings, offline: true } })).rejects.toMatchObject({ code: 'hub-offline' });
  });

  it.each([
    [401, '', 'hub-denied', 'HF_TOKEN'],
    [403, 'GatedRepo', 'hub-denied', 'accept its terms'],
    [404, 'RepoNotFound', 'hub-not-found', 'no model someone/tiny'],
    [404, 'RevisionNotFound', 'hub-not-found', 'no revision main'],
    [429, '', 'hub-busy', '429'],
    [500, '', 'hub-failed', '500'],
  ])('says what %i %s means', async (status, error, code, text) => {
    hub.fault = (_, response) => {
      refuse(response, status, error);
      return true;
    };
    await expect(get()).rejects.toMatchObject({ code, message: expect.stringContaining(text) });
  });

  it('says that a hub cannot be reached, and which answers are none', async () => {
    hub.lists = () => ({ sha: 'main', siblings: [] });
    await expect(get()).rejects.toMatchObject({ code: 'hub-answer' });
    hub.lists = ({ sha }) => ({ sha, siblings: [{ rfilename: 'config.json' }] });
    await expect(get()).rejects.toMatchObject({ code: 'hub-answer' });
    await hub.close();
    await expect(get()).rejects.toMatchObject({ code: 'hub-unreachable' });
  });

  it.each(['../evil', '/etc/evil', 'a/../../evil', 'a\\..\\evil', 'C:evil', 'a//b', './a'])(
    'refuses a model with a file named %s',
    async (rfilename) => {
      hub.lists = ({ sha, siblings: [first] }) => ({ sha, siblings: [{ ...first, rfilename }] });
      await expect(get()).rejects.toMatchObject({ code: 'hub-path' });
      expect(await readdir(home)).toEqual([]);
    },
  );

  it('refuses revisions that lead elsewhere', async () => {
    for (const revision of ['../main', 'a/../b', '/main', ''])
      await expect(get({ revision })).rejects.toMatchObject({ code: 'hub-revision' });
    await expect(get({ revision: 'v2' })).rejects.toMatchObject({ code: 'hub-not-found' });
  });

  it('shows the token to the hub, and to nobody that the hub redirects to', async () => {
    const token = 'hf_secret';
    await get({ settings: { ...settings, token } });
    expect(hub.asked.filter(({ atStorage }) => atStorage)).toMatchObject([{ token: undefined }]);
    expect(hub.asked.filter(({ atStorage }) => !atStorage).every((asked) => asked.token === token)).toBe(true);
    expect(hub.asked.length).toBeGreaterThan(4);
  });

  it.each(['ftp://127.0.0.1/x', 'file:///etc/passwd', 'http://'])('does not follow to %s', async (location) => {
    hub.fault = (asked, response) => {
      if (isWeights(asked)) response.writeHead(302, { location }).end();
      return isWeights(asked);
    };
    await expect(get()).rejects.toMatchObject({ code: 'hub-redirect' });
  });

  it('does not follow in circles', async () => {
    hub.fault = ({ path }, response) => {
      response.writeHead(307, { location: path }).end();
      return true;
    };
    await expect(get()).rejects.toMatchObject({ code: 'hub-redirect' });
  });

  it('works offline with what is there, and asks nobody', async () => {
    const offline = { ...settings, offline: true };
    await expect(get({ settings: offline })).rejects.toMatchObject({ code: 'hub-offline' });
    expect(hub.asked).toEqual([]);
    const found = await get();
    const before = hub.asked.length;
    expect(await get({ settings: offline })).toEqual(found);
    expect(await get({ settings: offline, revision: COMMIT_OF_MAIN })).toEqual(found);
    await rm(join(found.path, 'model.safetensors'));
    await expect(get({ settings: offline })).rejects.toMatchObject({ code: 'hub-offline' });
    expect(hub.asked).toHaveLength(before);
  });

  it('puts files themselves where links are switched off', async () => {
    const plain = { ...settings, symlinks: false };
    const { path } = await get({ settings: plain });
    expect((await stat(join(path, 'config.json'))).isFile()).toBe(true);
    await expect(readlink(join(path, 'config.json'))).rejects.toThrow('EINVAL');
    expect(await blobs()).toEqual([]);
    const before = downloads().length;
    expect((await get({ settings: plain })).path).toBe(path);
    expect(downloads()).toHaveLength(before);
  });

  it('puts files themselves where the system allows no links', async () => {
    const [blob, pointer] = [join(home, 'blob'), join(home, 'snapshot', 'file')];
    const denied = () => Promise.reject(Object.assign(new Error('not permitted'), { code: 'EPERM' }));
    await writeFile(blob, 'content');
    await placeBlob(blob, pointer, false, denied);
    expect([await readFile(pointer, 'utf8'), await readFile(blob, 'utf8')]).toEqual(['content', 'content']);
    await placeBlob(blob, pointer, true, denied);
    expect((await readdir(home)).includes('blob')).toBe(false);
  });

  it('waits for no other process, and minds no dead one', async () => {
    const lock = `${cache().blob(sha256(weights))}.lfm.lock`;
    await mkdir(join(lock, '..'), { recursive: true });
    await writeFile(lock, String(process.pid));
    await expect(get()).rejects.toMatchObject({ code: 'hub-busy' });
    await writeFile(lock, '999999999');
    expect((await get()).kind).toBe('folder');
  });
});

describe('parseHubName', () => {
  it('tells names of the hub from other texts', () => {
    expect(parseHubName('LiquidAI/LFM2-350M')).toEqual({ owner: 'LiquidAI', name: 'LFM2-350M', file: undefined });
    expect(parseHubName('a/b/sub/x.Q4_0.gguf')?.file).toBe('sub/x.Q4_0.gguf');
    for (const text of ['lfm2', './a', '../a', 'a/..', 'a/b/c', 'a//b', '/a/b', 'a/b.', 'a\\b', 'https://a/b'])
      expect(parseHubName(text), text).toBeUndefined();
  });
});

describe('hubSettings', () => {
  it('reads the environment as the usual tools do', async () => {
    await writeFile(join(home, 'token'), 'hf_fromFile\n');
    expect(await hubSettings({ HF_HOME: home })).toMatchObject({
      endpoint: 'https://huggingface.co',
      cache: join(home, 'hub'),
      token: 'hf_fromFile',
      offline: false,
      symlinks: true,
    });
    const env = {
      HF_HOME: home,
      HF_TOKEN: 'hf_env',
      HF_HUB_CACHE: '/c',
      HF_ENDPOINT: 'http://h/',
      HF_HUB_OFFLINE: 'ON',
    };
    expect(await hubSettings(env)).toMatchObject({ endpoint: 'http://h', cache: '/c', token: 'hf_env', offline: true });
  });

  it('shows nothing of a token that cannot be one', async () => {
    const wrong = hubSettings({ HF_HOME: home, HF_TOKEN: 'hf_x\r\nhost: evil' });
    await expect(wrong).rejects.toMatchObject({ code: 'hub-token', message: expect.not.stringContaining('hf_x') });
    await expect(hubSettings({ HF_HOME: home, HF_ENDPOINT: 'ftp://x' })).rejects.toMatchObject({
      code: 'hub-endpoint',
    });
  });
});
