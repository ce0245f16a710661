// npm run bench -- gpu: training steps of LFM2-350M's shape on NVIDIA GPUs, lfm beside torch.compile and JAX in one run; and on
// several GPUs, how each parallel form scales, beside PyTorch's FSDP2. Needs Python with torch, jax and transformers there.
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';

const here = dirname(fileURLToPath(import.meta.url));
const run = promisify(execFile);

const help = `npm run bench -- gpu [--json] [--devices 1] [--steps 20] [--only TEXT] [--lfm FILE] [--rivals FOLDER] [--python python3]

Rows whose name holds TEXT, several by commas; --json: a line each. --lfm: lfm's command (default: dist/cli.js, or the bundle of bench/bundle.ts).`;

interface Row {
  readonly name: string;
  readonly msPerStep?: number;
  readonly tokensPerSecondPerDevice?: number;
  readonly mfu?: number;
  readonly losses?: readonly number[];
  readonly error?: string;
  readonly [more: string]: unknown;
}

interface Task {
  readonly name: string;
  readonly side: 'lfm' | 'torch' | 'jax';
  readonly args: readonly string[];
  /** GPUs that it needs. */
  readonly devices?: number;
}

const noTriton = '--xla_gpu_enable_triton_gemm=false';

/** Every row of the table; `folder` holds the weights and tokens that two sides start from. */
function tasks(folder: string, steps: string): readonly Task[] {
  const lfm = (name: string, args: readonly string[], devices = 1): Task => ({
    name: `lfm ${name}`,
    side: 'lfm',
    args: ['benchmark', 'train', '--engine', 'xla', '--json', '--steps', steps, ...args],
    devices,
  });
  /** PyTorch over several GPUs, as fsdp=2. */
  const torch = (mesh: string): Task => {
    const [parallel = '', devices] = mesh.split('=');
    const args = ['--compile', '--parallel', parallel, '--steps', steps];
    return { name: `torch.compile ${mesh}`, side: 'torch', args, devices: Number(devices) };
  };
  const short = ['--batch', '8', '--length', '2048'];
  const long = ['--batch', '2', '--length', '8192', '--recompute'];
  const same = ['--weights', join(folder, 'model.safetensors'), '--tokens', join(folder, 'tokens.bin')];
  const twice = ['--batch', '16', '--length', '2048'];
  return [
    lfm('B8 T2048', short),
    { name: 'torch.compile B8 T2048', side: 'torch', args: ['--compile', '--steps', steps] },
    { name: 'jax B8 T2048', side: 'jax', args: ['--steps', steps] },
    { name: 'jax fused B8 T2048', side: 'jax', args: ['--fused', '--steps', steps] },
    lfm('B8 T2048 again', short),
    lfm('B2 T8192 recompute', long),
    {
      name: 'jax B2 T8192 recompute',
      side: 'jax',
      args: ['--batch', '2', '--length', '8192', '--recompute', '--steps', steps],
    },
    lfm('deterministic', [...short, '--deterministic']),
    lfm('deterministic again', [...short, '--deterministic']),
    lfm('same weights', [...short, ...same]),
    { name: 'torch same weights', side: 'torch', args: [...same, '--steps', steps] },
    ...['data', 'fsdp', 'tensor'].map((axis) =>
      lfm(`${axis}=2`, [...(axis === 'tensor' ? short : twice), '--mesh', `${axis}=2`], 2),
    ),
    ...['fsdp=2', 'data=2'].map(torch),
    ...['data=4', 'fsdp=4', 'data=2,fsdp=2', 'fsdp=2,tensor=2'].map((mesh) =>
      lfm(mesh, ['--batch', '32', '--length', '2048', '--mesh', mesh], 4),
    ),
    ...['data=8', 'fsdp=8', 'data=2,fsdp=4', 'data=2,fsdp=2,tensor=2'].map((mesh) =>
      lfm(mesh, ['--batch', '64', '--length', '2048', '--mesh', mesh], 8),
    ),
    ...['fsdp=4', 'fsdp=8'].map(torch),
  ];
}

export async function benchGpu(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      json: { type: 'boolean', default: false },
      devices: { type: 'string', default: '1' },
      steps: { type: 'string', default: '20' },
      only: { type: 'string', default: '' },
      lfm: { type: 'string', default: join(here, '..', 'dist', 'cli.js') },
      rivals: { type: 'string', default: join(here, 'rivals') },
      python: { type: 'string', default: 'python3' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return console.log(help);
  const folder = await mkdtemp(join(tmpdir(), 'lfm-gpu-'));
  try {
    const { python, rivals, lfm, steps } = values;
    const wanted = values.only.split(',');
    const chosen = tasks(folder, steps).filter(
      ({ name, devices = 1 }) => devices <= Number(values.devices) && wanted.some((text) => name.includes(text)),
    );
    if (chosen.some(({ name }) => name.includes('same weights')))
      await run(python, [join(rivals, 'random_lfm2.py'), folder, '--steps', String(Number(steps) + 3)]);
    const rows: Row[] = [];
    for (const task of chosen) {
      const row = await measure(task, { python, rivals, lfm });
      rows.push(row);
      // As they come: a run that is cut short keeps what it has.
      if (values.json) console.log(JSON.stringify(row));
      else console.log(lineOf(row));
    }
    for (const line of comparisons(rows)) console.error(line);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function measure(
  task: Task,
  { python, rivals, lfm }: { python: string; rivals: string; lfm: string },
): Promise<Row> {
  const { side, args, devices = 1 } = task;
  const script = join(rivals, side === 'jax' ? 'train_jax.py' : 'train_torch_gpu.py');
  const [command, words]: readonly [string, readonly string[]] =
    side === 'lfm'
      ? [process.execPath, [lfm, ...args]]
      : devices > 1
        ? [python, ['-m', 'torch.distributed.run', '--nproc-per-node', String(devices), script, ...args]]
        : [python, [script, ...args]];
  const { XLA_FLAGS: before = '' } = process.env;
  const env = side === 'jax' ? { ...process.env, XLA_FLAGS: `${before} ${noTriton}`.trim() } : process.env;
  try {
    const { stdout } = await run(command, [...words], { env, maxBuffer: 2 ** 26, timeout: 150_000 });
    const found: Record<string, unknown> = JSON.parse(stdout.slice(stdout.indexOf('{')));
    return { ...found, name: task.name };
  } catch (error) {
    const text = error instanceof Error && 'stderr' in error ? String(error.stderr) : String(error);
    return { name: task.name, error: text.trim().split('\n').slice(-4).join(' | ').slice(0, 800) };
  }
}

function lineOf(row: Row): string {
  const { name, msPerStep = Number.NaN, tokensPerSecondPerDevice, tokensPerSecond, mfu, error } = row;
  if (error) return `${name.padEnd(28)} failed: ${error}`;
  const each = tokensPerSecondPerDevice ?? Number(tokensPerSecond);
  const share = mfu === undefined ? '' : `${(100 * mfu).toFixed(1)}% MFU`;
  return `${name.padEnd(28)} ${msPerStep.toFixed(1).padStart(7)} ms  ${each.toFixed(0).padStart(7)} tokens/s a GPU  ${share}`;
}

/** What the table is made for: ratios of rows that were both measured. */
function* comparisons(rows: readonly Row[]): Generator<string> {
  const rate = (name: string) => {
    const row = rows.find((one) => one.name === name && !one.error);
    return row && (row.tokensPerSecondPerDevice ?? Number(row['tokensPerSecond']));
  };
  const pairs = [
    ['lfm B8 T2048', 'torch.compile B8 T2048'],
    ['lfm B8 T2048', 'jax B8 T2048'],
    ['lfm B8 T2048', 'jax fused B8 T2048'],
    ['lfm B2 T8192 recompute', 'jax B2 T8192 recompute'],
    ['lfm deterministic', 'lfm B8 T2048'],
    ...['data=2', 'fsdp=2', 'tensor=2', 'data=4', 'fsdp=4', 'data=8', 'fsdp=8'].map(
      (mesh) => [`lfm ${mesh}`, 'lfm B8 T2048'] as const,
    ),
    ...['fsdp=2', 'data=2', 'fsdp=4', 'fsdp=8'].map((mesh) => [`lfm ${mesh}`, `torch.compile ${mesh}`] as const),
  ] as const;
  for (const [a, b] of pairs) {
    const [ours, theirs] = [rate(a), rate(b)];
    if (ours && theirs) yield `${a} / ${b}: ${(ours / theirs).toFixed(3)}`;
  }
  const losses = (name: string) => rows.find((one) => one.name === name)?.losses;
  const apart = (a: string, b: string) => {
    const [ours, theirs] = [losses(a), losses(b)];
    return ours && theirs && Math.max(...ours.map((loss, i) => Math.abs(loss - (theirs[i] ?? Number.NaN))));
  };
  const bits = apart('lfm deterministic', 'lfm deterministic again');
  if (bits !== undefined) yield `deterministic runs: losses differ by at most ${bits}`;
  const noise = apart('lfm same weights', 'torch same weights');
  if (noise !== undefined)
    yield `from the same weights and data: losses differ from PyTorch's by at most ${noise.toFixed(5)}`;
}
