// The cache that the usual tools share: models--OWNER--NAME with blobs/HASH, snapshots/COMMIT/PATH (links into blobs) and
// refs/REVISION (a commit).

import { copyFile, mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';

import { LfmError } from '../../tensor/error.ts';
import { writeFileAtomic } from '../atomic.node.ts';
import { checkRevision, COMMIT, type HubName } from './name.ts';
import { selectFiles } from './select.ts';

export interface ModelCache {
  readonly folder: string;
  blob(etag: string): string;
  pointer(commit: string, path: string): string;
}

export function modelCache(cache: string, { owner, name }: HubName): ModelCache {
  const folder = join(cache, `models--${owner}--${name}`);
  return {
    folder,
    blob: (etag) => join(folder, 'blobs', etag),
    pointer: (commit, path) => join(folder, 'snapshots', commit, path),
  };
}

/** The size of a file, links followed; undefined when there is none. */
export async function sizeOf(path: string): Promise<number | undefined> {
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() ? found.size : undefined;
}

/**
 * Makes a snapshot's path show a blob: by a link, or, where links are not allowed, by the file itself, which is moved there
 * if no other snapshot may have it (`isNew`).
 */
export async function placeBlob(
  blob: string,
  pointer: string,
  isNew: boolean,
  link: ((target: string, path: string) => Promise<void>) | null = symlink,
): Promise<void> {
  await mkdir(dirname(pointer), { recursive: true });
  await rm(pointer, { force: true });
  try {
    if (link) return await link(relative(dirname(pointer), blob), pointer);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (!['EPERM', 'EACCES', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'UNKNOWN'].includes(code)) throw error;
  }
  if (isNew) return rename(blob, pointer);
  const partial = `${pointer}.lfm.incomplete`;
  await copyFile(blob, partial);
  await rename(partial, pointer);
}

/** Remembers which commit a branch or tag is at. */
export async function writeRef({ folder }: ModelCache, revision: string, commit: string): Promise<void> {
  if (revision === commit) return;
  const path = join(folder, 'refs', checkRevision(revision));
  await mkdir(dirname(path), { recursive: true });
  await writeFileAtomic(path, commit);
}

export interface CachedModel {
  /** A snapshot's folder, or one GGUF file in it. */
  readonly kind: 'folder' | 'gguf';
  readonly path: string;
  readonly commit: string;
  /** Whether a tokenizer is among the files: other tools may have left weights alone. */
  readonly hasTokenizer: boolean;
}

/** What the cache holds of a model, whole; undefined when something is missing. Nothing is asked of the hub. */
export async function findCached(
  cache: string,
  model: HubName,
  revision = 'main',
  chosen = model.file,
): Promise<CachedModel | undefined> {
  const { folder } = modelCache(cache, model);
  const commit = COMMIT.test(checkRevision(revision))
    ? revision
    : (await readFile(join(folder, 'refs', revision), 'utf8').catch(() => '')).trim();
  if (!COMMIT.test(commit)) return undefined;
  const snapshot = join(folder, 'snapshots', commit);
  if (chosen !== undefined) {
    const path = join(snapshot, chosen);
    return (await sizeOf(path)) === undefined ? undefined : { kind: 'gguf', path, commit, hasTokenizer: true };
  }
  const names = await readdir(snapshot).catch(() => []);
  const sizes = await Promise.all(names.map((name) => sizeOf(join(snapshot, name))));
  const files = names.map((path, i) => ({ path, bytes: sizes[i] ?? -1 })).filter(({ bytes }) => bytes >= 0);
  try {
    const selected = selectFiles(`${model.owner}/${model.name}`, files);
    const [first] = selected;
    if (selected.length === 1 && first && /\.gguf$/i.test(first.path))
      return { kind: 'gguf', path: join(snapshot, first.path), commit, hasTokenizer: true };
    const isWhole = await hasAllShards(snapshot, files);
    const hasTokenizer = files.some(({ path }) => path === 'tokenizer.json');
    return isWhole ? { kind: 'folder', path: snapshot, commit, hasTokenizer } : undefined;
  } catch (error) {
    if (error instanceof LfmError) return undefined;
    throw error;
  }
}

/** Shards say in their names how many there are. */
async function hasAllShards(snapshot: string, files: readonly { readonly path: string }[]): Promise<boolean> {
  if ((await sizeOf(join(snapshot, 'model.safetensors'))) !== undefined) return true;
  const counts = files.flatMap(({ path }) => /-of-(\d{5})\.safetensors$/.exec(path)?.[1] ?? []);
  return counts.length > 0 && counts.every((count) => Number(count) === counts.length);
}
