// Weights as kernels take them, kept in files of the user's cache: made once, then mapped, which takes neither time nor memory of the
// process's own. A file: magic, the length of a table, the table as JSON, then the arrays, each at a multiple of a page.
import { createHash, randomUUID } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { chmod, mkdir, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { DType } from '../../tensor/index.ts';
import { byteLength, countOf } from '../../tensor/index.ts';
import { Mapping } from './mapping.node.ts';
import { allocate } from './memory.node.ts';
import { Value } from './value.node.ts';

/** To be raised with every change to what is written for the same weights: the table's form, and what `Derived.fill` writes. */
const FORMAT = 1;
const MAGIC = 'lfm-kept';
const SUFFIX = '.weights';
const PAGE = 4096;
const MOST_HEADER = 2 ** 24;
/** Of all files; those used longest ago go first. */
const MOST_BYTES = 16 * 2 ** 30;

/** An array to be kept. */
export interface Kept {
  readonly name: string;
  readonly dtype: DType;
  readonly dims: readonly number[];
  /** Whether it is read only while a session is made. */
  readonly isPassing: boolean;
}

interface Placed extends Kept {
  readonly offset: number;
  readonly bytes: number;
}

export class KeptWeights {
  readonly #mapping: Mapping;
  readonly #placed: ReadonlyMap<string, Placed>;

  private constructor(mapping: Mapping, placed: readonly Placed[]) {
    this.#mapping = mapping;
    this.#placed = new Map(placed.map((one) => [one.name, one]));
  }

  /**
   * Opens the file of these weights, `identities` being all that tells them from others, or writes it: `fill` is asked for the arrays
   * one by one. Undefined where files cannot be kept or mapped. Errors: those of `fill`.
   */
  static async open(
    folder: string,
    identities: readonly string[],
    wanted: readonly Kept[],
    fill: (name: string, into: Uint8Array) => Promise<void>,
  ): Promise<KeptWeights | undefined> {
    const key = createHash('sha256')
      .update(JSON.stringify([FORMAT, identities]))
      .digest('hex');
    const path = join(folder, `${key}${SUFFIX}`);
    const known = await KeptWeights.#map(path);
    if (known) {
      const now = new Date();
      await utimes(path, now, now).catch(() => undefined);
      return known;
    }
    let failure: unknown;
    const made = await write(folder, path, placedOf(wanted), async (name, into) => {
      try {
        await fill(name, into);
      } catch (error) {
        failure = error;
        throw error;
      }
    }).catch(() => undefined);
    if (failure) throw failure;
    return made && KeptWeights.#map(path);
  }

  static async #map(path: string): Promise<KeptWeights | undefined> {
    const file = await open(path, 'r').catch(() => undefined);
    if (!file) return undefined;
    try {
      const placed = await readTable(file);
      return new KeptWeights(new Mapping(file, (await file.stat()).size), placed);
    } catch {
      return undefined;
    } finally {
      await file.close();
    }
  }

  /** A tensor over the file; undefined where it holds no such array. */
  value({ name, dtype, dims }: Kept): Value | undefined {
    const found = this.#placed.get(name);
    if (!found || found.dtype !== dtype || found.dims.join() !== dims.join()) return undefined;
    return Value.over(dtype, dims, this.#mapping.part(found.offset, found.bytes));
  }

  /** Drops the pages of what is read only while a session is made. */
  forgetPassing(): void {
    const [first] = [...this.#placed.values()].filter(({ isPassing }) => isPassing);
    if (first) this.#mapping.forgetFrom(first.offset);
  }

  dispose(): void {
    this.#mapping.dispose();
  }
}

const paged = (bytes: number): number => Math.ceil(bytes / PAGE) * PAGE;

/** What is read for as long as a session lives comes first. */
function placedOf(wanted: readonly Kept[]): Placed[] {
  let offset = 0;
  return [...wanted.filter(({ isPassing }) => !isPassing), ...wanted.filter(({ isPassing }) => isPassing)].map(
    (one) => {
      const bytes = byteLength(one.dtype, countOf(one.dims));
      const placed = { ...one, offset, bytes };
      offset += paged(bytes);
      return placed;
    },
  );
}

/** Offsets count from the end of the table. */
async function readTable(file: FileHandle): Promise<Placed[]> {
  const head = Buffer.alloc(12);
  await file.read(head, 0, 12, 0);
  const length = head.readUInt32LE(8);
  if (head.toString('latin1', 0, 8) !== MAGIC || length > MOST_HEADER) throw new Error('not a file of kept weights');
  const table = Buffer.alloc(length);
  await file.read(table, 0, length, 12);
  const { placed, total } = JSON.parse(table.toString()) as { placed: Placed[]; total: number };
  const start = paged(12 + length);
  if ((await file.stat()).size !== start + total || placed.some(({ offset, bytes }) => offset + bytes > total))
    throw new Error('cut short');
  return placed.map((one) => ({ ...one, offset: start + one.offset }));
}

/** Writes beside and renames once all of it is on the disk. */
async function write(
  folder: string,
  path: string,
  placed: readonly Placed[],
  fill: (name: string, into: Uint8Array) => Promise<void>,
): Promise<true> {
  await mkdir(folder, { recursive: true });
  await chmod(folder, 0o700);
  const total = placed.reduce((sum, { bytes }) => sum + paged(bytes), 0);
  const table = Buffer.from(JSON.stringify({ placed, total }));
  const start = paged(12 + table.length);
  const draft = `${path}.${randomUUID()}`;
  try {
    const file = await open(draft, 'wx', 0o600);
    try {
      await file.truncate(start + total);
      const head = Buffer.alloc(12);
      head.write(MAGIC, 'latin1');
      head.writeUInt32LE(table.length, 8);
      await writeFully(file, head, 0);
      await writeFully(file, table, 12);
      const places = new Map(placed.map((one) => [one.name, one]));
      for (const { name, offset, bytes } of places.values()) {
        using memory = allocate(bytes);
        await fill(name, memory.bytes);
        await writeFully(file, memory.bytes, start + offset);
      }
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(draft, path);
  } finally {
    await rm(draft, { force: true });
  }
  await prune(folder);
  return true;
}

async function writeFully(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}

async function prune(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => name.includes(SUFFIX));
  const files = await Promise.all(
    names.map(async (name) => {
      const path = join(folder, name);
      return { path, ...(await stat(path).catch(() => ({ mtimeMs: 0, size: 0 }))) };
    }),
  );
  let kept = 0;
  for (const { path, size } of files.toSorted((a, b) => b.mtimeMs - a.mtimeMs)) {
    kept += size;
    if (kept > MOST_BYTES) await rm(path, { force: true });
  }
}
