// What every benchmark's record says of its run.
import { execFile } from 'node:child_process';
import { cpus, loadavg, totalmem } from 'node:os';
import { promisify } from 'node:util';
import { ROOT } from '../test/root.ts';

const run = promisify(execFile);

/** The commit and the machine; `benchmark` names what ran. */
export async function describeRun(benchmark: string) {
  const git = (...words: string[]): Promise<string> =>
    run('git', words, { cwd: ROOT }).then(
      ({ stdout }) => stdout.trim(),
      () => 'unknown',
    );
  const changed = (await git('status', '--porcelain', '--untracked-files=no')) !== '';
  return {
    benchmark,
    commit: `${await git('rev-parse', '--short', 'HEAD')}${changed ? ' with changes' : ''}`,
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    loadAverage: Number((loadavg()[0] ?? 0).toFixed(2)),
    node: process.version,
  };
}
