// npm run bench -- operator-table: each operator against its reference, its parallel form against its recurrent one, and what a
// token costs, from test/fixtures. Shapes: T tokens, D hidden.
import { readdirSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import * as z from 'zod';
import { openEngine } from '../src/engines/default.node.ts';
import type { Buffer, Engine } from '../src/engines/engine.ts';
import { createContext, findOperator, flopsOfProgram, operatorNames } from '../src/liquid/index.ts';
import type { Operator } from '../src/liquid/index.ts';
import { applyOperator } from '../src/liquid/operator.ts';
import { bufferShape, elementsAt } from '../src/liquid/state.ts';
import type { ArrayType, HostArray, Program } from '../src/tensor/index.ts';
import { countOf, Random, trace } from '../src/tensor/index.ts';
import { chosen, engineOf } from './options.ts';

const array = z.object({ shape: z.array(z.number()), data: z.array(z.number()) });
type Stored = z.infer<typeof array>;
const fixture = z.object({
  operator: z.string(),
  reference: z.string(),
  options: z.record(z.string(), z.unknown()),
  parameters: z.record(z.string(), array),
  x: array,
  y: array,
  timeSteps: array.optional(),
  embeddings: array.optional(),
});
type Fixture = z.infer<typeof fixture>;
type Arrays = Readonly<Record<string, Stored>>;

function fixtures(): Fixture[] {
  return ['recurrences', 'operators', 'moe'].flatMap((folder) => {
    const root = new URL(`../test/fixtures/${folder}/`, import.meta.url);
    const files = readdirSync(root).filter((file) => file.endsWith('.json'));
    return files.map((file) => fixture.parse(JSON.parse(readFileSync(new URL(file, root), 'utf8'))));
  });
}

/** The operator over some rows, or, with a capacity, one more token of a sequence that its state holds. */
function programOf(operator: Operator, inputs: Arrays, capacity?: number): Program {
  const hiddenSize = inputs.x?.shape[2] ?? 0;
  const types = Object.fromEntries(
    Object.entries(inputs).map(([key, { shape }]): [string, ArrayType] => [key, { dtype: 'float32', shape }]),
  );
  const states = Object.entries(operator.state({ hiddenSize })).map(([key, state]): [string, ArrayType] => {
    return [`state.${key}`, { dtype: 'float32', shape: bufferShape(state, 1, capacity ?? 1) }];
  });
  const perRow: ArrayType = { dtype: 'int32', shape: [1] };
  const held = capacity === undefined ? {} : { ...Object.fromEntries(states), starts: perRow, lengths: perRow };
  const all: Readonly<Record<string, ArrayType>> = { ...types, ...held };
  return trace(operator.name, all, (given) => {
    const { x, starts, lengths, time_steps: timeSteps, embeddings } = given;
    if (!x) return {};
    const span = starts && lengths && { span: { starts, lengths } };
    const context = createContext({ batch: x.dim(0), length: x.dim(1), normEps: 1e-5, timeSteps, ...span });
    const before = Object.fromEntries(states.map(([key]) => [key.slice('state.'.length), given[key]]));
    const { y, state } = applyOperator(operator, given, x, before, { ...context, ...(embeddings && { embeddings }) });
    const after = Object.entries(state).flatMap(([key, value]) => (value ? [[`state.${key}`, value] as const] : []));
    return { y, ...(span && Object.fromEntries(after)) };
  });
}

function upload(engine: Engine, { shape, data }: Stored): Promise<Buffer> {
  return engine.upload('float32', shape, Float32Array.from(data));
}

async function wholeOf(engine: Engine, operator: Operator, inputs: Arrays): Promise<HostArray> {
  const executable = await engine.compile(programOf(operator, inputs));
  const buffers: Record<string, Buffer> = {};
  for (const [key, value] of Object.entries(inputs)) buffers[key] = await upload(engine, value);
  const { y } = await executable.run(buffers);
  if (!y) throw new Error(`${operator.name} gave no y.`);
  const found = await engine.download(y);
  for (const buffer of [y, ...Object.values(buffers)]) buffer.dispose();
  executable.release();
  return found;
}

const over = (inputs: Arrays, parameters: Arrays) => Object.entries(inputs).filter(([key]) => !(key in parameters));

/** Token t of what is [1, T, ...]. */
function tokenOf({ shape, data }: Stored, t: number): Stored {
  const width = countOf(shape.slice(2));
  return { shape: [1, 1, ...shape.slice(2)], data: data.slice(t * width, (t + 1) * width) };
}

/** The same, one token a call, each with the state that the call before left. */
async function stepwise(engine: Engine, operator: Operator, parameters: Arrays, inputs: Arrays): Promise<number[]> {
  const length = inputs.x?.shape[1] ?? 0;
  const streams = over(inputs, parameters);
  const first = Object.fromEntries(streams.map(([key, value]) => [key, tokenOf(value, 0)]));
  const program = programOf(operator, { ...parameters, ...first }, length);
  const executable = await engine.compile(program);
  const weights: Record<string, Buffer> = {};
  for (const [key, value] of Object.entries(parameters)) weights[key] = await upload(engine, value);
  let state: Record<string, Buffer> = {};
  for (const { name, value } of program.inputs)
    if (name.startsWith('state.')) {
      const shape = value.shape.map(Number);
      state[name] = await engine.upload('float32', shape, new Float32Array(countOf(shape)));
    }
  const found: number[] = [];
  const lengths = await engine.upload('int32', [1], Int32Array.of(1));
  for (let t = 0; t < length; t++) {
    const given: Record<string, Buffer> = { starts: await engine.upload('int32', [1], Int32Array.of(t)) };
    for (const [key, value] of streams) given[key] = await upload(engine, tokenOf(value, t));
    const { y, ...next } = await executable.run({ ...weights, ...state, ...given, lengths });
    if (!y) throw new Error(`${operator.name} gave no y.`);
    found.push(...Array.from(await engine.download(y), Number));
    for (const buffer of [y, ...Object.values(state), ...Object.values(given)]) buffer.dispose();
    state = next;
  }
  for (const buffer of [lengths, ...Object.values(state), ...Object.values(weights)]) buffer.dispose();
  executable.release();
  return found;
}

/** Greatest difference as a share of the expected values' range. */
function differenceOf(found: ArrayLike<number | bigint>, expected: ArrayLike<number | bigint>): number {
  const [a, b] = [Array.from(found, Number), Array.from(expected, Number)];
  if (a.length !== b.length || a.some((value) => !Number.isFinite(value))) return Infinity;
  const most = a.reduce((top, value, i) => Math.max(top, Math.abs(value - (b[i] ?? 0))), 0);
  const [low, high] = b.reduce(
    ([l, h], value) => [Math.min(l, value), Math.max(h, value)] as const,
    [Infinity, -Infinity],
  );
  return most / (high - low);
}

function randomStreams({ x, timeSteps, embeddings }: Fixture, length: number): Arrays {
  const random = new Random(7);
  const width = x.shape[2] ?? 0;
  const normal = (): Stored => {
    const data = new Float32Array(length * width);
    random.fillNormal(data, 1);
    return { shape: [1, length, width], data: Array.from(data) };
  };
  const times = () => ({ shape: [1, length], data: Array.from({ length }, () => 0.1 + 2 * random.uniform()) });
  return { x: normal(), ...(timeSteps && { time_steps: times() }), ...(embeddings && { embeddings: normal() }) };
}

/** What a row of the table says of one fixture, at a length. */
async function rowOf(engine: Engine, one: Fixture, length: number) {
  const { parameters, x, y, timeSteps, embeddings, reference } = one;
  const operator = findOperator(one.operator)(one.options);
  const streams = { x, ...(timeSteps && { time_steps: timeSteps }), ...(embeddings && { embeddings }) };
  const long = randomStreams(one, length);
  const whole = await wholeOf(engine, operator, { ...parameters, ...long });
  const steps = await stepwise(engine, operator, parameters, long);
  const token = Object.fromEntries(over(long, {}).map(([key, value]) => [key, tokenOf(value, 0)]));
  const states = Object.values(operator.state({ hiddenSize: x.shape[2] ?? 0 }));
  const bytesAt = (tokens: number) => 4 * states.reduce((total, state) => total + elementsAt(state, tokens), 0);
  return {
    operator: one.operator,
    reference,
    difference: differenceOf(await wholeOf(engine, operator, { ...parameters, ...streams }), y.data),
    parallelAgainstRecurrent: differenceOf(steps, whole),
    flopsPerToken: flopsOfProgram(programOf(operator, { ...parameters, ...token }, length)),
    stateBytes: bytesAt(length),
    stateBytesPerToken: bytesAt(length) - bytesAt(length - 1),
  };
}

export async function benchOperatorTable(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      json: { type: 'boolean', default: false },
      engine: { type: 'string', default: 'onnx' },
      threads: { type: 'string', default: '1' },
      length: { type: 'string', default: '4096' },
      only: { type: 'string' },
    },
  });
  const length = Number(values.length);
  if (!(Number.isSafeInteger(length) && length >= 1))
    throw new Error(`--length: expected 1 or more; found ${values.length}.`);
  const engine = await openEngine(engineOf(values));
  const names = chosen('operator', values.only, operatorNames());
  const asked = fixtures().filter(({ operator }) => names.includes(operator));
  const rows: Awaited<ReturnType<typeof rowOf>>[] = [];
  for (const one of asked) rows.push(await rowOf(engine, one, length));
  const without = operatorNames().filter((name) => !rows.some(({ operator }) => operator === name));
  const record = { benchmark: 'operator-table', engine: engine.description, length, rows, without };
  if (values.json) console.log(JSON.stringify(record, undefined, 2));
  else {
    console.log(`${engine.description}; small widths of the fixtures, ${length} tokens, float32`);
    console.table(
      rows.map((row) => ({
        operator: row.operator,
        reference: row.reference,
        difference: row.difference.toExponential(1),
        'parallel - recurrent': row.parallelAgainstRecurrent.toExponential(1),
        'FLOP a token': row.flopsPerToken,
        'state bytes': row.stateBytes,
        'of it a token': row.stateBytesPerToken,
      })),
    );
    if (without.length && !values.only) console.log(`Without a reference: ${without.join(', ')}.`);
  }
  await engine.close();
  if (rows.some((row) => !(row.difference < 1e-4 && row.parallelAgainstRecurrent < 1e-4))) process.exitCode = 1;
}
