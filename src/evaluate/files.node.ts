// Files of benchmarks and texts: found in a folder packed or not, and read whole, or as far as is asked.
import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import * as z from 'zod';
import { readLines } from '../data/text-files.node.ts';
import { exists } from '../host/exists.node.ts';
import { hashing } from '../files/manifest.node.ts';
import { resolveModel } from '../generate/source.node.ts';
import { LfmError } from '../tensor/error.ts';

/** A benchmark's file in the user's folder, or in its folder `benchmarks`. Errors: `data-missing`. */
export async function findData(folder: string | undefined, file: string, what: string): Promise<string> {
  if (folder === undefined)
    throw new LfmError('data-missing', `${what} needs its data: give the folder that holds ${file} as --data FOLDER.`);
  for (const inside of ['', 'benchmarks'])
    for (const packed of ['', '.br', '.gz']) {
      const path = join(folder, inside, `${file}${packed}`);
      if (await exists(path)) return path;
    }
  throw new LfmError(
    'data-missing',
    `${what}: there is no ${file} in ${folder}, nor in ${join(folder, 'benchmarks')}, plain or as .br or .gz.`,
  );
}

/** What `read` makes of the first `limit` lines of a .jsonl file. Errors: `bad-item` naming file and line, `jsonl-…`, `text-…`. */
export async function readItems<T>(path: string, read: (line: unknown) => T, limit = Infinity): Promise<T[]> {
  const items: T[] = [];
  const lines = readLines(
    path,
    (value, where) => {
      try {
        return read(value);
      } catch (cause) {
        const why =
          cause instanceof z.ZodError ? z.prettifyError(cause) : cause instanceof LfmError ? cause.message : undefined;
        if (why === undefined) throw cause;
        throw new LfmError('bad-item', `${where}: ${why}`, { cause });
      }
    },
    basename(path),
  );
  for await (const item of lines) if (items.push(item) >= limit) return items;
  if (items.length > 0) return items;
  throw new LfmError('bad-item', `${path}: expected a line for each item; it has none.`);
}

/** Paths of a model's weights. Errors: those of `resolveModel`, `no-weights`. */
export async function weightFiles(name: string): Promise<readonly string[]> {
  const resolved = await resolveModel(name);
  if (resolved.kind === 'gguf') return [resolved.path];
  const { path } = resolved.kind === 'folder' ? resolved : { path: undefined };
  const files = path === undefined ? [] : (await readdir(path)).filter((file) => file.endsWith('.safetensors'));
  if (path !== undefined && files.length > 0) return files.toSorted().map((file) => join(path, file));
  throw new LfmError('no-weights', `${name} has no weights: there is nothing to measure.`);
}

/** What tells weights from others that come to stand under the same name: SHA-256 of their files, in hex. */
export async function weightsHash(name: string): Promise<string> {
  const hash = hashing();
  for (const path of await weightFiles(name))
    for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
