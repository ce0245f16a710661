// Products of one x with several packed matrices as one product with all of their rows: a kernel call has a price of its own, which
// for one token is as much as a small matrix.
import type { Operation, Program, Value } from '../../tensor/index.ts';

/** By the first of the products that are joined all of them, in their order; by each of the others none. */
export type Joins = ReadonlyMap<Operation, readonly Operation[]>;

/** Of products that are left whole for MatMulNBits, those that can be one. Not of 8 bits in float32, which have a layout of their own. */
export function joinedProducts({ operations }: Program, weights: ReadonlySet<Value>): Joins {
  const byInput = new Map<Value, Map<string, Operation[]>>();
  for (const operation of operations) {
    const {
      kind,
      operands: [x, ...parts],
      attributes,
    } = operation;
    if (kind !== 'matmul_quantized' || !x || !parts.every((part) => weights.has(part))) continue;
    if (attributes.bits !== 4 && attributes.activations === 'float32') continue;
    const groups = byInput.get(x) ?? new Map<string, Operation[]>();
    byInput.set(x, groups);
    const key = JSON.stringify([attributes, parts.map(({ dtype, shape }) => [dtype, shape.slice(1)])]);
    groups.set(key, [...(groups.get(key) ?? []), operation]);
  }
  const found = [...byInput.values()].flatMap((groups) => [...groups.values()]).filter(({ length }) => length > 1);
  return new Map(found.flatMap((group) => group.map((one, index) => [one, index === 0 ? group : []] as const)));
}
