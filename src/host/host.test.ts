// Both halves of the platform seam: the one `#host` resolves to here, and the browser's with a stand-in fetch.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { host } from '#host';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openUrl } from '../files/download.ts';
import { host as browser } from './browser.ts';
import { findPackage } from './package.node.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lfm-host-'));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  vi.unstubAllGlobals();
  await rm(folder, { recursive: true });
});

describe('node', () => {
  it('is what #host names here', () => expect(host.name).toBe('node'));

  it('reads a path and a file URL to the same bytes', async () => {
    const path = join(folder, 'three.bin');
    await writeFile(path, Uint8Array.of(0, 128, 255));
    expect([...(await host.readBytes(path))]).toEqual([0, 128, 255]);
    expect([...(await host.readBytes(pathToFileURL(path)))]).toEqual([0, 128, 255]);
  });

  it('names what is missing', async () => {
    await expect(host.readBytes(join(folder, 'none'))).rejects.toMatchObject({ code: 'file-not-found' });
    await expect(host.readBytes(folder)).rejects.toMatchObject({ code: 'file-unreadable' });
  });

  it('keeps its cache where LFM_CACHE says, else in a folder of its own', () => {
    vi.stubEnv('LFM_CACHE', '');
    expect(host.cacheFolder()).toMatch(/lfm/);
    vi.stubEnv('LFM_CACHE', folder);
    expect(host.cacheFolder()).toBe(folder);
  });

  it('finds its package', async () => {
    const { folder, version } = await findPackage();
    expect(JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'))).toMatchObject({ name: 'lfm', version });
  });

  it('counts cores', () => expect(host.coreCount()).toBeGreaterThanOrEqual(1));
});

describe('browser', () => {
  it('reads what fetch answers', async () => {
    vi.stubGlobal('fetch', () => Promise.resolve(new Response(Uint8Array.of(7, 9))));
    expect([...(await browser.readBytes('https://example.test/a'))]).toEqual([7, 9]);
  });

  it.each([
    [404, 'file-not-found'],
    [500, 'file-unreadable'],
  ])('turns status %i into %s', async (status, code) => {
    vi.stubGlobal('fetch', () => Promise.resolve(new Response(null, { status })));
    await expect(browser.readBytes('https://example.test/a')).rejects.toMatchObject({ code });
  });

  it('takes a page, as its server gives for what it does not have, for no file', async () => {
    const headers = { 'content-type': 'text/html; charset=utf-8' };
    vi.stubGlobal('fetch', () => Promise.resolve(new Response('<!doctype html>', { headers })));
    await expect(browser.readBytes('https://example.test/chat_template.jinja')).rejects.toMatchObject({
      code: 'file-not-found',
    });
    expect(await openUrl('https://example.test/model.safetensors')).toBeUndefined();
  });
});
