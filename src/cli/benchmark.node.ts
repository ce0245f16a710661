// lfm benchmark: how fast lfm is on this machine. Rivals are measured elsewhere, by `npm run bench`.
import type { Command } from 'commander';
import { Option } from 'commander';
import { openEngine } from '#engine';
import type { Buffer } from '../engines/engine.ts';
import { Generator } from '../generate/generator.ts';
import type { Measurement } from '../generate/measure.ts';
import { measureGeneration } from '../generate/measure.ts';
import { resolveModel } from '../generate/source.node.ts';
import type { Model } from '../liquid/index.ts';
import { initialise } from '../liquid/index.ts';
import { benchmarkTrain } from '../train/benchmark.node.ts';
import { LfmError } from '../tensor/error.ts';
import type { DeviceFlags } from './benchmark-device.node.ts';
import { reportDeviceTraining } from './benchmark-device.node.ts';
import { formatBytes, formatTable } from './format.node.ts';
import type { Io } from './io.node.ts';
import { interruptible } from './io.node.ts';
import { withModel } from './open.node.ts';
import type { LoadFlags } from './options.node.ts';
import { addEngineOptions, addLoadOptions, DEFAULT_MODEL, engineChoice, meshOf, positive } from './options.node.ts';

const CONTEXTS = [64, 128, 256, 512, 1024, 2048];

type Flags = LoadFlags & { readonly json?: boolean };
type TrainFlags = Flags & DeviceFlags;
const dtypes = ['float32', 'bfloat16'];

export function registerBenchmark(program: Command, io: Io): Command {
  const benchmark = program.command('benchmark').description('measure lfm on this machine');
  addLoadOptions(benchmark.command('generate'))
    .description('measure prefill and decoding at growing lengths')
    .argument('[model]', 'a shipped name, a folder, or a definition, which gets random weights', DEFAULT_MODEL)
    .addHelpText(
      'after',
      '\nExamples:\n  lfm benchmark generate\n  lfm benchmark generate lfm2-350m --json\n  lfm benchmark generate model.Q4_0.gguf --numerics fast',
    )
    .action(async (name: string, flags: Flags) => {
      const resolved = await resolveModel(name);
      if (resolved.kind === 'definition')
        return withRandomWeights(io, resolved.entry.model(), flags, (...use) => report(io, name, flags, ...use));
      return withModel(io, name, flags, ({ generator, engine }, signal) =>
        report(io, name, flags, generator, engine, signal),
      );
    });
  addEngineOptions(benchmark.command('train'))
    .description('measure training steps on random tokens (default: a model of 28.6M parameters)')
    .option('--steps <n>', 'timed steps, after three that are not', positive)
    .option('--batch <n>', 'rows of a step', positive)
    .option('--length <n>', 'tokens a row', positive)
    .option('--shape <name>', 'with --engine xla: 350m, 28m, tiny, a definition, or a config.json (default: 350m)')
    .addOption(new Option('--dtype <type>', 'with --engine xla: of activations and products').choices(dtypes))
    .option('--recompute', 'with --engine xla: compute activations anew in the backward pass')
    .option('--mesh <axes>', 'with --engine xla: devices to divide the training over, as data=2,fsdp=4', meshOf)
    .option('--deterministic', 'with --engine xla: the same numbers on every run')
    .option('--weights <file>', 'with --engine xla: a model.safetensors to start from (default: random weights)')
    .option('--tokens <file>', 'with --engine xla: little-endian int32 ids, a batch a step (default: one random batch)')
    .addHelpText('after', trainExamples)
    .action(async (flags: TrainFlags) =>
      flags.engine === 'xla' ? reportDeviceTraining(io, flags) : reportTraining(io, flags),
    );
  return benchmark;
}

const trainExamples = `
Examples:
  lfm benchmark train
  lfm benchmark train --threads 2 --json
  lfm benchmark train --engine xla --shape 350m --batch 8 --length 2048
  lfm benchmark train --engine xla --batch 16 --mesh data=2`;

async function reportTraining(io: Io, flags: TrainFlags): Promise<void> {
  const { engine, threads, steps, batch, length, json } = flags;
  for (const name of ['shape', 'dtype', 'recompute', 'mesh', 'deterministic', 'weights', 'tokens'] as const)
    if (flags[name] !== undefined) throw new LfmError('bad-option', `--${name} needs --engine xla.`);
  const found = await benchmarkTrain({
    ...(engine !== undefined && { engine }),
    ...(threads !== undefined && { threads }),
    ...(steps !== undefined && { steps }),
    ...(batch !== undefined && { batch }),
    ...(length !== undefined && { length }),
    onStep: (step, milliseconds) => {
      if (!json) io.stderr.write(`step ${step}  ${milliseconds.toFixed(0)} ms\n`);
    },
  });
  if (json) {
    io.stdout.write(`${JSON.stringify(found, undefined, 2)}\n`);
    return;
  }
  const rows = [
    ['parameters', String(found.params)],
    ['a step', `${found.msPerStep.toFixed(0)} ms (best ${found.msPerStepBest.toFixed(0)})`],
    ['tokens/s', found.tokensPerSecond.toFixed(0)],
    ['first step', `${found.firstStepSeconds.toFixed(1)} s`],
    ['peak memory', formatBytes(found.peakRssBytes)],
    ...Object.entries(found.msByPart).map(([part, time]) => [`of a step: ${part}`, `${time.toFixed(1)} ms`]),
  ];
  io.stdout.write(`training on ${found.engine}\n${formatTable(['', ''], rows)}`);
}

async function withRandomWeights(
  io: Io,
  model: Model,
  flags: Flags,
  use: (generator: Generator, engine: string, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const engine = await openEngine(engineChoice(flags));
  try {
    const weights: Record<string, Buffer> = {};
    // One at a time, so that no second copy of the model is held.
    for (const [key, parameter] of Object.entries(model.parameters)) {
      const { [key]: values = new Float32Array() } = initialise({ parameters: { [key]: parameter } }, 0);
      weights[key] = await engine.upload('float32', parameter.shape, values);
    }
    await using generator = new Generator(engine, model, weights);
    await interruptible(io, (signal) => use(generator, engine.description, signal));
  } finally {
    await engine.close();
  }
}

async function report(
  io: Io,
  name: string,
  { json }: Flags,
  generator: Generator,
  engine: string,
  signal: AbortSignal,
): Promise<void> {
  const found: Measurement[] = [];
  for await (const one of measureGeneration(generator, CONTEXTS, signal)) found.push(one);
  if (json) {
    io.stdout.write(`${JSON.stringify({ model: name, engine, measurements: found }, undefined, 2)}\n`);
    return;
  }
  const head = [
    'context',
    'first token',
    'prefill tokens/s',
    'ms/token',
    'tokens/s',
    'sampling ms',
    'state',
    'its buffers',
  ];
  const rows = found.map((one) => [
    String(one.context),
    `${one.firstTokenMs.toFixed(1)} ms`,
    one.prefillTokensPerSecond.toFixed(0),
    one.tokenMs.toFixed(2),
    one.decodeTokensPerSecond.toFixed(1),
    one.samplingMs.toFixed(3),
    formatBytes(one.stateBytes),
    formatBytes(one.bufferBytes),
  ]);
  io.stdout.write(`${name} on ${engine}\n${formatTable(head, rows)}`);
}
