// What a model's name means on Node: one that ships with the package, a folder, a GGUF file, a published definition, or a model
// of the hub.
import { readdir, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { exists } from '../host/exists.node.ts';
import { writeFileAtomic } from '../files/atomic.node.ts';
import { openModelFolder } from '../files/folder.node.ts';
import { readJsonIfPresent } from '../files/json.node.ts';
import { MANIFEST_NAME, readManifest } from '../files/manifest.node.ts';
import { openSafetensors } from '../files/safetensors.node.ts';
import { openGguf } from '../files/gguf.node.ts';
import { findCached } from '../files/hub/cache.node.ts';
import { type HubName, parseHubName } from '../files/hub/name.ts';
import { pull } from '../files/hub/pull.node.ts';
import { hubSettings } from '../files/hub/settings.node.ts';
import { catalogue } from '../models/catalogue.ts';
import type { CatalogueEntry } from '../models/entry.ts';
import { genomeEntry } from '../models/genome.ts';
import { LfmError } from '../tensor/error.ts';
import { notesOf } from './notes.node.ts';
import { shippedFolder, shippedNames } from './shipped.node.ts';
import { openGgufSource } from './source-gguf.ts';
import { packedWeights } from './source-packed.ts';
import type { AdapterSource, FetchOptions, ModelSource, StoredWeights } from './source.ts';

export type ResolvedModel =
  | { readonly kind: 'folder'; readonly name: string; readonly path: string }
  | { readonly kind: 'gguf'; readonly name: string; readonly path: string }
  | { readonly kind: 'definition'; readonly name: string; readonly entry: CatalogueEntry };

/**
 * What MODEL stands for: a shipped name, a folder, a GGUF file, an entry of the catalogue, a genome, or a model of the hub that was
 * pulled, in this order (`./NAME` is always a folder). Errors: `model-missing` with what there is, `model-not-pulled`,
 * `bad-genome`.
 */
export async function resolveModel(name: string): Promise<ResolvedModel> {
  const shipped = await shippedFolder(name);
  if (shipped !== undefined) return { kind: 'folder', name, path: shipped };
  const found = await stat(name).catch(() => undefined);
  if (found?.isDirectory()) return { kind: 'folder', name: basename(resolve(name)), path: name };
  if (found?.isFile() && /\.gguf$/i.test(name))
    return { kind: 'gguf', name: basename(name).replace(/\.gguf$/i, ''), path: name };
  const entry = Object.hasOwn(catalogue, name) ? catalogue[name] : genomeEntry(name);
  if (entry) return { kind: 'definition', name, entry };
  if (found)
    throw new LfmError(
      'model-missing',
      `${name} is a file; expected a GGUF file, or a folder with config.json, tokenizer.json and model.safetensors.`,
    );
  const hub = parseHubName(name);
  if (hub) {
    const cached = await findCached((await hubSettings()).cache, hub);
    if (cached) return { kind: cached.kind, name: nameOf(hub), path: cached.path };
    throw new LfmError(
      'model-not-pulled',
      `There is no folder ${name}, and no model of that name from the hub here: "lfm pull ${name}" downloads it.`,
    );
  }
  const names = await shippedNames();
  const ships = names.length > 0 ? names.join(', ') : 'none in this copy';
  throw new LfmError(
    'model-missing',
    `There is no model ${JSON.stringify(name)}: not among those shipped with lfm (${ships}), and no folder or GGUF file of that name. Give the folder of a trained model.`,
  );
}

/** The model of the hub that a name stands for, where it stands for nothing here and must be fetched first. */
export async function missingFromHub(name: string): Promise<HubName | undefined> {
  const hub = parseHubName(name);
  if (!hub || Object.hasOwn(catalogue, name) || (await exists(name))) return undefined;
  const { cache, offline } = await hubSettings();
  const cached = await findCached(cache, hub);
  return cached && (cached.hasTokenizer || offline) ? undefined : hub;
}

function nameOf({ owner, name, file }: HubName): string {
  return file === undefined ? `${owner}/${name}` : basename(file).replace(/\.gguf$/i, '');
}

/** Opens what `resolveModel` finds; a model of the hub is fetched first. Errors: as it, those of `pull`, `no-weights` for a definition, those of `openModelFolder`, `manifest-…`, `gguf-…`, `quantiz…`. */
export async function openSource(name: string, fetching: FetchOptions = {}): Promise<ModelSource> {
  const missing = await missingFromHub(name);
  if (missing) await pull(missing, { signal: fetching.signal, onProgress: fetching.onDownload });
  const resolved = await resolveModel(name);
  if (resolved.kind === 'definition') {
    const names = (await shippedNames()).map((shipped) => `, or ${shipped}`).join('');
    throw new LfmError(
      'no-weights',
      `${name} is a definition without weights (${resolved.entry.title}): "lfm inspect ${name}" tells what it takes. To have text, give the folder of a trained model${names}; "lfm train" makes one of your own.`,
    );
  }
  if (resolved.kind === 'gguf') {
    const source = await openGgufSource(resolved.name, await openGguf(resolved.path));
    return { ...source, weights: { ...source.weights, ...(await knownAs([resolved.path])) } };
  }
  const folder = await openModelFolder(resolved.path);
  try {
    await requireWhole(folder.path);
    const { config, generationConfig, tokenizer, tokenizerConfig, chatTemplate } = folder;
    const files = (await readdir(folder.path)).filter((file) => file.endsWith('.safetensors')).toSorted();
    const known = await knownAs(files.map((file) => join(folder.path, file)));
    const weights = { ...packedWeights(folder.weights, config, resolved.name), ...known };
    return { name: resolved.name, config, generationConfig, tokenizer, tokenizerConfig, chatTemplate, weights };
  } catch (error) {
    await folder.weights.close();
    throw error;
  }
}

/** Which files these are, and that nobody wrote to them since; and the notes about them. */
async function knownAs(paths: readonly string[]): Promise<Required<Pick<StoredWeights, 'identity' | 'notes'>>> {
  const found = await Promise.all(paths.map((path) => stat(path, { bigint: true })));
  const identity = found.map(({ dev, ino, size, mtimeNs }) => [dev, ino, size, mtimeNs].join(' ')).join();
  return { identity, notes: notesOf(identity) };
}

/** Opens a peft folder; nothing is fetched. Errors: `adapter-missing`, `json-file-…`, `safetensors-…`. */
export async function openAdapter(folder: string, _fetching: FetchOptions = {}): Promise<AdapterSource> {
  const file = join(folder, 'adapter_model.safetensors');
  const config = await readJsonIfPresent(join(folder, 'adapter_config.json'));
  if (!config || !(await exists(file)))
    throw new LfmError(
      'adapter-missing',
      `${folder}: expected adapter_config.json and adapter_model.safetensors, as peft saves an adapter.`,
    );
  const weights = await openSafetensors(file);
  return {
    config,
    tensors: weights.tensors,
    readFloat32: (name) => weights.readFloat32(name),
    close: () => weights.close(),
  };
}

/** Every file that the folder's manifest names has its size: a copy that was cut short is found before it runs. */
async function requireWhole(folder: string): Promise<void> {
  if (!(await exists(join(folder, MANIFEST_NAME)))) return;
  for (const { name, bytes } of await readManifest(folder)) {
    const size = (await stat(join(folder, name)).catch(() => undefined))?.size;
    if (size === bytes) continue;
    const found = size === undefined ? 'is missing' : `has ${size} bytes`;
    throw new LfmError(
      'manifest-size',
      `${folder}: ${name} ${found}, its manifest says ${bytes} bytes: copy the folder again.`,
    );
  }
}

/** Writes a file whole or not at all. */
export async function saveBytes(path: string, bytes: Uint8Array): Promise<void> {
  await writeFileAtomic(path, bytes);
}
