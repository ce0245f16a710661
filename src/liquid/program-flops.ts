// Arithmetic of a program by one rule a primitive. What repeats is counted once: composites of equal types share one trace.
import { compositeDefinition, flopsOf } from '../tensor/definition.ts';
import type { Operation, Program, Value } from '../tensor/index.ts';
import { evaluateDim, expanded } from '../tensor/index.ts';
import { decompositionOf } from '../tensor/tracer.ts';

/** By program, then by which of its outputs are asked for. */
const known = new WeakMap<Program, Map<string, number>>();

/**
 * Floating-point operations of a program without symbols: what an engine that fuses nothing would execute. What leads to
 * nothing is not counted; a `while` counts as one turn.
 */
export function flopsOfProgram(program: Program): number {
  // In a checkpoint's body, too, what nobody reads is left out: that shows only where it stands among its readers.
  const flat = program.operations.some(({ kind }) => kind === 'checkpoint') ? expanded(program, () => true) : program;
  return count(
    flat,
    flat.outputs.map(() => true),
  );
}

function count(program: Program, wanted: readonly boolean[]): number {
  const counts = known.get(program) ?? new Map<string, number>();
  known.set(program, counts);
  const key = wanted.map(Number).join('');
  const before = counts.get(key);
  if (before !== undefined) return before;
  const read = new Set<Value>(program.outputs.filter((_, index) => wanted[index]).map(({ value }) => value));
  let total = 0;
  for (const operation of program.operations.toReversed()) {
    const used = operation.results.map((result) => read.has(result));
    if (!used.includes(true)) continue;
    for (const operand of operation.operands) read.add(operand);
    total += flopsOfOperation(operation, used);
  }
  counts.set(key, total);
  return total;
}

function flopsOfOperation(operation: Operation, used: readonly boolean[]): number {
  const { kind, operands, attributes, regions } = operation;
  const composite = compositeDefinition(kind);
  if (composite?.flops) return evaluateDim(composite.flops(operands, attributes), {});
  if (composite) return count(decompositionOf(kind, operands, attributes), used);
  const body = regions.at(-1);
  if (!body) return evaluateDim(flopsOf(operation), {});
  const turns = kind === 'scan' ? evaluateDim(dimOf(attributes.length), {}) : 1;
  return turns * flopsOfProgram(body);
}

function dimOf(attribute: unknown): number | string {
  return typeof attribute === 'string' ? attribute : Number(attribute);
}
