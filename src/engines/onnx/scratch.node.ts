// Arrays in a file that has no name any more: memory that the system may take back, gone with its last user.
import { randomUUID } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { DType } from '../../tensor/index.ts';
import { byteLength, countOf } from '../../tensor/index.ts';
import { Mapping } from './mapping.node.ts';
import { allocate } from './memory.node.ts';
import { Value } from './value.node.ts';

interface Wanted {
  readonly name: string;
  readonly dtype: DType;
  readonly dims: readonly number[];
}

const PAGE = 4096;

/** Tensors by name, one after the other written by `fill`, so that one at a time is in memory. Errors: those of `fill` and of the file system. */
export async function scratchArrays<W extends Wanted>(
  folder: string,
  wanted: readonly W[],
  fill: (one: W, into: Uint8Array) => Promise<void>,
): Promise<Record<string, Value>> {
  const path = join(folder, `scratch-${randomUUID()}`);
  const file = await open(path, 'wx+', 0o600);
  try {
    const places: { readonly one: W; readonly offset: number; readonly bytes: number }[] = [];
    let offset = 0;
    for (const one of wanted) {
      const bytes = byteLength(one.dtype, countOf(one.dims));
      places.push({ one, offset, bytes });
      using memory = allocate(bytes);
      await fill(one, memory.bytes);
      for (let done = 0; done < bytes;)
        done += (await file.write(memory.bytes, done, bytes - done, offset + done)).bytesWritten;
      offset += Math.ceil(bytes / PAGE) * PAGE;
    }
    await file.truncate(offset);
    const mapping = new Mapping(file, offset);
    try {
      const made = places.map(
        ({ one, offset: at, bytes }) => [one.name, Value.over(one.dtype, one.dims, mapping.part(at, bytes))] as const,
      );
      return Object.fromEntries(made);
    } finally {
      mapping.dispose();
    }
  } finally {
    await file.close();
    await rm(path, { force: true });
  }
}
