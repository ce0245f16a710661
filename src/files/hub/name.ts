// Names of models on the hub: OWNER/NAME, or OWNER/NAME/FILE.gguf for one file of it.

import { LfmError } from '../../tensor/error.ts';

export interface HubName {
  readonly owner: string;
  readonly name: string;
  /** One file instead of the model's folder. */
  readonly file?: string | undefined;
}

/** undefined: not shaped like a name of the hub. */
export function parseHubName(text: string): HubName | undefined {
  const [, owner, name, file] = /^([\w][\w.-]{0,95})\/([\w][\w.-]{0,95})(?:\/([^\\:]+\.gguf))?$/i.exec(text) ?? [];
  if (owner === undefined || name === undefined || [owner, name].some((part) => /\.\.|--|[.-]$/.test(part)))
    return undefined;
  return { owner, name, file };
}

/** A branch, a tag or a commit, which also names a file in the cache. Errors: `hub-revision`. */
export function checkRevision(revision: string): string {
  const isPlain = /^[\w][\w.+/-]{0,255}$/.test(revision) && !/\.\.|\/\/|\/\.|\/$/.test(revision);
  if (isPlain) return revision;
  throw new LfmError(
    'hub-revision',
    `${JSON.stringify(revision.slice(0, 80))} cannot be a revision: expected a branch, a tag or a commit, such as main.`,
  );
}

export const COMMIT = /^[0-9a-f]{40}$/;
