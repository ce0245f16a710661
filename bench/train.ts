// npm run bench -- train: lfm's training step and PyTorch's, in turns in one run, so that both meet the same machine.
import { execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { describeRun } from './machine.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const run = promisify(execFile);

/** What each side prints of one process. */
interface Measured {
  readonly name: string;
  readonly params: number;
  readonly msPerStep: number;
  readonly msPerStepBest: number;
  readonly tokensPerSecond: number;
  readonly firstStepSeconds: number;
  readonly peakRssBytes: number;
  readonly losses: readonly number[];
  readonly [more: string]: unknown;
}

const options = {
  json: { type: 'boolean', default: false },
  /** How often each side is timed, in turns. */
  rounds: { type: 'string', default: '3' },
  steps: { type: 'string', default: '10' },
  warmup: { type: 'string', default: '3' },
  threads: { type: 'string', default: '2' },
  batch: { type: 'string', default: '4' },
  length: { type: 'string', default: '256' },
  engine: { type: 'string' },
  help: { type: 'boolean', default: false },
} as const;

const help = `npm run bench -- train [--json] [--rounds 3] [--steps 10] [--warmup 3] [--threads 2] [--batch 4] [--length 256] [--engine NAME]

Times a training step of the 28.6M-parameter LFM2 (forward, backward, clipping, AdamW; float32) in lfm and in PyTorch, in
turns. The ratio is PyTorch's median over lfm's: above 1, lfm is faster.`;

export async function benchTrain(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...argv], options });
  if (values.help) return console.log(help);
  const { batch, length, threads, warmup, steps, engine } = values;
  const shared = Object.entries({ batch, length, threads, warmup, steps }).flatMap(([name, value]) => [
    `--${name}`,
    value,
  ]);
  const { python, skipped } = await prepareRival();
  const rounds = { lfm: [] as Measured[], torch: [] as Measured[] };
  for (let round = 1; round <= Number(values.rounds); round++) {
    const ours = ['--import', 'tsx', '--conditions=lfm-source', join(root, 'bench', 'train-lfm.ts'), ...shared];
    rounds.lfm.push(await measure(process.execPath, engine === undefined ? ours : [...ours, '--engine', engine]));
    if (python !== undefined)
      rounds.torch.push(await measure(python, [join(root, 'bench', 'rivals', 'train_torch.py'), 'train', ...shared]));
    if (!values.json) console.log(describeRound(round, rounds));
  }
  const record = {
    ...(await describeRun('train')),
    command: `npm run bench -- train ${argv.join(' ')}`.trim(),
    ...summarise(rounds),
    ...(skipped !== undefined && { skipped }),
    rounds,
  };
  console.log(values.json ? JSON.stringify(record, undefined, 2) : describe(record));
}

/** The Python that has the rivals, or why there is none. */
async function prepareRival(): Promise<{ python?: string; skipped?: string }> {
  try {
    const { stdout } = await run('bash', [join(root, 'bench', 'rivals', 'setup.sh')], { maxBuffer: 2 ** 26 });
    return { python: join(stdout.trim(), 'bin', 'python') };
  } catch (error) {
    const { stderr = '' } = error as { stderr?: string };
    return { skipped: stderr.trim().split('\n').at(-1) ?? 'the rivals could not be installed' };
  }
}

/** Runs a process whose last line is its measurement; what it says on stderr is passed on. */
function measure(command: string, words: readonly string[]): Promise<Measured> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, words, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
    child.on('error', reject);
    child.on('exit', (code) => {
      const line = out.trim().split('\n').at(-1);
      if (code === 0 && line) resolve(JSON.parse(line) as Measured);
      else reject(new Error(`${command} ended with code ${code}.`));
    });
  });
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return ((sorted[Math.floor((sorted.length - 1) / 2)] ?? 0) + (sorted[Math.floor(sorted.length / 2)] ?? 0)) / 2;
}

type Rounds = Readonly<Record<'lfm' | 'torch', readonly Measured[]>>;
type Side = Pick<Measured, 'msPerStep' | 'msPerStepBest' | 'tokensPerSecond' | 'firstStepSeconds' | 'peakRssBytes'>;

interface Comparison {
  /** How many times as fast as PyTorch lfm is. */
  readonly ratio: number;
  readonly ratioOfBest: number;
  readonly ratioByRound: readonly number[];
  /** lfm's peak memory over PyTorch's. */
  readonly memoryRatio: number;
  readonly torch: Side;
}

type Summary = { readonly lfm: Side } & Partial<Comparison>;

function summarise({ lfm, torch }: Rounds): Summary {
  const of = (side: readonly Measured[]): Side => ({
    msPerStep: median(side.map(({ msPerStep }) => msPerStep)),
    msPerStepBest: Math.min(...side.map(({ msPerStepBest }) => msPerStepBest)),
    tokensPerSecond: median(side.map(({ tokensPerSecond }) => tokensPerSecond)),
    firstStepSeconds: median(side.map(({ firstStepSeconds }) => firstStepSeconds)),
    peakRssBytes: Math.max(...side.map(({ peakRssBytes }) => peakRssBytes)),
  });
  if (torch.length === 0) return { lfm: of(lfm) };
  const [ours, theirs] = [of(lfm), of(torch)];
  const inTurns = torch.map(({ msPerStep }, round) => msPerStep / (lfm[round]?.msPerStep ?? Number.NaN));
  return {
    ratio: theirs.msPerStep / ours.msPerStep,
    ratioOfBest: theirs.msPerStepBest / ours.msPerStepBest,
    ratioByRound: inTurns,
    memoryRatio: ours.peakRssBytes / theirs.peakRssBytes,
    lfm: ours,
    torch: theirs,
  };
}

function describeRound(round: number, { lfm, torch }: Rounds): string {
  const of = (name: string, { msPerStep, tokensPerSecond }: Measured) =>
    `${name} ${msPerStep.toFixed(1)} ms a step, ${tokensPerSecond.toFixed(0)} tokens/s`;
  const [ours, theirs] = [lfm.at(-1), torch.at(-1)];
  return `round ${round}: ${[ours && of('lfm', ours), theirs && of('torch', theirs)].filter(Boolean).join('; ')}`;
}

function describe(
  record: Awaited<ReturnType<typeof describeRun>> & Summary & { rounds: Rounds; skipped?: string },
): string {
  const { lfm, rounds, skipped } = record;
  const [ours] = rounds.lfm;
  const [theirs] = rounds.torch;
  const memory = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
  const lines = [
    `${record.cpu}, ${record.cores} cores, load ${record.loadAverage}; Node ${record.node}; commit ${record.commit}`,
    `lfm    ${lfm.msPerStep.toFixed(1)} ms a step (best ${lfm.msPerStepBest.toFixed(1)}), first step after ${lfm.firstStepSeconds.toFixed(1)} s, ${memory(lfm.peakRssBytes)}; ${String(ours?.['engine'])}`,
  ];
  const { torch, ratio = Number.NaN, ratioOfBest = Number.NaN, ratioByRound = [] } = record;
  if (torch) {
    lines.push(
      `torch  ${torch.msPerStep.toFixed(1)} ms a step (best ${torch.msPerStepBest.toFixed(1)}), first step after ${torch.firstStepSeconds.toFixed(1)} s, ${memory(torch.peakRssBytes)}; PyTorch ${String(theirs?.['torchVersion'])}, ${String(theirs?.['blas'])}`,
      `ratio  ${ratio.toFixed(3)} times PyTorch's speed (of the best steps ${ratioOfBest.toFixed(3)}; by round ${ratioByRound.map((one) => one.toFixed(3)).join(', ')})`,
    );
  } else lines.push(`no ratio: ${skipped ?? 'no rival was timed'}`);
  return lines.join('\n');
}
