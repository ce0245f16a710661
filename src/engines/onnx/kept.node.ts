// Weights as kernels take them, in files of the user's cache: made once, then mapped by every session, which takes neither the time to make
// them nor memory of the process's own. A file holds what ONNX Runtime saved, the layouts of its own among it; a table beside tells
// where each weight stands. A session uses a layout only where its kernels would make the very same, so other processors lose nothing
// but the memory.
import { createHash, randomUUID } from 'node:crypto';
import { chmod, mkdir, open, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { basename, join } from 'node:path';
import { LfmError } from '../../tensor/error.ts';
import { library } from './library.node.ts';
import type { ExternalData } from './proto.ts';
import { externalPlaces } from './saved-model.ts';

/** To be raised with every change to what is written for the same weights: the table's form, and what `Derived.fill` writes. */
const FORMAT = 4;
/** Of all files; those used longest ago go first. */
const MOST_BYTES = 16 * 2 ** 30;
const KEY_LENGTH = 64;
const ALIGNMENT = 64;
const COPY_BYTES = 2 ** 22;

interface Table {
  readonly bytes: number;
  /** By the names of initializers. */
  readonly places: Readonly<Record<string, ExternalData>>;
}

/** How a session is asked to save itself, and where. */
export interface Saving {
  readonly optimizedModelPath: string;
  readonly config: Readonly<Record<string, string>>;
}

export class KeptWeights {
  readonly folder: string;
  readonly #places: ReadonlyMap<string, ExternalData>;

  private constructor(folder: string, { places }: Table) {
    this.folder = folder;
    this.#places = new Map(Object.entries(places));
  }

  /** Where a weight of so many bytes stands; undefined where it is not kept. */
  place(name: string, bytes: number): ExternalData | undefined {
    const place = this.#places.get(name);
    return place?.length === bytes ? place : undefined;
  }

  /**
   * What is kept of weights, `identities` being all that tells them from others; where nothing is, `save` makes a session that saves
   * itself. Errors: those of `save` and of the file system.
   */
  static async open(
    folder: string,
    identities: readonly string[],
    save: (saving: Saving) => Promise<void>,
  ): Promise<KeptWeights> {
    const about = [FORMAT, library().version, process.arch, cpus()[0]?.model, identities];
    const key = createHash('sha256').update(JSON.stringify(about)).digest('hex').slice(0, KEY_LENGTH);
    const path = join(folder, `${key}.json`);
    const known = await readTable(folder, path);
    if (known) return new KeptWeights(folder, known);
    await mkdir(folder, { recursive: true });
    await chmod(folder, 0o700);
    const name = `${key}.${randomUUID()}`;
    const [model, saved, data] = ['onnx', 'saved', 'weights'].map((kind) => join(folder, `${name}.${kind}`));
    if (!model || !saved || !data) throw new LfmError('no-result', 'A file has no name.');
    try {
      await save({
        optimizedModelPath: model,
        config: {
          'session.optimized_model_external_initializers_file_name': basename(saved),
          'session.optimized_model_external_initializers_min_size_in_bytes': '0',
          'session.save_external_prepacked_constant_initializers': '1',
        },
      });
      const table = await aligned(saved, data, externalPlaces(await readFile(model)));
      await writeFile(`${model}.json`, JSON.stringify(table), { mode: 0o600, flush: true });
      await rename(`${model}.json`, path);
      await prune(folder);
      return new KeptWeights(folder, table);
    } catch (error) {
      await rm(data, { force: true });
      throw error;
    } finally {
      for (const done of [model, saved, `${model}.json`]) await rm(done, { force: true });
    }
  }
}

/** Kernels load whole vectors from layouts of their own, as ONNX Runtime's allocator aligns them; its files do not. */
async function aligned(saved: string, data: string, places: Readonly<Record<string, ExternalData>>): Promise<Table> {
  const from = await open(saved, 'r');
  const to = await open(data, 'wx', 0o600);
  try {
    const buffer = new Uint8Array(COPY_BYTES);
    let end = 0;
    const copy = async (offset: number, length: number): Promise<number> => {
      const start = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
      for (let done = 0; done < length;) {
        const { bytesRead } = await from.read(buffer, 0, Math.min(COPY_BYTES, length - done), offset + done);
        if (bytesRead === 0) throw new LfmError('file-cut-short', `${saved} ended at byte ${offset + done}.`);
        for (let written = 0; written < bytesRead;)
          written += (await to.write(buffer, written, bytesRead - written, start + done + written)).bytesWritten;
        done += bytesRead;
      }
      end = start + length;
      return start;
    };
    const moved: Record<string, ExternalData> = {};
    for (const [name, { location: _, offset, length, ...layouts }] of Object.entries(places)) {
      const place: ExternalData = { location: basename(data), offset: await copy(offset, length), length };
      for (const [key, layout] of Object.entries(layouts)) {
        // What it was made by and a hash, then offset, size and padded size of each of its blocks.
        const [kind = '', ...blocks] = String(layout).split('|');
        const at: string[] = [];
        for (const block of blocks) {
          const [start = '', size = '', ...rest] = block.split(';');
          at.push([await copy(Number(start), Number(size)), size, ...rest].join(';'));
        }
        Object.assign(place, { [key]: [kind, ...at].join('|') });
      }
      moved[name] = place;
    }
    await to.datasync();
    return { bytes: (await to.stat()).size, places: moved };
  } finally {
    await from.close();
    await to.close();
  }
}

/** Undefined where there is none, or its file is not whole. */
async function readTable(folder: string, path: string): Promise<Table | undefined> {
  try {
    const table = JSON.parse(await readFile(path, 'utf8')) as Table;
    const [first] = Object.values(table.places);
    if (!first || (await stat(join(folder, first.location))).size !== table.bytes) return undefined;
    const now = new Date();
    await utimes(path, now, now);
    return table;
  } catch {
    return undefined;
  }
}

/** What is of one model goes together. */
async function prune(folder: string): Promise<void> {
  const models = new Map<string, { bytes: number; used: number; readonly paths: string[] }>();
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const { size, mtimeMs } = await stat(path).catch(() => ({ size: 0, mtimeMs: 0 }));
    const key = name.slice(0, KEY_LENGTH);
    const model = models.get(key) ?? { bytes: 0, used: 0, paths: [] };
    models.set(key, model);
    model.bytes += size;
    model.used = Math.max(model.used, mtimeMs);
    model.paths.push(path);
  }
  let bytes = 0;
  for (const model of [...models.values()].toSorted((a, b) => b.used - a.used)) {
    bytes += model.bytes;
    if (bytes > MOST_BYTES) for (const path of model.paths) await rm(path, { force: true });
  }
}
