// Models that come with lfm: in the folder weights/ of its package, or each as a data package @lfm/NAME installed beside it.
import { readdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { exists } from '../host/exists.node.ts';
import { findPackage } from '../host/package.node.ts';

/** What stands where a command names no model: the first that is here. The last is what lfm's own package holds. */
const DEFAULTS = ['brook-123m', 'brook-7m'] as const;

/** The shipped model to use where none is named. */
export async function defaultModel(): Promise<string> {
  for (const name of DEFAULTS) if (await shippedFolder(name)) return name;
  return DEFAULTS[1];
}

/** The folder of a shipped model, whose package may be installed where lfm is or where the command runs. */
export async function shippedFolder(name: string): Promise<string | undefined> {
  if (!/^[a-z0-9][a-z0-9.-]*$/.test(name)) return undefined;
  const own = join(await weightsFolder(), name);
  if (await hasModel(own)) return own;
  for (const from of [(await findPackage()).folder, process.cwd()]) {
    const found = packageFolder(`@lfm/${name}`, from);
    if (found !== undefined && (await hasModel(found))) return found;
  }
  return undefined;
}

/** Names of the models in weights/, and of the defaults that are installed beside it. */
export async function shippedNames(): Promise<string[]> {
  const folder = await weightsFolder();
  const here = await readdir(folder).catch(() => []);
  const names = [...new Set([...here, ...DEFAULTS])].toSorted();
  const found = await Promise.all(names.map((name) => shippedFolder(name)));
  return names.filter((_, index) => found[index] !== undefined);
}

function packageFolder(name: string, from: string): string | undefined {
  try {
    return dirname(createRequire(join(from, 'package.json')).resolve(`${name}/package.json`));
  } catch {
    return undefined;
  }
}

const hasModel = (folder: string) => exists(join(folder, 'config.json'));

async function weightsFolder(): Promise<string> {
  return join((await findPackage()).folder, 'weights');
}
