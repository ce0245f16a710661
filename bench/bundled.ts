// A script of this repository and all that it imports as one file of JavaScript, without a compiler in the process that runs it.
import { join } from 'node:path';
import type { BuildOptions } from 'esbuild';
import { build } from 'esbuild';
import { ROOT } from '../test/root.ts';

/** `entry`: from the repository's root; `how`: what stays outside. */
export async function bundled(entry: string, outfile: string, how: BuildOptions): Promise<void> {
  await build({
    entryPoints: [join(ROOT, entry)],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    conditions: ['lfm-source'],
    ...how,
  });
}
