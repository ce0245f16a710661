// A language model's step as an ONNX model of its own, for a runtime without lfm: token ids and past state in, logits and
// present state out, weights in a file beside it.
import type { DType, Program, Shape, Value } from '../../tensor/index.ts';
import { expanded, LfmError, withoutIdleHistory } from '../../tensor/index.ts';
import { growingAttention } from './attention.ts';
import { isMapped } from './composites.ts';
import { lowerOutputs } from './lower.ts';
import type { Derived } from './lowering.ts';
import { Lowering } from './lowering.ts';
import type { Dimension, ExternalData } from './proto.ts';
import { encodeModel, GraphBuilder } from './proto.ts';
import { readingsOf } from './repacked.ts';
import { variants } from './variants.ts';

export interface StandaloneOptions {
  /** The inputs that are weights, as they are stored; those in float16 are widened when the model is loaded. */
  readonly weights: Readonly<Record<string, 'float32' | 'float16' | 'uint8'>>;
  /** The name of the file with the weights, beside the model's. */
  readonly file: string;
  /** Names of states with a row a token, along the axis before the last. */
  readonly growing: ReadonlySet<string>;
  readonly metadata: Readonly<Record<string, string>>;
}

export interface StandalonePort {
  readonly name: string;
  readonly dtype: DType;
  /** Numbers, and the names of sizes that the runtime learns: batch, sequence, past, total (past and sequence). */
  readonly shape: readonly Dimension[];
}

/** A tensor of the file with the weights. */
export interface StandaloneData {
  /** That of a weight, as `weights` has it, where it is not derived. */
  readonly name: string;
  readonly place: ExternalData;
  /** How it is made of weights, where it is not one itself. */
  readonly derived?: Derived;
}

export interface Standalone {
  readonly model: Uint8Array<ArrayBuffer>;
  readonly inputs: readonly StandalonePort[];
  readonly outputs: readonly StandalonePort[];
  /** In the order of their bytes. */
  readonly data: readonly StandaloneData[];
}

/** ONNX Runtime maps tensors that begin on a page instead of copying them. */
const PAGE = 4096;
const BATCH = 'batch';

/**
 * Lowers a step program whose batch is the symbol B and whose length is T, with `allLogits`. Inputs: `input_ids` int64
 * [batch, sequence]; `past.NAME` for each state; `past_length` int64 [1] only where no state tells it. Outputs: `logits`
 * float32 [batch, sequence, vocabulary]; `present.NAME`.
 * Errors: `onnx-export-unsupported`, `onnx-unsupported`.
 */
export function lowerStandalone(source: Program, { weights, file, growing, metadata }: StandaloneOptions): Standalone {
  const fixed = new Set(source.inputs.flatMap(({ name, value }) => (weights[name] ? [value] : [])));
  const program = withoutIdleHistory(
    expanded(
      source,
      (operation) =>
        operation.kind === 'cached_attention'
          ? growingAttention.fits(operation)
          : isMapped(operation, (value) => fixed.has(value)),
      variants,
    ),
  );
  const graph = new GraphBuilder(program.name);
  const lowering = new Lowering(program, graph);
  const inputs: StandalonePort[] = [];
  const take = (name: string, dtype: DType, shape: readonly Dimension[]): string => {
    inputs.push({ name, dtype, shape });
    return graph.input(name, dtype, shape);
  };
  const ids = take('input_ids', 'int64', [BATCH, 'sequence']);
  const given = new Map(program.inputs.map(({ name, value }) => [name, value]));
  const stateShape = (name: string, { shape }: Value, rows: string): Dimension[] =>
    shape.map((dim, axis) => (growing.has(name) && axis === shape.length - 2 ? rows : dim === 'B' ? BATCH : dim));
  const tokens = given.get('tokens');
  if (tokens) {
    lowering.bindSymbols(ids, tokens.shape);
    lowering.set(tokens, lowering.cast(ids, 'int32'));
  }
  const held: string[] = [];
  for (const [name, value] of given) {
    const weight = weights[name];
    if (weight) lowering.set(value, weightOf(lowering, name, value.shape, weight));
    if (!name.startsWith('state.')) continue;
    const state = name.slice('state.'.length);
    lowering.set(value, take(`past.${state}`, value.dtype, stateShape(state, value, 'past')));
    if (growing.has(state)) held.push(`past.${state}`);
  }
  requireGrowth(program, given, growing);
  const axis = (name: string, at: number) =>
    lowering.node('Shape', [name], { attributes: { start: { int: at }, end: { int: at + 1 } } });
  const [rows] = held;
  const rank = rows === undefined ? 0 : (given.get(`state.${rows.slice('past.'.length)}`)?.shape.length ?? 0);
  const everyRow = (count: string) => lowering.node('Expand', [lowering.cast(count, 'int32'), axis(ids, 0)]);
  const [starts, lengths] = [given.get('starts'), given.get('lengths')];
  if (starts && lowering.isRead(starts))
    lowering.set(starts, everyRow(rows === undefined ? take('past_length', 'int64', [1]) : axis(rows, rank - 2)));
  if (lengths && lowering.isRead(lengths)) lowering.set(lengths, everyRow(axis(ids, 1)));
  const outputs = program.outputs.map(({ name, value }): StandalonePort => {
    if (name === 'logits') return { name, dtype: value.dtype, shape: [BATCH, 'sequence', Number(value.shape[2])] };
    const state = name.slice('state.'.length);
    return { name: `present.${state}`, dtype: value.dtype, shape: stateShape(state, value, 'total') };
  });
  const names = outputs.map(({ name }) => name);
  lowerOutputs(lowering, program, names, { cached_attention: growingAttention.rule });
  for (const { name, dtype, shape } of outputs) graph.output(name, dtype, shape);
  const data = placeWeights(lowering, file);
  return { model: encodeModel(graph, metadata), inputs, outputs, data };
}

function weightOf(lowering: Lowering, name: string, shape: Shape, dtype: StandaloneOptions['weights'][string]): string {
  const stored = lowering.graph.initializer(name, dtype, shape.map(Number));
  return dtype === 'float16' ? lowering.cast(stored, 'float32') : stored;
}

/** Gives each weight that is read a place in the file, on a page of its own. */
function placeWeights({ graph, derived }: Lowering, file: string): StandaloneData[] {
  const readings = readingsOf(graph);
  graph.keepInitializers((name) => readings.has(name));
  const data: StandaloneData[] = [];
  let offset = 0;
  graph.placeInitializers((name, length) => {
    const made = derived.find((one) => one.name === name);
    const place = { location: file, offset, length };
    data.push({ name, place, ...(made && { derived: made }) });
    offset = Math.ceil((offset + length) / PAGE) * PAGE;
    return place;
  });
  return data;
}

/** A state that grows must be read by the kernel that grows it, and by nothing else. */
function requireGrowth(program: Program, given: ReadonlyMap<string, Value>, growing: ReadonlySet<string>): void {
  for (const state of growing) {
    const value = given.get(`state.${state}`);
    const reader = program.operations.find(
      ({ kind, operands }) => kind !== 'cached_attention' && operands.some((operand) => operand === value),
    );
    if (value && reader)
      throw new LfmError(
        'onnx-export-unsupported',
        `The state ${state} cannot grow in ONNX Runtime: its kernels take float32 heads of a known width, without a window.`,
      );
  }
}
