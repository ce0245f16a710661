// A model from the hub into the cache: listed, agreed to, downloaded, checked.

import { LfmError } from '../../tensor/error.ts';
import { type CachedModel, findCached, modelCache, placeBlob, sizeOf, writeRef } from './cache.node.ts';
import { downloadBlob, partialOf } from './download.node.ts';
import { type HubFile, listModel } from './list.node.ts';
import type { HubName } from './name.ts';
import { selectFiles } from './select.ts';
import { type HubSettings, hubSettings } from './settings.node.ts';

export interface PullPlan {
  readonly commit: string;
  readonly files: readonly HubFile[];
  /** Of all files, and of what is not here yet. */
  readonly totalBytes: number;
  readonly missingBytes: number;
}

export interface PullOptions {
  /** A branch, a tag or a commit. Default: main. */
  readonly revision?: string | undefined;
  /** One file, such as a GGUF, instead of the model's folder. */
  readonly file?: string | undefined;
  /** Default: from the environment. */
  readonly settings?: HubSettings;
  /** Asked before anything is downloaded; false ends it. Not asked where nothing is missing. */
  readonly confirm?: (plan: PullPlan) => boolean | Promise<boolean>;
  /** Of what was missing. */
  readonly onProgress?: ((progress: { doneBytes: number; totalBytes: number; path: string }) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Answers where the model stands: a snapshot's folder, or the file that was chosen. Offline it must stand there already.
 * Errors: `hub-offline`, `hub-declined`, those of `listModel`, `selectFiles` and `downloadBlob`; the reason of `signal`.
 */
export async function pull(model: HubName, options: PullOptions = {}): Promise<CachedModel> {
  const { revision = 'main', signal = new AbortController().signal, onProgress } = options;
  const settings = options.settings ?? (await hubSettings());
  const chosen = options.file ?? model.file;
  const name = `${model.owner}/${model.name}`;
  if (settings.offline) {
    const cached = await findCached(settings.cache, model, revision, chosen);
    if (cached) return cached;
    throw new LfmError('hub-offline', `${name} is not in ${settings.cache}, and offline nothing is fetched.`);
  }
  const { commit, files: all } = await listModel(settings, model, revision, signal);
  const files = selectFiles(name, all, chosen);
  const cache = modelCache(settings.cache, model);
  const missing: HubFile[] = [];
  let missingBytes = 0;
  for (const file of files) {
    if ((await sizeOf(cache.pointer(commit, file.path))) === file.bytes) continue;
    missing.push(file);
    if ((await sizeOf(cache.blob(file.etag))) !== file.bytes)
      missingBytes += file.bytes - Math.min(file.bytes, (await sizeOf(partialOf(cache.blob(file.etag)))) ?? 0);
  }
  const totalBytes = files.reduce((sum, { bytes }) => sum + bytes, 0);
  if (missingBytes > 0 && options.confirm && !(await options.confirm({ commit, files, totalBytes, missingBytes })))
    throw new LfmError('hub-declined', `Nothing of ${name} was downloaded.`);
  let doneBytes = 0;
  for (const file of missing) {
    signal.throwIfAborted();
    const blob = cache.blob(file.etag);
    const isNew = (await sizeOf(blob)) !== file.bytes;
    if (isNew) {
      // The first report is of what was here before.
      let last: number | undefined;
      await downloadBlob({
        settings,
        model,
        commit,
        file,
        blob,
        signal,
        onBytes(bytes) {
          doneBytes += bytes - (last ?? bytes);
          last = bytes;
          onProgress?.({ doneBytes, totalBytes: missingBytes, path: file.path });
        },
      });
    }
    await placeBlob(blob, cache.pointer(commit, file.path), isNew, settings.symlinks ? undefined : null);
  }
  await writeRef(cache, revision, commit);
  const found = await findCached(settings.cache, model, commit, chosen);
  if (found) return found;
  throw new LfmError('hub-answer', `${name} was downloaded, but its weights are not all there: the hub lists too few.`);
}
