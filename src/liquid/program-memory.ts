// Memory that a program's intermediate values need at once, as an engine with a kernel for each composite holds them.
import type { ArrayType, Operation, Program, Value } from '../tensor/index.ts';
import { byteLength, countOf } from '../tensor/index.ts';
import { decompositionOf } from '../tensor/tracer.ts';
import { bytesOf } from './program-traffic.ts';

/** Other views of the same memory. */
const views: ReadonlySet<string> = new Set(['reshape', 'broadcast_in_dim', 'slice']);

/** An operation over operands of these types. */
export type Typed = Pick<Operation, 'kind' | 'attributes'> & { readonly operands: readonly ArrayType[] };

/** Bytes that an operation makes besides its operands where no engine has one kernel for it, its results among them. */
export function bytesWithin({ kind, operands, attributes }: Typed): number {
  if (kind === 'experts' || kind === 'experts_grad') return peakBytes(decompositionOf(kind, operands, attributes));
  const [lhs, rhs, sizes] = operands;
  if (kind !== 'ragged_dot' || attributes.rhsContracting !== 0 || !lhs || !rhs || !sizes) return 0;
  // Sums over a group's rows are kept in float32 until they are whole.
  const sums = [...sizes.shape, lhs.shape[1] ?? 1, rhs.shape[1] ?? 1];
  return lhs.dtype === 'float32' ? 0 : byteLength('float32', countOf(sums.map(Number)));
}

export interface PeakOptions {
  /** Bytes of a value, where a device holds but a part of it. */
  readonly sizeOf?: (value: Value) => number;
  /** Bytes that an operation holds besides its operands while it runs, where its results are not all. */
  readonly within?: (operation: Operation) => number;
}

/**
 * Most bytes of intermediate values that are alive together, operation after operation; each lives from the operation that
 * makes it to the last that reads it. Inputs are not counted, nor outputs that take over a donated input's memory. A composite
 * holds only its operands and results: what its decomposition would make on the way (attention's scores) a fused kernel never
 * stores; `bytesWithin` tells the exceptions. What is recomputed or repeated in a body of its own (checkpoint, scan) is alive
 * while that runs. The program has no symbols.
 */
export function peakBytes(program: Program, { sizeOf = bytesOf, within = bytesWithin }: PeakOptions = {}): number {
  const owner = new Map<Value, Value>();
  const own = (value: Value): Value => owner.get(value) ?? value;
  const lastRead = new Map<Value, number>();
  program.operations.forEach(({ kind, operands, results }, index) => {
    const [operand] = operands;
    if (views.has(kind) && operand) for (const result of results) owner.set(result, own(operand));
    for (const value of operands) lastRead.set(own(value), index);
  });
  const takenOver = new Set(Object.values(program.donations));
  const elsewhere = new Set(program.inputs.map(({ value }) => value));
  for (const { name, value } of program.outputs) {
    if (takenOver.has(name)) elsewhere.add(own(value));
    lastRead.set(own(value), program.operations.length);
  }
  let [alive, peak] = [0, 0];
  const endings = new Map<number, Value[]>();
  for (const [value, index] of lastRead) endings.set(index, [...(endings.get(index) ?? []), value]);
  const counted = new Set<Value>();
  program.operations.forEach((operation, index) => {
    const { results, regions } = operation;
    const inside = Math.max(within(operation), ...regions.map((body) => peakBytes(body, { sizeOf, within })));
    peak = Math.max(peak, alive + inside);
    for (const result of results) {
      // A result that nobody reads is not stored.
      if (own(result) !== result || elsewhere.has(result) || !lastRead.has(result)) continue;
      counted.add(result);
      alive += sizeOf(result);
    }
    peak = Math.max(peak, alive);
    for (const value of endings.get(index) ?? []) if (counted.has(value)) alive -= sizeOf(value);
  });
  return peak;
}
