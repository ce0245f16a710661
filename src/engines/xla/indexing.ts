// Data-dependent reads and writes in StableHLO, whose own rules for indices outside are ours: reads clamp, writes are dropped.
import { byteLength, countOf } from '../../tensor/index.ts';
import type { GatherAttributes, ScatterAttributes } from '../../tensor/primitives/indexing.ts';
import type { Rule } from './emitter.ts';
import { integerArray, sumType } from './emitter.ts';

function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i);
}

/** Axes of the gathered array that come from the operand's window: those before the axis, and those after it. */
function windowAxes(rank: number, indicesRank: number, { axis, batchDims }: GatherAttributes): number[] {
  const picked = indicesRank - batchDims;
  return [...range(batchDims, axis), ...range(axis + picked, rank - 1 + picked)];
}

function list(name: string, axes: readonly number[]): string {
  return `${name} = [${axes.join(', ')}]`;
}

export const indexingRules: Readonly<Record<string, Rule>> = {
  gather: (emitter, { operands: [x, indices], attributes, results: [result] }) => {
    if (!x || !indices || !result) return;
    const a = attributes as unknown as GatherAttributes;
    const batch = range(0, a.batchDims);
    const numbers = [
      list('offset_dims', windowAxes(x.shape.length, indices.shape.length, a)),
      list('collapsed_slice_dims', [a.axis]),
      list('operand_batching_dims', batch),
      list('start_indices_batching_dims', batch),
      list('start_index_map', [a.axis]),
      `index_vector_dim = ${indices.shape.length}`,
    ];
    const sizes = emitter.dims(x.shape).map((size, axis) => (axis < a.batchDims || axis === a.axis ? 1 : size));
    const given = `dimension_numbers = #stablehlo.gather<${numbers.join(', ')}>, slice_sizes = ${integerArray(sizes)}, indices_are_sorted = false`;
    // Rows of a table whose other dimensions are divided: bring the table together, not what is picked from it, which
    // XLA could only do by copying all of it to every device.
    const table = a.batchDims === 0 ? emitter.wholeBut(emitter.ref(x), [a.axis]) : emitter.ref(x);
    emitter.define(
      result,
      emitter.one('stablehlo.gather', [table, emitter.ref(indices)], emitter.typeOf(result), given),
    );
  },
  scatter: (emitter, { operands: [x, indices, updates], attributes, results: [result] }) => {
    if (!x || !indices || !updates || !result) return;
    const a = attributes as unknown as ScatterAttributes;
    const batch = range(0, a.batchDims);
    const numbers = [
      list('update_window_dims', windowAxes(x.shape.length, indices.shape.length, a)),
      list('inserted_window_dims', [a.axis]),
      list('input_batching_dims', batch),
      list('scatter_indices_batching_dims', batch),
      list('scatter_dims_to_operand_dims', [a.axis]),
      `index_vector_dim = ${indices.shape.length}`,
    ];
    const adds = a.reducer === 'add';
    const dtype = adds ? sumType(x.dtype) : x.dtype;
    const scalar = { dtype, shape: [] };
    const body = emitter.region([scalar, scalar], (inner, [old, update]) => {
      if (!old || !update) return [];
      return [adds ? inner.one('stablehlo.add', [old, update], scalar) : update];
    });
    const flags = `indices_are_sorted = false, unique_indices = ${!adds}`;
    const given = `scatter_dimension_numbers = #stablehlo.scatter<${numbers.join(', ')}>, ${flags}`;
    // Sums of rows that devices hold apart: either each device adds up its own and the tables are summed, twice the table's
    // bytes in float32, or the rows are brought together first, which is less for a vocabulary and a batch of usual sizes.
    const [rows, at] = [emitter.ref(updates), emitter.ref(indices)];
    const table = byteLength(dtype, countOf(emitter.dims(result.shape)));
    const gathers = a.batchDims === 0 && adds && byteLength(rows.dtype, countOf(rows.shape)) < 2 * table;
    const operands = [
      emitter.convert(emitter.ref(x), dtype),
      gathers ? emitter.wholeBut(at, []) : at,
      emitter.convert(
        gathers ? emitter.wholeBut(rows, windowAxes(x.shape.length, indices.shape.length, a)) : rows,
        dtype,
      ),
    ];
    const written = emitter.one('stablehlo.scatter', operands, { dtype, shape: emitter.dims(result.shape) }, given, [
      body,
    ]);
    const whole = a.batchDims === 0 && !gathers ? emitter.wholeBut(written, [a.axis]) : written;
    emitter.define(result, emitter.convert(whole, result.dtype));
  },
  dynamic_slice: (emitter, { operands, results: [result] }) => {
    if (!result) return;
    const type = emitter.typeOf(result);
    const refs = operands.map((operand) => emitter.ref(operand));
    emitter.define(
      result,
      emitter.one('stablehlo.dynamic_slice', refs, type, `slice_sizes = ${integerArray(type.shape)}`),
    );
  },
  dynamic_update_slice: (emitter, { operands, results: [result] }) => {
    if (!result) return;
    const refs = operands.map((operand) => emitter.ref(operand));
    emitter.define(result, emitter.one('stablehlo.dynamic_update_slice', refs, emitter.typeOf(result)));
  },
  top_k: (emitter, { operands: [x], attributes, results: [values, indices] }) => {
    if (!values || !indices) return;
    const types = [emitter.typeOf(values), emitter.typeOf(indices)];
    const [top, at] = emitter.many('chlo.top_k', [emitter.ref(x)], types, `k = ${Number(attributes.k)} : i64`);
    emitter.define(values, top);
    emitter.define(indices, at);
  },
};
