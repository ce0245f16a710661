// Composites that ONNX Runtime has a kernel for, where the kernel is faster than the decomposition (see LOG.md).
import type { Operation, Value } from '../../tensor/index.ts';
import { cachedAttention, floats, rotary } from './attention.ts';
import type { Rule } from './lowering.ts';
import { matmulNBits } from './quantized.ts';
import { groupedProducts } from './ragged.ts';
import { wholeRows } from './rounded.ts';
import { rowAttention, writtenRow } from './ring.ts';

export interface Mapping {
  /** Whether the kernel can do this instance; otherwise it is expanded. `isBound`: whether a value is fixed when compiled. */
  readonly fits: (operation: Operation, isBound: (value: Value) => boolean) => boolean;
  readonly rule: Rule;
  /** Operand index -> index of the result that may share its memory: the kernel appends in place. */
  readonly inPlace: Readonly<Record<number, number>>;
}

/** rms_norm as SimplifiedLayerNormalization: one walk instead of four. */
const rmsNorm: Mapping = {
  fits: ({ operands }) => floats(operands) && (operands[0]?.shape.length ?? 0) > 1 && !operands[0]?.shape.includes(0),
  rule: (lowering, { operands: [x, weight], results: [y, inverse], attributes }) => {
    if (!x || !weight || !y || !inverse) return;
    const spec = {
      attributes: { axis: { int: -1 }, epsilon: { float: Number(attributes.eps) }, stash_type: { int: 1 } },
    };
    const inputs = [lowering.name(x), lowering.name(weight)];
    if (!lowering.isRead(inverse)) return lowering.define(y, 'SimplifiedLayerNormalization', inputs, spec);
    // The kernel keeps the axis that the residual does without.
    const kept = { id: -1, dtype: inverse.dtype, shape: [...inverse.shape, 1] };
    lowering.defineAll([y, kept], 'SimplifiedLayerNormalization', inputs, spec);
    lowering.define(inverse, 'Reshape', lowering.reshapeInputs(lowering.name(kept), kept.shape, inverse.shape));
  },
  inPlace: {},
};

const mappings: Readonly<Record<string, Mapping>> = {
  cached_attention: cachedAttention,
  rms_norm: rmsNorm,
  rotary,
  matmul_quantized: { ...matmulNBits, inPlace: {} },
  matmul_rows: { ...wholeRows, inPlace: {} },
  ragged_dot: { ...groupedProducts, inPlace: {} },
  row_attention: rowAttention,
  write_row: writtenRow,
};

export const compositeRules: Readonly<Record<string, Rule>> = Object.fromEntries(
  Object.entries(mappings).map(([kind, { rule }]) => [kind, rule]),
);

/** Whether an operation is left whole for its kernel. */
export function isMapped(operation: Operation, isBound: (value: Value) => boolean): boolean {
  return mappings[operation.kind]?.fits(operation, isBound) ?? false;
}

/** Whether the kernel may write a result into this operand's own memory. */
export function appendsInPlace({ kind, operands, results }: Operation, input: unknown, output: unknown): boolean {
  const pairs = Object.entries(mappings[kind]?.inPlace ?? {});
  const at = operands.flatMap((operand, index) => (operand === input ? [index] : []));
  const [only] = at;
  return at.length === 1 && pairs.some(([operand, result]) => Number(operand) === only && results[result] === output);
}
