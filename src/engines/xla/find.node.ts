// Where a plug-in may be: a path that the user gave, what was installed, what Python has.
import { join } from 'node:path';
import { host } from '#host';
import { exists } from '../../host/exists.node.ts';
import { LfmError } from '../../tensor/error.ts';
import { pythonPackageFolders } from './python.node.ts';
import type { PluginName } from './wheels.ts';
import { fileName, installedFolder, pluginNames, pluginWheels } from './wheels.ts';

export interface FoundPlugin {
  readonly path: string;
  readonly source: 'path' | 'environment' | 'installed' | 'python';
  /** Unknown for a library that the user named. */
  readonly name?: PluginName;
}

export interface FindOptions {
  /** As given with `--plugin`. */
  readonly path?: string;
  /** Where `installPlugin` put plug-ins; default: `plugins` in the cache folder. */
  readonly installedIn?: string;
  readonly signal?: AbortSignal;
}

/** Default place of installed plug-ins. */
export function pluginFolder(): string {
  return join(host.cacheFolder(), 'plugins');
}

/** Libraries inside Python's package folders, by plug-in: the pinned wheel's, then the other package's of the same kind. */
const pythonLibraries: Readonly<Record<PluginName, readonly string[]>> = {
  'xla-cpu': [pluginWheels['xla-cpu'].library],
  'xla-cuda12': [pluginWheels['xla-cuda12'].library, 'xla_plugins/xla_cuda12_pjrt/xla_gpu_pjrt.so'],
  'xla-cuda13': [pluginWheels['xla-cuda13'].library, 'xla_plugins/xla_cuda13_pjrt/xla_gpu_pjrt.so'],
};

/**
 * The plug-in to use: `path`, then the environment's LFM_XLA_PLUGIN, then installed ones, then Python's packages.
 * Without `name` the newest kind of CUDA comes before the CPU.
 * @throws LfmError `plugin-missing`, saying what to install; `plugin-unreadable` for a given path that is not there
 */
export async function findPlugin(name?: PluginName, options: FindOptions = {}): Promise<FoundPlugin> {
  for (const [source, path] of [
    ['path', options.path],
    ['environment', process.env['LFM_XLA_PLUGIN']],
  ] as const) {
    if (!path) continue;
    if (await exists(path)) return { path, source };
    const origin = source === 'path' ? '--plugin' : 'LFM_XLA_PLUGIN';
    throw new LfmError('plugin-unreadable', `No XLA plug-in at ${path} (from ${origin}).`);
  }
  for await (const found of searchPlugins(name ? [name] : [...pluginNames].reverse(), options)) return found;
  throw new LfmError(
    'plugin-missing',
    `No XLA plug-in is installed: run \`lfm engines install ${name ?? 'xla-cpu'}\`, or give one with --plugin PATH.`,
  );
}

/** Every plug-in that is installed, then every one that Python has. */
export async function* searchPlugins(
  names: readonly PluginName[] = pluginNames,
  { installedIn = pluginFolder(), signal }: FindOptions = {},
): AsyncGenerator<FoundPlugin> {
  for (const name of names) {
    const wheel = pluginWheels[name];
    const path = join(installedIn, installedFolder(wheel), fileName(wheel.library));
    if (await exists(path)) yield { path, source: 'installed', name };
  }
  const folders = await pythonPackageFolders(signal);
  for (const name of names) {
    for (const library of pythonLibraries[name]) {
      for (const folder of folders) {
        const path = join(folder, library);
        if (await exists(path)) yield { path, source: 'python', name };
      }
    }
  }
}
