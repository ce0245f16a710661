// Arrays written into a file, one at a time in memory, for ONNX Runtime to map.
import { open } from 'node:fs/promises';
import { basename } from 'node:path';
import type { DType } from '../../tensor/index.ts';
import { byteLength, countOf } from '../../tensor/index.ts';
import { allocate } from './memory.node.ts';
import type { ExternalData } from './proto.ts';

interface Wanted {
  readonly name: string;
  readonly dtype: DType;
  readonly dims: readonly number[];
}

const PAGE = 4096;

/** Where each stands, by name. The file, which must be new, is the caller's also where this fails. Errors: those of `fill` and of the file system. */
export async function writeArrays<W extends Wanted>(
  path: string,
  wanted: readonly W[],
  fill: (one: W, into: Uint8Array) => Promise<void>,
): Promise<Map<string, ExternalData>> {
  const places = new Map<string, ExternalData>();
  const file = await open(path, 'wx', 0o600);
  try {
    let offset = 0;
    for (const one of wanted) {
      const length = byteLength(one.dtype, countOf(one.dims));
      places.set(one.name, { location: basename(path), offset, length });
      using memory = allocate(length);
      await fill(one, memory.bytes);
      for (let done = 0; done < length;)
        done += (await file.write(memory.bytes, done, length - done, offset + done)).bytesWritten;
      offset += Math.ceil(length / PAGE) * PAGE;
    }
    return places;
  } finally {
    await file.close();
  }
}
