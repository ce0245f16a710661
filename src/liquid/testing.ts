// For tests: programs and generations over plain arrays, on every engine of a list.
import { describe } from 'vitest';
import { engines } from '../../test/operations/engines.ts';
import type { Engine, Executable } from '../engines/engine.ts';
import type { Dim, DType, HostArray, Program } from '../tensor/index.ts';
import { countOf, newHostArray, Random, trace } from '../tensor/index.ts';
import { createContext } from './context.ts';
import { initialise } from './initialise.ts';
import type { Model } from './model.ts';
import type { Operator } from './operator.ts';
import { applyOperator } from './operator.ts';
import { stateTypes, stepProgram } from './programs.ts';

type Loaded = readonly (readonly [string, Engine | undefined])[];

async function loadEngines(names: readonly string[]): Promise<Loaded> {
  const asked = engines.filter(({ name }) => names.includes(name));
  return Promise.all(asked.map(async ({ name, load }) => [name, await load()] as const));
}

/** xla too: it takes a while to compile, so it is for tests with one program or two. */
export const allEngines = () => loadEngines(['reference', 'onnx', 'xla']);

const loaded = await loadEngines(['reference', 'onnx']);

/** `body` as a suite of every engine; the tests of one that is absent are skipped. */
export function describeOnEngines(
  title: string,
  body: (engine: Engine | undefined) => void,
  found: Loaded = loaded,
): void {
  for (const [name, engine] of found) describe.skipIf(!engine)(`${title} [${name}]`, () => body(engine));
}

export interface Host {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: HostArray;
}

/** An array as oracles' scripts write it into JSON. */
export interface Stored {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}

export function stored({ shape, data }: Stored): Host {
  return float32(shape, data);
}

/** One operator over x [batch, length, width], whole sequences: y. With `time_steps` and `embeddings` if asked for. */
export function operatorProgram(
  operator: Operator,
  parameters: Readonly<Record<string, Stored>>,
  [batch, length, width]: readonly [Dim, Dim, number],
  { timed = false, embedded = false } = {},
): Program {
  const types = Object.fromEntries(
    Object.entries(parameters).map(([key, { shape }]) => [key, { dtype: 'float32', shape } as const]),
  );
  const stream = { dtype: 'float32', shape: [batch, length, width] } as const;
  const more = {
    ...(timed && { time_steps: { dtype: 'float32', shape: [batch, length] } as const }),
    ...(embedded && { embeddings: stream }),
  };
  return trace(operator.name, { ...types, x: stream, ...more }, (given) => {
    const { time_steps: timeSteps, embeddings } = given;
    const context = {
      ...createContext({ batch, length, normEps: 1e-5, timeSteps }),
      ...(embeddings && { embeddings }),
    };
    return { y: applyOperator(operator, given, given.x, {}, context).y };
  });
}

/** Fresh weights of a model as test arrays. */
export function weightsOf(model: Model, seed: number): Record<string, Host> {
  const values = initialise(model, seed);
  return Object.fromEntries(
    Object.entries(model.parameters).map(([name, { shape }]) => [name, float32(shape, values[name] ?? [])]),
  );
}

export function int32(shape: readonly number[], values: Iterable<number>): Host {
  return { dtype: 'int32', shape, data: Int32Array.from(values) };
}

export function float32(shape: readonly number[], values: Iterable<number>): Host {
  return { dtype: 'float32', shape, data: Float32Array.from(values) };
}

export function numbers(host: Host | undefined): number[] {
  return Array.from(host?.data ?? [], Number);
}

export function randomTokens(seed: number, batch: number, length: number, vocabSize: number): Host {
  const random = new Random(seed);
  return int32(
    [batch, length],
    Array.from({ length: batch * length }, () => Math.floor(random.uniform() * vocabSize)),
  );
}

const compiled = new Map<Engine, WeakMap<Program, Promise<Executable>>>();

/** Compiled once for each engine. */
function executableOf(engine: Engine, program: Program): Promise<Executable> {
  const known = compiled.get(engine) ?? new WeakMap<Program, Promise<Executable>>();
  compiled.set(engine, known);
  const executable = known.get(program) ?? engine.compile(program);
  known.set(program, executable);
  return executable;
}

/** Runs a program on fresh buffers, and frees them. */
export async function run(
  engine: Engine | undefined,
  program: Program,
  inputs: Readonly<Record<string, Host>>,
): Promise<Record<string, Host>> {
  if (!engine) throw new Error('The engine is absent.');
  const executable = await executableOf(engine, program);
  const uploaded = await Promise.all(
    program.inputs.map(async ({ name }) => {
      const host = inputs[name];
      if (!host) throw new Error(`The test gives no "${name}".`);
      return [name, await engine.upload(host.dtype, host.shape, host.data)] as const;
    }),
  );
  const outputs = await executable.run(Object.fromEntries(uploaded));
  const results: Record<string, Host> = {};
  for (const [name, buffer] of Object.entries(outputs)) {
    results[name] = { dtype: buffer.dtype, shape: buffer.shape, data: await engine.download(buffer) };
    buffer.dispose();
  }
  for (const [name, buffer] of uploaded) if (!program.donations[name]) buffer.dispose();
  return results;
}

/** Greatest difference of two arrays as a share of the second's range. */
export function difference(actual: Host | undefined, expected: Host | undefined): number {
  if (!actual || !expected || actual.data.length !== expected.data.length) return Infinity;
  let [most, low, high] = [0, Infinity, -Infinity];
  for (let i = 0; i < expected.data.length; i++) {
    const [a, e] = [Number(actual.data[i]), Number(expected.data[i])];
    most = Math.max(most, Number.isNaN(a - e) ? Infinity : Math.abs(a - e));
    low = Math.min(low, e);
    high = Math.max(high, e);
  }
  return most === 0 ? 0 : most / (high - low);
}

/** Rows [from, to) of the leading axis. */
export function rowsOf({ dtype, shape, data }: Host, from: number, to: number): Host {
  const size = shape.slice(1).reduce((product, dim) => product * dim, 1);
  return { dtype, shape: [to - from, ...shape.slice(1)], data: data.slice(from * size, to * size) };
}

const steps = new WeakMap<Model, Map<string, Program>>();

/** One program for equal sizes, so that it is compiled once. */
function stepOf(model: Model, batch: number, capacity: number, length: number): Program {
  const known = steps.get(model) ?? new Map<string, Program>();
  steps.set(model, known);
  const key = `${batch}/${capacity}/${length}`;
  const program = known.get(key) ?? stepProgram(model, { batch, capacity, length, allLogits: true });
  known.set(key, program);
  return program;
}

/** A generation over a model's step program: state goes from each call to the next. */
export function stepper(
  engine: Engine | undefined,
  model: Model,
  weights: Readonly<Record<string, Host>>,
  batch: number,
  capacity: number,
) {
  const state = Object.entries(stateTypes(model, { batch, capacity })).map(
    ([name, { dtype, shape }]): [string, Host] => {
      const sizes = shape.map(Number);
      return [`state.${name}`, { dtype, shape: sizes, data: newHostArray(dtype, countOf(sizes)) }];
    },
  );
  let inputs: Record<string, Host> = { ...weights, ...Object.fromEntries(state) };
  let starts = new Int32Array(batch);
  return {
    /** State buffers by name, `state.` before it. */
    state: (): Readonly<Record<string, Host>> =>
      Object.fromEntries(state.map(([name]) => [name, inputs[name] ?? int32([0], [])])),
    /** Feeds the first `lengths[b]` of each row's tokens; answers the logits of all positions [B, T, V]. */
    async feed(tokens: Host, lengths: readonly number[]): Promise<Host> {
      const program = stepOf(model, batch, capacity, tokens.shape[1] ?? 0);
      const given = { ...inputs, tokens, starts: int32([batch], starts), lengths: int32([batch], lengths) };
      const { logits, ...next } = await run(engine, program, given);
      starts = starts.map((start, row) => start + (lengths[row] ?? 0));
      inputs = { ...inputs, ...next };
      return logits ?? int32([0], []);
    },
  };
}

/** Rows of tokens at the front of `length` places each, `pad` after them. */
export function padded(rows: readonly (readonly number[])[], length: number, pad: number): Host {
  return int32(
    [rows.length, length],
    rows.flatMap((row) => [...row, ...new Array<number>(length - row.length).fill(pad)]),
  );
}
