// Files of benchmarks and texts: found in a folder packed or not, and read whole, or as far as is asked.
import { access } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { jsonLines } from '../data/documents.ts';
import { readText } from '../data/text-files.node.ts';
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
