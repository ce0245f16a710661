// How fast the xla engine's devices train a shape: two steps under way, weights made on the devices, random tokens.
import type { Engine } from '../engines/engine.ts';
import type { XlaEngine, XlaOptions } from '../engines/xla/engine.node.ts';
import type { XlaExecutable } from '../engines/xla/specialisations.node.ts';
import type { Model } from '../liquid/index.ts';
import { parameterCounts } from '../liquid/index.ts';
import { Random } from '../tensor/index.ts';
import { deviceWeights } from './device-weights.ts';
import { peakFlops, trainingFlopsPerToken } from './peak-flops.ts';
import type { StepResult } from './trainer.ts';
import { createTrainer } from './trainer.ts';

export interface DeviceBenchmarkOptions {
  readonly model: Model;
  readonly batch: number;
  readonly length: number;
  /** Steps that are timed, after three that are not. */
  readonly steps: number;
  readonly dtype: 'float32' | 'bfloat16';
  readonly recompute: boolean;
  readonly engine: XlaOptions;
  /** Where parameters start, row-major float32. Default: random numbers made on the devices. */
  readonly start?: (name: string) => Promise<Float32Array>;
  /** Tokens [batch, length + 1] of a step, counted from 0. Default: one random batch again and again. */
  readonly tokens?: (step: number) => Int32Array;
}

export interface DeviceBenchmark {
  readonly engine: string;
  readonly devices: number;
  readonly parameters: number;
  readonly batch: number;
  readonly length: number;
  readonly dtype: string;
  readonly recompute: boolean;
  readonly steps: number;
  readonly msPerStep: number;
  readonly tokensPerSecond: number;
  readonly tokensPerSecondPerDevice: number;
  readonly flopsPerToken: number;
  /** Undefined for a device of unknown peak, and for float32. */
  readonly mfu: number | undefined;
  /** Of the step's program or programs; `fromCache`: how many came from the disk. */
  readonly compileSeconds: number;
  readonly fromCache: number;
  /**
   * Share of the time in which this process had not handed the next step over when the one before ended: what the devices wait
   * for the host.
   */
  readonly hostShare: number;
  /** Of one device, as the compiler planned the largest program; and the most that any device held, where it tells. */
  readonly plannedBytes: number;
  readonly measuredBytes: number | undefined;
  /** Of one step on one device, by kind. */
  readonly collectives: Readonly<Record<string, { readonly count: number; readonly bytes: number }>>;
  readonly losses: readonly number[];
}

const WARM_UP = 3;
/** One step runs, the next is queued. */
const IN_FLIGHT = 2;

/** Trains, by default on one random batch again and again, whose loss must fall. Errors: those of the engine and createTrainer. */
export async function benchmarkDevices(options: DeviceBenchmarkOptions): Promise<DeviceBenchmark> {
  const { model, batch, length, steps, dtype, recompute } = options;
  const { xlaEngine } = await import('../engines/xla/engine.node.ts');
  const engine = await xlaEngine(options.engine);
  try {
    const watched = watch(engine);
    const weights = deviceWeights(engine, model, 1);
    const trainer = await createTrainer({
      engine: watched.engine,
      model,
      batch: { size: batch, length },
      dtype,
      recompute,
      start: (key, sharding) =>
        options.start && key in model.parameters ? options.start(key) : weights.make(key, sharding),
    });
    weights.dispose();
    const random = new Random(7);
    const repeated = Int32Array.from({ length: batch * (length + 1) }, () =>
      Math.floor(random.uniform() * model.head.classes),
    );
    const { tokens = () => repeated } = options;
    const results: Promise<StepResult>[] = [];
    /** Of each step: when it was handed over, and when it had ended. */
    const [launched, ended]: [number[], number[]] = [[], []];
    const launch = async () => {
      const step = results.length;
      const { result } = await trainer.step(tokens(step), step + 1, 3e-4);
      launched[step] = performance.now();
      results.push(
        result.then((found) => {
          ended[step] = performance.now();
          return found;
        }),
      );
      await results.at(-1 - IN_FLIGHT);
    };
    for (let step = 0; step < WARM_UP; step++) await launch();
    await Promise.all(results);
    const from = performance.now();
    for (let step = 0; step < steps; step++) await launch();
    const losses = (await Promise.all(results)).map(({ loss }) => loss);
    const msPerStep = (performance.now() - from) / steps;

    const devices = Object.values(engine.mesh ?? {}).reduce((product, size) => product * size, 1);
    const { total: parameters } = parameterCounts(model);
    const flopsPerToken = trainingFlopsPerToken(model, length);
    const tokensPerSecond = (batch * length * 1000) / msPerStep;
    const peak = dtype === 'bfloat16' ? peakFlops(engine.device.kind) : undefined;
    const measured = engine.memoryStats()?.map(({ peakBytesInUse, bytesInUse }) => peakBytesInUse ?? bytesInUse);
    const found = {
      engine: engine.description,
      devices,
      parameters,
      batch,
      length,
      dtype,
      recompute,
      steps,
      msPerStep,
      tokensPerSecond,
      tokensPerSecondPerDevice: tokensPerSecond / devices,
      flopsPerToken,
      mfu: peak && (flopsPerToken * tokensPerSecond) / (peak * devices),
      ...watched.compiled(),
      hostShare: waitedFor(launched, ended) / steps / msPerStep,
      plannedBytes: plannedBytes(watched.executables),
      measuredBytes: measured && Math.max(...measured),
      collectives: collectivesOf(watched.executables),
      losses,
    };
    trainer.dispose();
    return found;
  } finally {
    await engine.close();
  }
}

/** Milliseconds, after the warm-up and the first step that was timed, from a step's end to the next one's hand-over. */
function waitedFor(launched: readonly number[], ended: readonly number[]): number {
  const waits = launched.slice(WARM_UP + 1).map((at, index) => Math.max(0, at - (ended[WARM_UP + index] ?? at)));
  return waits.reduce((sum, wait) => sum + wait, 0);
}

/** The engine, and what it compiles through it. */
function watch(engine: XlaEngine) {
  const executables: XlaExecutable[] = [];
  const before = engine.counts().loaded;
  let [milliseconds, loaded] = [0, 0];
  const watched: Engine = {
    ...engine,
    async compile(program, options) {
      const start = performance.now();
      const executable = await engine.compile(program, options);
      milliseconds += performance.now() - start;
      loaded = engine.counts().loaded - before;
      executables.push(executable);
      return executable;
    },
  };
  return {
    engine: watched,
    executables,
    compiled: () => ({ compileSeconds: milliseconds / 1000, fromCache: loaded }),
  };
}

function plannedBytes(executables: readonly XlaExecutable[]): number {
  const plans = executables.flatMap((executable) => executable.memory());
  return Math.max(...plans.map((plan) => plan.arguments + plan.outputs - plan.aliased + plan.temporary + plan.code));
}

/** What each device sends in one run of each, by kind. */
export function collectivesOf(executables: readonly XlaExecutable[]): DeviceBenchmark['collectives'] {
  const sums: Record<string, { count: number; bytes: number }> = {};
  for (const { kind, resultBytes } of executables.flatMap((executable) => executable.collectives().flat())) {
    const { count, bytes } = sums[kind] ?? { count: 0, bytes: 0 };
    sums[kind] = { count: count + 1, bytes: bytes + resultBytes };
  }
  return sums;
}
