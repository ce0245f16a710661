// Training steps of one model on one engine: parameters and moments stay in the engine's memory. Knows no files.
// Shapes: B rows of a pass, T tokens a row.
import type { Buffer, BufferPart, Buffers, Engine, Executable, Sharding } from '../engines/engine.ts';
import type { Model, TrainingObjective } from '../liquid/index.ts';
import { gradientProgram, parameterTypes } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import type { HostArray, Program } from '../tensor/index.ts';
import { countOf } from '../tensor/index.ts';
import type { AdamWOptions } from './adamw.ts';
import { adamWDefaults, updatedTypes, updateProgram, updateScalars } from './adamw.ts';
import { fusedStepProgram } from './fused-step.ts';
import { explainMemory } from './plan.ts';
import { shardingsFor } from './sharding.ts';

export interface TrainerOptions {
  readonly engine: Engine;
  readonly model: Model;
  /** Rows of a pass and tokens a row; `accumulate` passes make one step. */
  readonly batch: { readonly size: number; readonly length: number; readonly accumulate?: number };
  readonly optimizer?: AdamWOptions;
  readonly dtype?: 'float32' | 'bfloat16';
  readonly recompute?: boolean;
  /** What is trained on. Default: the head's own loss. */
  readonly objective?: TrainingObjective | undefined;
  /** The objective's inputs, which stay as they are and the caller's. */
  readonly frozen?: Buffers | undefined;
  /** Batches hold `segments`: documents of one row do not see each other. */
  readonly segments?: boolean;
  /**
   * Where each tensor starts, row-major float32: a parameter under its name, moments under `first.NAME`, `second.NAME`, a packed
   * parameter's parts (buffers only) under theirs. Frozen parameters have no moments.
   */
  readonly start: (key: string, sharding: Sharding | undefined) => Start | Promise<Start> | undefined;
}

/** Values from the host, or a buffer of the engine with the sharding asked for, which the trainer takes over. */
export type Start = Float32Array | Buffer;

export interface StepResult {
  /** Mean over the step's tokens, in nats. */
  readonly loss: number;
  /** Norm of all gradients before clipping. */
  readonly norm: number;
  /** What the objective tells besides, means over the step's tokens. */
  readonly metrics: Readonly<Record<string, number>>;
}

/**
 * Host arrays by name of a model's inputs, the rows of all passes one after another: what its encoder takes, `labels`, and
 * `weights` (absent: every position counts the same; given, they should add up to 1 over the whole batch).
 */
export type Batch = Readonly<Record<string, HostArray>>;

export interface Trainer {
  /** The parameters' present buffers by name; the next step takes them. */
  readonly parameters: Buffers;
  /**
   * Issues one step over a batch of accumulate * B rows: arrays by name or, for language, tokens [accumulate * B, T + 1],
   * row-major, whose inputs are the first T of a row, labels the last T. `step` counts from 1. Resolves when the engine has
   * taken the work; `result` when it is done. Calls must not overlap. Errors: `bad-input` names what the batch lacks.
   */
  step(
    batch: Int32Array | Batch,
    step: number,
    learningRate: number,
  ): Promise<{ readonly result: Promise<StepResult> }>;
  /** A copy of a tensor by key: NAME, `first.NAME` or `second.NAME`. */
  read(key: string): Promise<Float32Array>;
  /** What a tensor is made up of on the engine's devices, good until the next step. Errors: `no-parts` without a mesh. */
  parts(key: string): readonly BufferPart[];
  dispose(): void;
}

/**
 * Compiles the programs and uploads the first values, each device of a mesh its part. Errors: `bad-batch` for one that the
 * devices cannot share; `out-of-device-memory`, here or in a step, with what was planned and the nearest that fits; the
 * engine's, and those of the model's programs.
 */
export async function createTrainer(options: TrainerOptions): Promise<Trainer> {
  const { engine, model, batch, dtype = 'float32', recompute = false } = options;
  const { objective } = options;
  const request = { model, batch: { accumulate: 1, ...batch }, dtype, recompute, mesh: engine.mesh, objective };
  const explained = <T>(work: Promise<T>): Promise<T> =>
    work.catch((error: unknown) => {
      throw explainMemory(error, request, engine.device?.memoryBytes);
    });
  const trainer = await explained(openTrainer(options));
  return {
    ...trainer,
    get parameters() {
      return trainer.parameters;
    },
    async step(...given) {
      const { result } = await explained(trainer.step(...given));
      return { result: explained(result) };
    },
  };
}

async function openTrainer(options: TrainerOptions): Promise<Trainer> {
  const { engine, model, batch, optimizer = adamWDefaults, dtype = 'float32', recompute = false, start } = options;
  const { size, length, accumulate = 1 } = batch;
  const { objective, frozen, segments = false } = options;
  const lossOptions = { batch: size, length, dtype, checkpoint: recompute, segments, ...(objective && { objective }) };
  const names = Object.keys(parameterTypes(model));
  const types = updatedTypes(model.parameters);
  const updated = Object.fromEntries(Object.entries(types).filter(([name]) => objective?.trains(name) ?? true));

  const shardings = shardingsFor(engine, model, batch);
  const compile = (program: Program) => engine.compile(program, { shardings });
  const passProgram = gradientProgram(model, lossOptions);
  const optimizerProgram = updateProgram(updated, optimizer);
  const fused =
    engine.fusesSteps && accumulate === 1 ? await compile(fusedStepProgram(passProgram, optimizerProgram)) : undefined;
  const first = fused ?? (await compile(passProgram));
  const later =
    accumulate > 1 ? await compile(gradientProgram(model, { ...lossOptions, accumulate: true })) : undefined;
  const update = fused ? undefined : await compile(optimizerProgram);
  const state: Record<string, Buffer> = {};
  // What the objective does not train has moments only where a mesh writes them; they read as zeros.
  const moments = Object.keys(engine.mesh ? types : updated).flatMap((name) => [`first.${name}`, `second.${name}`]);
  for (const [name, { dtype: type, shape }] of Object.entries(parameterTypes(model))) {
    const sizes = shape.map(Number);
    for (const key of [name, `first.${name}`, `second.${name}`].filter(
      (one) => one === name || moments.includes(one),
    )) {
      const values = await start(key, shardings[key]);
      if (!values && !types[name])
        throw new LfmError('missing-parameter', `${name} is frozen and has no values to start from: give them.`);
      if (values instanceof Float32Array) state[key] = await engine.upload(type, sizes, values, shardings[key]);
      else state[key] = values ?? (await engine.zeros(type, sizes, shardings[key]));
    }
  }
  const perToken = new Float32Array(size * length).fill(1 / (accumulate * size * length));
  const weights = await engine.upload('float32', [size, length], perToken, shardings['weights']);

  const parametersNow = (): Record<string, Buffer> => pick(state, names);

  const perPass = passProgram.inputs.filter(({ name }) => !state[name] && !objective?.inputs[name]);
  // What nothing trains stays where it is.
  const trained = (): Record<string, Buffer> =>
    pick(
      state,
      Object.keys(updated).flatMap((name) => [name, `first.${name}`, `second.${name}`]),
    );

  /** `given`: what the program takes besides the pass's rows. */
  async function pass(executable: Executable, rows: Batch, given: Buffers): Promise<Record<string, Buffer>> {
    const uploaded: Record<string, Buffer> = {};
    try {
      for (const { name, value } of perPass) {
        const values = rows[name];
        if (values) uploaded[name] = await engine.upload(value.dtype, value.shape.map(Number), values, shardings[name]);
        else if (name !== 'weights')
          throw new LfmError(
            'bad-input',
            `The batch has no "${name}": the model takes ${value.dtype} [${value.shape}].`,
          );
      }
      return await executable.run({ ...given, ...frozen, weights, ...uploaded });
    } finally {
      for (const buffer of Object.values(uploaded)) buffer.dispose();
    }
  }

  /** Rows of one pass, by the names of the program's inputs. */
  function rowsOf(batch: Int32Array | Batch, part: number): Batch {
    const cut = <A extends HostArray>(values: A): A => {
      const count = values.length / accumulate;
      return values.subarray(part * count, (part + 1) * count) as A;
    };
    if (!(batch instanceof Int32Array))
      return Object.fromEntries(Object.entries(batch).map(([name, values]) => [name, cut(values)]));
    const { inputs, labels } = splitRows(cut(batch), length);
    return { tokens: inputs, labels };
  }

  function held(key: string): Buffer {
    const buffer = state[key];
    if (buffer) return buffer;
    throw new LfmError('missing-parameter', `The trainer holds no tensor "${key}".`);
  }

  async function download(buffer: Buffer): Promise<number> {
    try {
      const [value] = await engine.download(buffer);
      return Number(value);
    } finally {
      buffer.dispose();
    }
  }

  /** Gradients in one program or several, then the update. */
  async function separately(batch: Int32Array | Batch, scalars: Buffers): Promise<Stepped> {
    const told: Told[] = [];
    let gradients: Record<string, Buffer> = {};
    for (let part = 0; part < accumulate; part++) {
      const totals = Object.fromEntries(
        Object.entries(gradients).map(([key, buffer]) => [key.replace('gradient.', 'total.'), buffer]),
      );
      const results = await pass(part === 0 || !later ? first : later, rowsOf(batch, part), {
        ...parametersNow(),
        ...totals,
      });
      const { rest, ...found } = toldIn(results);
      told.push(found);
      gradients = rest;
    }
    if (!update) throw new LfmError('no-result', 'The step is one program.');
    const { norm, ...after } = await update.run({ ...trained(), ...gradients, ...scalars });
    for (const buffer of Object.values(gradients)) buffer.dispose();
    return { told, norm, after };
  }

  async function together(executable: Executable, batch: Int32Array | Batch, scalars: Buffers): Promise<Stepped> {
    const results = await pass(executable, rowsOf(batch, 0), { ...parametersNow(), ...trained(), ...scalars });
    const {
      rest: { norm, ...after },
      ...found
    } = toldIn(results);
    return { told: [found], norm, after };
  }

  return {
    get parameters() {
      return parametersNow();
    },
    async step(batch, step, learningRate) {
      const scalars: Record<string, Buffer> = {};
      let stepped: Stepped;
      try {
        for (const [name, value] of Object.entries(updateScalars(optimizer, step, learningRate))) {
          scalars[name] = await engine.upload('float32', [], Float32Array.of(value));
        }
        stepped = await (fused ? together(fused, batch, scalars) : separately(batch, scalars));
      } finally {
        for (const buffer of Object.values(scalars)) buffer.dispose();
      }
      const { told, norm, after } = stepped;
      Object.assign(state, after);
      if (!norm) throw new LfmError('no-result', 'The update gave no norm.');
      const collect = async (): Promise<StepResult> => {
        const total = async (buffers: readonly Buffer[]): Promise<number> =>
          (await Promise.all(buffers.map(download))).reduce((sum, part) => sum + part, 0);
        const metrics = Object.keys(told[0]?.metrics ?? {}).map(
          async (name) => [name, await total(told.flatMap((one) => one.metrics[name] ?? []))] as const,
        );
        // All at once: where one fails the others are given back too.
        const [loss, size, ...found] = await Promise.all([
          total(told.map((one) => one.loss)),
          download(norm),
          ...metrics,
        ]);
        return { loss, norm: size, metrics: Object.fromEntries(found) };
      };
      return { result: collect() };
    },
    parts(key) {
      if (engine.parts) return engine.parts(held(key));
      throw new LfmError('no-parts', `The engine ${engine.name} has no mesh: read "${key}" whole.`);
    },
    async read(key) {
      const idle = /^(?:first|second)\.(.*)$/.exec(key)?.[1] ?? '';
      if (!state[key] && types[idle]) return new Float32Array(countOf(types[idle].shape));
      const values = await engine.download(held(key));
      if (values instanceof Float32Array) return values;
      throw new LfmError('bad-input', `The engine gave "${key}" in another type than float32.`);
    },
    dispose() {
      for (const buffer of [...Object.values(state), weights]) buffer.dispose();
      for (const executable of [first, later, update]) executable?.release();
    },
  };
}

/** The numbers that a pass tells. */
interface Told {
  readonly loss: Buffer;
  readonly metrics: Buffers;
}

/** A pass's results apart: what it tells, and the rest. */
function toldIn({ loss, ...results }: Record<string, Buffer>): Told & { rest: Record<string, Buffer> } {
  if (!loss) throw new LfmError('no-result', 'The pass gave no loss.');
  const [metrics, rest]: [Record<string, Buffer>, Record<string, Buffer>] = [{}, {}];
  for (const [name, buffer] of Object.entries(results)) {
    const metric = /^metric\.(.*)$/.exec(name)?.[1];
    if (metric === undefined) rest[name] = buffer;
    else metrics[metric] = buffer;
  }
  return { loss, metrics, rest };
}

/** What the programs of a step give. */
interface Stepped {
  /** Of each pass. */
  readonly told: readonly Told[];
  readonly norm: Buffer | undefined;
  /** Parameters and moments. */
  readonly after: Buffers;
}

function pick(buffers: Buffers, names: readonly string[]): Record<string, Buffer> {
  return Object.fromEntries(names.flatMap((name) => (buffers[name] ? [[name, buffers[name]] as const] : [])));
}

/** From rows of T + 1 tokens: the first T of each, and the last T. */
export function splitRows(rows: Int32Array, length: number): { inputs: Int32Array; labels: Int32Array } {
  const count = rows.length / (length + 1);
  const inputs = new Int32Array(count * length);
  const labels = new Int32Array(count * length);
  for (let row = 0; row < count; row++) {
    const at = row * (length + 1);
    inputs.set(rows.subarray(at, at + length), row * length);
    labels.set(rows.subarray(at + 1, at + 1 + length), row * length);
  }
  return { inputs, labels };
}
