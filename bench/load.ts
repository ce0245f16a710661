// npm run bench -- load: the real GGUF to its first token, lfm as built beside node-llama-cpp: time, processor time and memory.
import { execFile } from 'node:child_process';
import { parseArgs, promisify } from 'node:util';
import { hasRealModel, REAL_MODEL } from '../test/real-model.ts';
import { ROOT } from '../test/root.ts';
import { prepareLlama } from './rivals.ts';
import { measureLoading } from './exports-loading.ts';
import { describeRun } from './machine.ts';

/** Prints a table, or with --json all of it. Needs `npm run build`. */
export async function benchLoad(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: { json: { type: 'boolean', default: false }, rounds: { type: 'string', default: '5' } },
  });
  const { skipped } = await prepareLlama();
  if (!hasRealModel || skipped !== undefined) {
    console.error(skipped ?? 'The real model is not here: tools/real-model.sh fetches it.');
    process.exitCode = 1;
    return;
  }
  const imports: number[] = [];
  for (let round = 0; round < Number(values.rounds); round++) imports.push(await importMs());
  const record = {
    ...(await describeRun('load')),
    command: `npm run bench -- load ${argv.join(' ')}`.trim(),
    importMs: Math.round(Math.min(...imports)),
    loading: await measureLoading(REAL_MODEL, Number(values.rounds)),
  };
  if (values.json) console.log(JSON.stringify(record, undefined, 2));
  else console.table(record.loading);
}

/** Of `import('lfm')` in a process of its own. */
async function importMs(): Promise<number> {
  const code = "const t = performance.now(); await import('lfm'); console.log(performance.now() - t)";
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', code], { cwd: ROOT });
  return Number(stdout);
}
