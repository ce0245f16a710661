// The folder that a run may begin in: one that is not there, or that holds nothing but what a run leaves.
import { readdir } from 'node:fs/promises';
import { LfmError } from '../tensor/error.ts';
import { checkpointSteps } from './checkpoint.node.ts';

/** What a run may leave that ended before its first checkpoint. */
const ownFiles = /^(?:data|metrics\.jsonl|plot\.html|lock\.json.*|\..*)$/;

/** Errors: `run-exists`, `not-a-run`. */
export async function refuseExisting(folder: string): Promise<void> {
  const [newest] = await checkpointSteps(folder);
  if (newest !== undefined)
    throw new LfmError(
      'run-exists',
      `${folder} holds a run that reached step ${newest}: go on with --resume, or choose another folder with --out.`,
    );
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw new LfmError('not-a-run', `${folder} is no folder: choose another with --out.`, { cause: error });
  });
  const other = names.find((name) => !ownFiles.test(name));
  if (other !== undefined)
    throw new LfmError(
      'not-a-run',
      `${folder} holds ${other}, which is no run's: choose an empty folder with --out, or one that is not there yet.`,
    );
}
