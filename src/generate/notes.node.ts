// Notes about a model's files, in the user's cache beside what the engine keeps of them: they go when those do.
import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { host } from '#host';
import { writeFileAtomic } from '../files/atomic.node.ts';
import type { Notes } from './source.ts';

/** `identity`: what tells the files from all others. */
export function notesOf(identity: string): Notes {
  const folder = join(host.cacheFolder(), 'onnx');
  const pathOf = (about: string) =>
    join(
      folder,
      `${createHash('sha256')
        .update(JSON.stringify([identity, about]))
        .digest('hex')}.note`,
    );
  return {
    read: (about) => readFile(pathOf(about), 'utf8').catch(() => undefined),
    async write(about, text) {
      try {
        await mkdir(folder, { recursive: true, mode: 0o700 });
        await writeFileAtomic(pathOf(about), text);
      } catch {
        // A full disk or a folder without permission costs the time to find it out again.
      }
    },
  };
}
