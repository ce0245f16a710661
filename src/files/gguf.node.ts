// GGUF files on disk.
import type { GgufFile } from './gguf-read.ts';
import { readGguf } from './gguf-read.ts';
import { openForReading, readFully } from './read.node.ts';

export type { GgufFile } from './gguf-read.ts';

/** Open a GGUF file of version 2 or 3. Errors: `file-missing`, `file-unreadable`, every `gguf-…` rule. */
export async function openGguf(path: string): Promise<GgufFile> {
  const file = await openForReading(path);
  const { size } = await file.stat();
  const read = (into: Uint8Array, offset: number) => readFully(file, into, offset, path);
  return readGguf({ size, read, close: () => file.close() }, path);
}
