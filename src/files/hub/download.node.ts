// One file of the hub into the cache: resumed where it broke off, and kept only if its size and hash are right.

import { createHash, type Hash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { mkdir, open, readFile, rename, rm, writeFile, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

import { LfmError } from '../../tensor/error.ts';
import type { HubFile } from './list.node.ts';
import type { HubName } from './name.ts';
import { BrokenConnection, refusal, request } from './request.node.ts';
import type { HubSettings } from './settings.node.ts';

/** Failures in a row, without a byte gained, before a download is given up. */
const MOST_FAILURES = 5;

/** Where a download that broke off waits for the next. */
export function partialOf(blob: string): string {
  return `${blob}.lfm.incomplete`;
}

export interface Download {
  readonly settings: HubSettings;
  readonly model: HubName;
  readonly commit: string;
  readonly file: HubFile;
  /** Where the file is to stand. */
  readonly blob: string;
  readonly signal: AbortSignal;
  /** Bytes of it that are there, whenever that changes. */
  readonly onBytes: (bytes: number) => void;
}

/**
 * Errors: `hub-hash` and `hub-size` (nothing is kept), `hub-interrupted` and the reason of `signal` (what is there is kept for
 * the next time), `hub-busy`, `hub-denied`, `hub-not-found`, `disk-full`, …
 */
export async function downloadBlob(download: Download): Promise<void> {
  const { blob, file } = download;
  await mkdir(dirname(blob), { recursive: true });
  const lock = `${blob}.lfm.lock`;
  await takeLock(lock, file.path);
  try {
    const partial = partialOf(blob);
    try {
      await fill(download, partial);
    } catch (error) {
      if (error instanceof LfmError && /^hub-(hash|size)$/.test(error.code)) await rm(partial, { force: true });
      throw error;
    }
    await rename(partial, blob);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'ENOSPC' && code !== 'EDQUOT') throw error;
    const message = `The disk is full: free ${file.bytes} bytes at ${dirname(blob)}, or set HF_HOME to another place.`;
    throw new LfmError('disk-full', message, { cause: error });
  } finally {
    await rm(lock, { force: true });
  }
}

/** A partial file on its way: what is there, and its hash so far. */
interface Filling {
  readonly handle: FileHandle;
  hash: Hash;
  bytes: number;
}

async function fill(download: Download, partial: string): Promise<void> {
  const { file, settings, signal, onBytes } = download;
  const handle = await open(partial, constants.O_RDWR | constants.O_CREAT, 0o644);
  try {
    const filling: Filling = { handle, hash: startHash(file), bytes: 0 };
    const { size } = await handle.stat();
    if (size > file.bytes) await handle.truncate(0);
    else if (size > 0) {
      for await (const chunk of createReadStream(partial, { signal })) filling.hash.update(chunk as Buffer);
      filling.bytes = size;
    }
    onBytes(filling.bytes);
    for (let failures = 0; filling.bytes < file.bytes;) {
      const before = filling.bytes;
      try {
        await receive(download, filling);
      } catch (error) {
        if (!(error instanceof BrokenConnection)) throw error;
        failures = filling.bytes > before ? 1 : failures + 1;
        if (failures > MOST_FAILURES) throw interrupted(download, filling.bytes, error);
        await wait(settings.retryMs * 2 ** (failures - 1), undefined, { signal }).catch(() => signal.throwIfAborted());
      }
    }
    const found = filling.hash.digest('hex');
    if (found !== file.etag) {
      throw new LfmError(
        'hub-hash',
        `${file.path} came with the hash ${found}, expected ${file.etag}: it is not the file that the hub lists. It was deleted; pull again, and if it stays so, do not trust where it comes from.`,
      );
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Takes what one connection gives. Errors: `BrokenConnection` where there may be more. */
async function receive({ settings, model, commit, file, signal, onBytes }: Download, filling: Filling): Promise<void> {
  const path = file.path.split('/').map(encodeURIComponent).join('/');
  const url = `${settings.endpoint}/${model.owner}/${model.name}/resolve/${commit}/${path}`;
  const stalled = new AbortController();
  const timer = setTimeout(() => stalled.abort(), settings.stallMs);
  try {
    const range: Record<string, string> = filling.bytes > 0 ? { range: `bytes=${filling.bytes}-` } : {};
    const response = await request(settings, url, range, AbortSignal.any([signal, stalled.signal]));
    if (response.status >= 500) {
      await response.body?.cancel();
      throw new BrokenConnection(`the server answered ${response.status}`);
    }
    if (response.status !== 416 && !response.ok) throw await refusal(response, settings, model, file.path);
    const resumes = response.status === 206 && startsAt(response, filling.bytes);
    if (filling.bytes > 0 && !resumes) await restart(filling, file);
    if (response.status === 416 || (response.status === 206 && !resumes)) {
      await response.body?.cancel();
      throw new BrokenConnection('the server does not resume');
    }
    for await (const chunk of response.body ?? []) {
      timer.refresh();
      if (filling.bytes + chunk.length > file.bytes)
        throw new LfmError('hub-size', `${file.path} is longer than the ${file.bytes} bytes that the hub lists.`);
      await filling.handle.write(chunk, 0, chunk.length, filling.bytes);
      filling.hash.update(chunk);
      filling.bytes += chunk.length;
      onBytes(filling.bytes);
    }
    if (filling.bytes < file.bytes) throw new BrokenConnection('the connection ended early');
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof LfmError || error instanceof BrokenConnection || isOfDisk(error)) throw error;
    const reason = stalled.signal.aborted ? `no data for ${settings.stallMs / 1000} s` : String(error);
    throw new BrokenConnection(reason, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

function startsAt(response: Response, bytes: number): boolean {
  return response.headers.get('content-range')?.startsWith(`bytes ${bytes}-`) ?? false;
}

async function restart(filling: Filling, file: HubFile): Promise<void> {
  await filling.handle.truncate(0);
  filling.hash = startHash(file);
  filling.bytes = 0;
}

/** Git hashes a header with the content. */
function startHash({ etag, bytes }: HubFile): Hash {
  return etag.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${bytes}\0`);
}

function isOfDisk(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error && error.syscall === 'write' && 'code' in error;
}

function interrupted({ file }: Download, bytes: number, cause: Error): LfmError {
  const message = `${file.path} broke off at ${bytes} of ${file.bytes} bytes (${cause.message}): pull again, and it goes on from there.`;
  return new LfmError('hub-interrupted', message, { cause });
}

/** One process downloads a file. A lock whose process is gone counts for nothing. */
async function takeLock(lock: string, path: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await writeFile(lock, String(process.pid), { flag: 'wx' });
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    }
    const pid = Number(await readFile(lock, 'utf8').catch(() => ''));
    if (attempt > 0 || isAlive(pid)) {
      throw new LfmError('hub-busy', `${path} is being downloaded by process ${pid}: wait for it, or delete ${lock}.`);
    }
    await rm(lock, { force: true });
  }
}

function isAlive(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
