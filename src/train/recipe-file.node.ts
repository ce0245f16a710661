// Finds and reads recipes: a path, or the name of one that ships with the package.
import { readdir, stat } from 'node:fs/promises';
import { extname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { readJsonIfPresent } from '../files/json.node.ts';
import { findPackage } from '../host/package.node.ts';
import { LfmError } from '../tensor/error.ts';
import { nearest } from './nearest.ts';
import type { Recipe } from './recipe.ts';
import { parseRecipe } from './recipe.ts';

/**
 * Reads a recipe: `.json`, a module `.js` or `.mjs` whose default export it is, or `.ts` where this Node strips types; or the
 * name of a shipped one. Errors: `recipe-missing` with the names there are, `recipe-unreadable`, `recipe-typescript`,
 * `json-file-…`, `bad-recipe`, `recipe-format`.
 */
export async function readRecipe(nameOrPath: string): Promise<Recipe> {
  const path = await findRecipe(nameOrPath);
  const kind = extname(path);
  return parseRecipe(kind === '.json' ? await readJsonIfPresent(path) : await importDefault(path, kind), path);
}

async function findRecipe(nameOrPath: string): Promise<string> {
  if (await isFile(nameOrPath)) return nameOrPath;
  if (/^[a-z0-9][a-z0-9._-]*(\/[a-z0-9][a-z0-9._-]*)?$/i.test(nameOrPath)) {
    const path = join(await recipesFolder(), `${nameOrPath}.json`);
    if (await isFile(path)) return path;
  }
  const names = await shippedRecipes();
  const meant = nearest(nameOrPath, names);
  const advice = meant === undefined ? '' : `; did you mean "${meant}"?`;
  throw new LfmError(
    'recipe-missing',
    `There is no recipe ${JSON.stringify(nameOrPath)}: no file of that name, and not among those shipped with lfm (${names.join(', ') || 'none'})${advice}`,
  );
}

/** Names of the recipes that ship with the package; of one of several stages FOLDER/STAGE. */
export async function shippedRecipes(): Promise<string[]> {
  const files = await readdir(await recipesFolder(), { recursive: true }).catch(() => []);
  return files
    .filter((file) => file.endsWith('.json'))
    .map((file) => file.slice(0, -'.json'.length).replaceAll('\\', '/'))
    .sort();
}

async function recipesFolder(): Promise<string> {
  return join((await findPackage()).folder, 'recipes');
}

async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() ?? false;
}

async function importDefault(path: string, kind: string): Promise<unknown> {
  if (!['.js', '.mjs', '.ts', '.mts'].includes(kind)) {
    throw new LfmError('recipe-unreadable', `${path}: expected a recipe that ends in .json, .js, .mjs, .ts or .mts.`);
  }
  try {
    const module: unknown = await import(pathToFileURL(resolve(path)).href);
    if (typeof module === 'object' && module !== null && 'default' in module) return module.default;
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ERR_UNKNOWN_FILE_EXTENSION') {
      throw new LfmError(
        'recipe-typescript',
        `${path}: this Node (${process.version}) does not read TypeScript; use Node 22.18 or newer, or write the recipe as .js or .json.`,
        { cause },
      );
    }
    throw new LfmError('recipe-unreadable', `${path} could not be loaded: ${message}`, { cause });
  }
  throw new LfmError(
    'recipe-unreadable',
    `${path}: expected the recipe as its default export: export default defineRecipe({ … }).`,
  );
}
