// Positional reads of a file, whole or not at all.

import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

import { LfmError } from '../tensor/error.ts';

/** The kernel reads at most 2 GiB at once. */
const MAX_READ = 2 ** 30;

/** Errors: `file-missing`, `file-unreadable`. */
export async function openForReading(path: string): Promise<FileHandle> {
  return open(path, 'r').catch((cause: NodeJS.ErrnoException) => {
    const code = cause.code === 'ENOENT' ? 'file-missing' : 'file-unreadable';
    throw new LfmError(code, `cannot open ${path}: ${cause.message}`, { cause });
  });
}

/** Fills `into` from `position` on. Errors: `file-cut-short`. */
export async function readFully(file: FileHandle, into: Uint8Array, position: number, path: string): Promise<void> {
  for (let done = 0; done < into.byteLength;) {
    const length = Math.min(MAX_READ, into.byteLength - done);
    const { bytesRead } = await file.read(into, done, length, position + done);
    if (bytesRead === 0) {
      throw new LfmError(
        'file-cut-short',
        `${path} ended at byte ${position + done} while being read: was it replaced?`,
      );
    }
    done += bytesRead;
  }
}
