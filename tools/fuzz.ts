// npm run fuzz -- [--files 10000] [--seed 1] [--from 0] [--json]: damages files by their structure and has lfm open them. Prints
// figures; exits with 1 where one met anything but success or an LfmError, over a second, or more memory than its size allows.
import { fork } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Outcome } from '../test/fuzz/cases.ts';
import { kinds, makeSeeds, runCase } from '../test/fuzz/cases.ts';

const { values } = parseArgs({
  options: {
    files: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '1' },
    from: { type: 'string', default: '0' },
    json: { type: 'boolean', default: false },
    work: { type: 'boolean', default: false },
  },
});
const [files, seed, from] = [values.files, values.seed, values.from].map(Number) as [number, number, number];
/** No case may take so long by the clock, whatever else the machine does. */
const HANG_MS = 60_000;
const MOST_SHOWN = 5;

type Numbered = Outcome & { readonly index: number };

/** The cases, in a process that can be ended if one never comes back. */
async function work(): Promise<void> {
  const scratch = await mkdtemp(join(tmpdir(), 'lfm-fuzz-'));
  const seeds = await makeSeeds(scratch);
  for (let index = from; index < from + files; index++) {
    const outcome = await runCase(seeds, seed, index, scratch);
    await new Promise<void>((sent) => process.send?.({ ...outcome, index }, () => sent()));
  }
  await rm(scratch, { recursive: true });
  process.disconnect();
}

function watch(): Promise<Numbered[]> {
  const outcomes: Numbered[] = [];
  const words = ['--work', '--files', values.files, '--seed', values.seed, '--from', values.from];
  const child = fork(fileURLToPath(import.meta.url), words, { execArgv: process.execArgv });
  let last = performance.now();
  child.on('message', (outcome: Numbered) => {
    last = performance.now();
    outcomes.push(outcome);
  });
  const fault = (text: string) => {
    const index = from + outcomes.length;
    const kind = kinds[index % kinds.length] ?? kinds[0];
    outcomes.push({ kind, code: 'FAULT', fault: text, size: 0, ms: 0, allocations: { largest: 0, heap: 0 }, index });
  };
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      if (performance.now() - last < HANG_MS) return;
      fault(`nothing came back for ${HANG_MS / 1000} s`);
      child.kill('SIGKILL');
    }, 1000);
    child.on('exit', (code, signal) => {
      clearInterval(timer);
      if (outcomes.length < files && signal !== 'SIGKILL') fault(`the process ended with ${signal ?? code}`);
      resolve(outcomes);
    });
  });
}

function summary(outcomes: readonly Numbered[]) {
  const counts: Record<string, Record<string, number>> = {};
  for (const { kind, code } of outcomes) {
    const row = (counts[kind] ??= {});
    row[code] = (row[code] ?? 0) + 1;
  }
  const most = (of: (outcome: Numbered) => number) => outcomes.reduce((a, b) => (of(b) > of(a) ? b : a));
  const asked = ({ allocations }: Numbered) => Math.max(allocations.largest, allocations.heap);
  const [slowest, largest] = [most(({ ms }) => ms), most(asked)];
  return {
    files: outcomes.length,
    seed,
    codes: new Set(outcomes.map(({ code }) => code)).size,
    slowest: { index: slowest.index, kind: slowest.kind, ms: Math.round(slowest.ms) },
    largest: { index: largest.index, kind: largest.kind, bytes: asked(largest), ofFiles: largest.size },
    faults: outcomes
      .filter(({ fault }) => fault !== undefined)
      .map(({ index, kind, fault }) => ({ index, kind, fault })),
    counts,
  };
}

if (values.work) await work();
else {
  const found = summary(await watch());
  if (values.json) console.log(JSON.stringify(found, undefined, 2));
  else {
    for (const [kind, codes] of Object.entries(found.counts)) {
      const sorted = Object.entries(codes).toSorted(([, a], [, b]) => b - a);
      console.log(`${kind}: ${sorted.map(([code, count]) => `${code} ${count}`).join(', ')}`);
    }
    const { slowest, largest } = found;
    console.log(`\n${found.files} files (seed ${seed}), ${found.codes} outcomes`);
    console.log(`slowest: file ${slowest.index} (${slowest.kind}), ${slowest.ms} ms of CPU time`);
    console.log(`most memory: file ${largest.index} (${largest.kind}), ${largest.bytes} bytes for ${largest.ofFiles}`);
    for (const { index, kind, fault } of found.faults.slice(0, MOST_SHOWN))
      console.log(`\nFAULT in file ${index} (${kind}); again with --seed ${seed} --from ${index} --files 1:\n${fault}`);
    console.log(`${found.faults.length} faults`);
  }
  if (found.faults.length > 0) process.exitCode = 1;
}
