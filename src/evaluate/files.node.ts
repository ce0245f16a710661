// Files of benchmarks and texts: found in a folder packed or not, and read whole, or as far as is asked.
import { createReadStream } from 'node:fs';
import { access, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import * as z from 'zod';
import { jsonLines } from '../data/documents.ts';
import { readText } from '../data/text-files.node.ts';
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
      if (
        await access(path).then(
          () => true,
          () => false,
        )
      )
        return path;
    }
  throw new LfmError(
    'data-missing',
    `${what}: there is no ${file} in ${folder}, nor in ${join(folder, 'benchmarks')}, plain or as .br or .gz.`,
  );
}

/** What `read` makes of the first `limit` lines of a .jsonl file. Errors: `bad-item` naming file and line, `jsonl-…`, `text-…`. */
export async function readItems<T>(path: string, read: (line: unknown) => T, limit = Infinity): Promise<T[]> {
  const items: T[] = [];
  const lines = jsonLines(basename(path), (value, where) => {
    try {
      return read(value);
    } catch (cause) {
      const why =
        cause instanceof z.ZodError ? z.prettifyError(cause) : cause instanceof LfmError ? cause.message : undefined;
      if (why === undefined) throw cause;
      throw new LfmError('bad-item', `${where}: ${why}`, { cause });
    }
  });
  for await (const chunk of readText(path)) {
    for (const item of lines.push(chunk)) if (items.push(item) >= limit) return items;
  }
  items.push(...lines.end());
  if (items.length > 0) return items.slice(0, limit);
  throw new LfmError('bad-item', `${path}: expected a line for each item; it has none.`);
}

/** The text of a file, cut at a character once it has `most` bytes. Errors: `text-…`. */
export async function readBeginning(path: string, most = Infinity): Promise<string> {
  const decoder = new TextDecoder();
  let [text, bytes] = ['', 0];
  for await (const chunk of readText(path)) {
    text += decoder.decode(chunk, { stream: true });
    bytes += chunk.length;
    if (bytes >= most) break;
  }
  return text;
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
