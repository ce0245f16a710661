// npm run bench -- experts: lfm-40.3b-a12b at a sixteenth of its width trains over eight devices of the CPU plug-in, or with
// --gpus N over those, experts divided; and the plan of its full size on GPUs. --compile: the full size's training step is
// compiled too, for the devices at hand, and the compiler's own account of memory stands beside the plan.
import { parseArgs } from 'node:util';
import type { XlaEngine } from '../src/engines/xla/engine.node.ts';
import { xlaEngine } from '../src/engines/xla/engine.node.ts';
import type { Mesh } from '../src/engines/xla/mesh.ts';
import { meshText } from '../src/engines/xla/mesh.ts';
import { gradientProgram, initialise } from '../src/liquid/index.ts';
import { lfm40 } from '../src/models/lfm1.ts';
import { Random } from '../src/tensor/index.ts';
import { adamWDefaults, updatedTypes, updateProgram } from '../src/train/adamw.ts';
import { fusedStepProgram } from '../src/train/fused-step.ts';
import { planTraining } from '../src/train/plan.ts';
import { shardingsFor } from '../src/train/sharding.ts';
import { createTrainer } from '../src/train/trainer.ts';

/** Rows that count upwards from a random number in strides of their own: something to learn. */
function rowsOf(random: Random, rows: number, length: number): Int32Array {
  const tokens = new Int32Array(rows * (length + 1));
  for (let row = 0; row < rows; row++) {
    const [start, stride] = [Math.floor(random.uniform() * 256), 1 + Math.floor(random.uniform() * 4)];
    for (let at = 0; at <= length; at++) tokens[row * (length + 1) + at] = (start + at * stride) % 256;
  }
  return tokens;
}

function planned(mesh: Mesh, size: number, length: number): Record<string, unknown> {
  const batch = { size, length, accumulate: 1 };
  const plan = planTraining({ model: lfm40(), batch, dtype: 'bfloat16', recompute: true, mesh });
  const gigabytes = (bytes: number) => Number((bytes / 1e9).toFixed(1));
  const sent = Object.values(plan.collectives).reduce((sum, bytes) => sum + bytes, 0);
  return {
    mesh: meshText(mesh),
    rows: size,
    length,
    'state GB': gigabytes(plan.memory.state),
    'pass GB': gigabytes(plan.memory.pass),
    'sent GB': gigabytes(sent),
    PFLOP: Number((plan.flopsPerStep / 1e15).toFixed(2)),
  };
}

interface Accounts {
  readonly compileSeconds: number;
  readonly planned: Record<string, unknown>;
  /** Of one device, as XLA answers them: inputs (parameters and moments), what is held besides, code. */
  readonly compiled: Record<string, number>;
}

/** The whole step of the full size, as the trainer runs it, without memory for it. */
async function compileFull(engine: XlaEngine, mesh: Mesh, size: number, length: number): Promise<Accounts> {
  const model = lfm40();
  const batch = { size, length };
  const shardings = shardingsFor(engine, model, batch);
  const pass = gradientProgram(model, { batch: size, length, dtype: 'bfloat16', checkpoint: true });
  const step = fusedStepProgram(pass, updateProgram(updatedTypes(model.parameters), adamWDefaults));
  const begun = performance.now();
  const executable = await engine.compile(step, { shardings });
  const compileSeconds = (performance.now() - begun) / 1000;
  const [account] = executable.memory();
  executable.release();
  if (!account) throw new Error('The compiler gave no account.');
  const gigabytes = (bytes: number) => Number((bytes / 1e9).toFixed(2));
  const { arguments: held, temporary, code } = account;
  const compiled = { arguments: gigabytes(held), temporary: gigabytes(temporary), code: gigabytes(code) };
  return { compileSeconds, planned: planned(mesh, size, length), compiled };
}

export async function benchExperts(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      json: { type: 'boolean', default: false },
      steps: { type: 'string', default: '10' },
      length: { type: 'string', default: '32' },
      expert: { type: 'string', default: '8' },
      gpus: { type: 'string' },
      compile: { type: 'boolean', default: false },
    },
  });
  const [steps, length, expert] = [Number(values.steps), Number(values.length), Number(values.expert)];
  const devices = Number(values.gpus ?? 8);
  const mesh: Mesh = devices <= expert ? { expert: devices } : { fsdp: devices / expert, expert };
  const model = lfm40(16);
  const places = values.gpus === undefined ? { cpuDevices: 8, cacheFolder: null } : {};
  const engine = await xlaEngine({ ...places, mesh });
  const batch = { size: 8, length };
  const weights = initialise(model, 1);
  const begun = performance.now();
  const trainer = await createTrainer({ engine, model, batch, start: (key) => weights[key] });
  const compileSeconds = (performance.now() - begun) / 1000;
  const random = new Random(1);
  const losses: number[] = [];
  const started = performance.now();
  for (let step = 1; step <= steps; step++) {
    const { loss } = await (await trainer.step(rowsOf(random, batch.size, length), step, 3e-3)).result;
    losses.push(Number(loss.toFixed(4)));
  }
  const stepSeconds = (performance.now() - started) / 1000 / steps;
  trainer.dispose();
  const full = values.compile ? await compileFull(engine, mesh, 1, 4096) : undefined;
  await engine.close();
  const plans = [
    planned({ expert: 8 }, 1, 4096),
    planned({ fsdp: 2, expert: 8 }, 2, 4096),
    planned({ fsdp: 8, expert: 8 }, 8, 4096),
    planned({ fsdp: 8, expert: 8 }, 8, 32_768),
    planned({ fsdp: 64 }, 64, 4096),
  ];
  const record = {
    benchmark: 'experts',
    engine: engine.description,
    mesh,
    ...batch,
    compileSeconds,
    stepSeconds,
    losses,
  };
  if (values.json) console.log(JSON.stringify({ ...record, full, plans }, undefined, 2));
  else {
    console.log(`lfm-40.3b-a12b at 1/16 of its width on ${meshText(mesh)}: ${engine.description}`);
    console.log(
      `set up in ${compileSeconds.toFixed(1)} s, ${stepSeconds.toFixed(2)} s a step; losses ${losses.join(' ')}`,
    );
    console.log('its full size, planned for each device in bfloat16, layers recomputed:');
    console.table(plans);
    if (full) console.log(`its full size, compiled for these devices: ${JSON.stringify(full, undefined, 2)}`);
  }
}
