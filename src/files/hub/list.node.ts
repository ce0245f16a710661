// The files of a model on the hub, with their sizes and hashes, at one commit.

import * as z from 'zod';

import { LfmError } from '../../tensor/error.ts';
import { safeName } from '../manifest.node.ts';
import { checkRevision, COMMIT, type HubName } from './name.ts';
import { BrokenConnection, refusal, request } from './request.node.ts';
import type { HubSettings } from './settings.node.ts';

export interface HubFile {
  /** Its path in the model's folder. */
  readonly path: string;
  readonly bytes: number;
  /** SHA-256 of the content for a large file, git's SHA-1 of it for a small one. Also its name in the cache. */
  readonly etag: string;
}

export interface HubListing {
  readonly commit: string;
  readonly files: readonly HubFile[];
}

const MOST_BYTES = 64 * 2 ** 20;

const size = z.number().int().nonnegative();
const answer = z.object({
  sha: z.string().regex(COMMIT),
  siblings: z
    .array(
      z.object({
        rfilename: z.string(),
        size: size.nullish(),
        blobId: z.string().regex(COMMIT).nullish(),
        lfs: z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/), size: size.nullish() }).nullish(),
      }),
    )
    .max(100_000),
});

/** Errors: `hub-unreachable`, `hub-denied`, `hub-not-found`, `hub-answer`, `hub-path`, `hub-revision`, …; the reason of `signal`. */
export async function listModel(
  settings: HubSettings,
  model: HubName,
  revision: string,
  signal: AbortSignal,
): Promise<HubListing> {
  const { endpoint } = settings;
  const path = `${model.owner}/${model.name}/revision/${encodeURIComponent(checkRevision(revision))}`;
  try {
    const response = await request(settings, `${endpoint}/api/models/${path}?blobs=true`, {}, signal);
    if (!response.ok) throw await refusal(response, settings, model, revision);
    return readListing(await readBounded(response), model);
  } catch (cause) {
    if (!(cause instanceof BrokenConnection)) throw cause;
    throw new LfmError(
      'hub-unreachable',
      `${endpoint} cannot be reached (${cause.message}). Models that were pulled before run without it.`,
      { cause },
    );
  }
}

async function readBounded(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let [text, bytes] = ['', 0];
  try {
    for await (const chunk of response.body ?? []) {
      bytes += chunk.length;
      if (bytes > MOST_BYTES)
        throw new LfmError('hub-answer', `The hub's list of files has over ${MOST_BYTES} bytes: no model has as many.`);
      text += decoder.decode(chunk, { stream: true });
    }
  } catch (cause) {
    if (cause instanceof LfmError) throw cause;
    throw new BrokenConnection(String(cause), { cause });
  }
  return text;
}

function readListing(text: string, { owner, name }: HubName): HubListing {
  const wrong = (what: string, cause?: unknown) =>
    new LfmError('hub-answer', `The hub's answer about ${owner}/${name} cannot be used: ${what}.`, { cause });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw wrong('it is not JSON', cause);
  }
  const parsed = answer.safeParse(json);
  if (!parsed.success) throw wrong(parsed.error.issues[0]?.path.join('.') ?? 'unreadable');
  const files = parsed.data.siblings.map(({ rfilename, size: plain, blobId, lfs }) => {
    if (!safeName(rfilename)) {
      throw new LfmError(
        'hub-path',
        `${owner}/${name} has a file named ${JSON.stringify(rfilename.slice(0, 80))}, which could leave its folder.`,
      );
    }
    const bytes = lfs?.size ?? plain;
    const etag = lfs?.sha256 ?? blobId;
    if (bytes === undefined || bytes === null || etag === undefined || etag === null)
      throw wrong(`${rfilename} has no size or no hash, so it could not be checked`);
    return { path: rfilename, bytes, etag };
  });
  return { commit: parsed.data.sha, files };
}
