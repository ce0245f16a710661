// A ring of past rows in ONNX: write_row as ScatterND, in place where the buffer may be overwritten, and the attention over its rows.
import type { Mapping } from './composites.ts';
import { floats } from './attention.ts';
import { coordinates } from './indexing.ts';

export const writtenRow: Mapping = {
  fits: ({ operands: [buffer] }) => typeof buffer?.shape[1] === 'number',
  rule: (lowering, { operands: [buffer, row, place], results: [result] }) => {
    const shape = [...(buffer?.shape.slice(0, 2) ?? []), 1];
    const places = lowering.node('Reshape', [
      lowering.cast(lowering.name(place), 'int64'),
      lowering.integers([-1, 1, 1]),
    ]);
    const at = coordinates(lowering, lowering.node('Expand', [places, lowering.shapeTensor(shape)]), shape, 2);
    lowering.define(result, 'ScatterND', [lowering.name(buffer), at, lowering.name(row)]);
  },
  inPlace: { 0: 0 },
};

/** row_attention as two products and a Softmax, where the decomposition takes five nodes for the last. */
export const rowAttention: Mapping = {
  fits: ({ operands: [q, keys, values], attributes }) =>
    [q, keys, values].every((operand) => operand && floats([operand])) &&
    attributes.softCap === undefined &&
    [...(q?.shape.slice(2) ?? []), keys?.shape[1]].every((dim) => typeof dim === 'number'),
  rule: (lowering, { operands: [q, keys, values, counts], results: [out], attributes }) => {
    if (!q || !keys || !values || !counts || !out) return;
    const [batch = 1, , heads = 1, width = 1] = q.shape;
    const [, groups = 1, rows = 1] = keys.shape;
    const folded = [batch, groups, Number(heads) / Number(groups), width];
    const product = {
      domain: 'com.microsoft',
      attributes: { transB: { int: 1 }, alpha: { float: Number(attributes.scale) } },
    };
    const scores = lowering.node('FusedMatMul', [lowering.shaped(q, folded), lowering.name(keys)], product);
    const held = lowering.node('Less', [
      lowering.cast(lowering.indices(rows), 'int32'),
      lowering.node('Reshape', [lowering.name(counts), lowering.integers([-1, 1, 1, 1])]),
    ]);
    const [none, far] = [0, -1e30].map((value) => lowering.constant('float32', [], [value]));
    const mask = lowering.node('Where', [held, none ?? '', far ?? '']);
    const weights = lowering.node('Softmax', [lowering.node('Add', [scores, mask])], {
      attributes: { axis: { int: -1 } },
    });
    const raw = lowering.node('MatMul', [weights, lowering.name(values)]);
    lowering.setView(out, raw, folded);
  },
  inPlace: {},
};
