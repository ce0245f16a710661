// lfm benchmark: how fast lfm is on this machine. Rivals are measured elsewhere, by `npm run bench`.
import type { Command } from 'commander';
import { Option } from 'commander';
import { openEngine } from '#engine';
import type { Buffer } from '../engines/engine.ts';
import { Generator } from '../generate/generator.ts';
import type { BatchMeasurement, Measurement, TurnMeasurement } from '../generate/measure.ts';
import { measureBatches, measureGeneration, measureTurns } from '../generate/measure.ts';
import { Scheduler } from '../generate/scheduler.ts';
import { defaultModel } from '../generate/shipped.node.ts';
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
import { addEngineOptions, addLoadOptions, engineChoice, meshOf, positive } from './options.node.ts';

const CONTEXTS = [64, 128, 256, 512, 1024, 2048];
const BATCHES = [1, 2, 4, 8, 16];
/** Of a conversation's first turn, where the context has room for it. */
const TURN = 2000;
/** What the second turn needs beside it. */
const MORE_TURN = 64;

type Flags = LoadFlags & {
  readonly json?: boolean;
  readonly contextLength?: number;
  readonly deterministic?: boolean;
};
type TrainFlags = Flags & DeviceFlags;
const dtypes = ['float32', 'bfloat16'];

export function registerBenchmark(program: Command, io: Io): Command {
  const benchmark = program.command('benchmark').description('measure lfm on this machine');
  addLoadOptions(benchmark.command('generate'))
    .description('measure prefill and decoding at growing lengths, second turns, and several texts at once')
    .argument(
      '[model]',
      'a shipped name, a folder, or a definition, which gets random weights (default: the model that ships with lfm)',
    )
    .option(
      '--context-length <n>',
      "tokens that a text may have, where not the model's own: its speed is measured",
      positive,
    )
    .option('--deterministic', 'each text the same bits whatever runs beside it')
    .addHelpText(
      'after',
      '\nExamples:\n  lfm benchmark generate\n  lfm benchmark generate --context-length 4096\n  lfm benchmark generate lfm2-350m --json\n  lfm benchmark generate model.Q4_0.gguf --numerics fast',
    )
    .action(async (named: string | undefined, flags: Flags) => {
      const name = named ?? (await defaultModel());
      const resolved = await resolveModel(name);
      const use = (scheduler: Scheduler, engine: string, signal: AbortSignal) =>
        report(io, name, flags, scheduler, engine, signal);
      if (resolved.kind === 'definition') return withRandomWeights(io, resolved.entry.model(), flags, use);
      return withModel(io, name, flags, ({ scheduler, engine }, signal) => use(scheduler, engine, signal), {
        ...scheduling(flags),
        contextLength: flags.contextLength,
      });
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

function scheduling({ deterministic }: Flags): { maxBatch: number; deterministic: boolean | undefined } {
  return { maxBatch: Math.max(...BATCHES), deterministic };
}

async function withRandomWeights(
  io: Io,
  definition: Model,
  flags: Flags,
  use: (scheduler: Scheduler, engine: string, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const engine = await openEngine(engineChoice(flags));
  const model = { ...definition, contextLength: flags.contextLength ?? definition.contextLength };
  try {
    const weights: Record<string, Buffer> = {};
    // One at a time, so that no second copy of the model is held.
    for (const [key, parameter] of Object.entries(model.parameters)) {
      const { [key]: values = new Float32Array() } = initialise({ parameters: { [key]: parameter } }, 0);
      weights[key] = await engine.upload('float32', parameter.shape, values);
    }
    await using scheduler = new Scheduler(new Generator(engine, model, weights), scheduling(flags));
    await interruptible(io, (signal) => use(scheduler, engine.description, signal));
  } finally {
    await engine.close();
  }
}

async function report(
  io: Io,
  name: string,
  { json }: Flags,
  scheduler: Scheduler,
  engine: string,
  signal: AbortSignal,
): Promise<void> {
  const { generator } = scheduler;
  const measurements: Measurement[] = [];
  for await (const one of measureGeneration(generator, CONTEXTS, signal)) measurements.push(one);
  const turns = await measureTurns(scheduler, Math.min(TURN, generator.contextLength - MORE_TURN), signal);
  const batches: BatchMeasurement[] = [];
  for await (const one of measureBatches(scheduler, BATCHES, signal)) batches.push(one);
  if (json) io.stdout.write(`${JSON.stringify({ model: name, engine, measurements, turns, batches }, undefined, 2)}\n`);
  else
    io.stdout.write(
      [`${name} on ${engine}`, lengthTable(measurements), turnTable(turns), batchTable(batches)].join('\n'),
    );
}

function lengthTable(measurements: readonly Measurement[]): string {
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
  const rows = measurements.map((one) => [
    String(one.context),
    `${one.firstTokenMs.toFixed(1)} ms`,
    one.prefillTokensPerSecond.toFixed(0),
    one.tokenMs.toFixed(2),
    one.decodeTokensPerSecond.toFixed(1),
    one.samplingMs.toFixed(3),
    formatBytes(one.stateBytes),
    formatBytes(one.bufferBytes),
  ]);
  return formatTable(head, rows);
}

function turnTable(turns: TurnMeasurement): string {
  const head = ['turn', 'prompt', 'first token', 'reused'];
  const ms = (time: number) => `${time.toFixed(1)} ms`;
  const same = turns.isSame ? 'the same tokens' : 'other tokens';
  const rows = [
    ['first', String(turns.promptTokens), ms(turns.firstTurnMs), '0'],
    ['second', String(turns.secondPromptTokens), ms(turns.secondTurnMs), String(turns.cachedTokens)],
    ['second, uncached', String(turns.secondPromptTokens), ms(turns.secondTurnUncachedMs), '0'],
  ];
  const lies = turns.logprobDifference.toExponential(1);
  return `${formatTable(head, rows)}${turns.ratio.toFixed(1)} times sooner, ${same}, log-probabilities within ${lies}; the cache took ${formatBytes(turns.cacheBytes)}\n`;
}

function batchTable(batches: readonly BatchMeasurement[]): string {
  const rows = batches.map(({ batch, tokensPerSecond, ratio }) => [
    String(batch),
    tokensPerSecond.toFixed(0),
    ratio.toFixed(2),
  ]);
  return formatTable(['texts at once', 'tokens/s', 'over one'], rows);
}
