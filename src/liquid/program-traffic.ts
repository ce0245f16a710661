// Bytes that a program must move between memory and the processor: of its inputs what is read, of its outputs what changes.
import { compositeDefinition } from '../tensor/definition.ts';
import type { Operation, Program, Value } from '../tensor/index.ts';
import { byteLength, consumers, countOf, producers } from '../tensor/index.ts';
import { decompositionOf } from '../tensor/tracer.ts';

/** What is read of an input: bytes, and the outputs that are the input changed in place, whose readers count too. */
interface Reading {
  readonly bytes: number;
  readonly through: ReadonlySet<number>;
}

export interface ProgramTraffic {
  /** Bytes read of each input, in their order. */
  readonly read: readonly Reading[];
  /** Bytes written of each output, or the index of the input that it is. */
  readonly written: readonly (number | { readonly input: number })[];
}

const known = new WeakMap<Program, ProgramTraffic>();

export function bytesOf({ dtype, shape }: Value): number {
  return byteLength(dtype, countOf(shape.map(Number)));
}

/**
 * An operation reads its operands whole, but gather only the rows it returns and scatter none of what it keeps; an output
 * that is scattered into is written where it changes, any other whole. The program has no symbols.
 */
export function trafficOf(program: Program): ProgramTraffic {
  const before = known.get(program);
  if (before) return before;
  const readers = consumers(program);
  const makers = producers(program);
  const outputs = new Map<Value, number[]>();
  program.outputs.forEach(({ value }, index) => outputs.set(value, [...(outputs.get(value) ?? []), index]));
  const readings = new Map<Value, Reading>();

  const reading = (value: Value): Reading => {
    const found = readings.get(value);
    if (found) return found;
    const through = new Set(outputs.get(value));
    let bytes = 0;
    const follow = (next: Reading) => {
      bytes += next.bytes;
      for (const output of next.through) through.add(output);
    };
    for (const operation of readers.get(value) ?? []) {
      operation.operands.forEach((operand, index) => {
        if (operand === value) follow(readBy(operation, index));
      });
    }
    const made = { bytes: Math.min(bytesOf(value), bytes), through };
    readings.set(value, made);
    return made;
  };
  const readBy = (operation: Operation, index: number): Reading => {
    const { kind, operands, results, attributes } = operation;
    const none: ReadonlySet<number> = new Set();
    const [result] = results;
    const operand = operands[index];
    if (compositeDefinition(kind)) {
      const inner = trafficOf(decompositionOf(kind, operands, attributes)).read[index];
      const onward = [...(inner?.through ?? [])]
        .map((output) => results[output])
        .filter((value) => value !== undefined);
      const parts = onward.map(reading);
      return {
        bytes: (inner?.bytes ?? 0) + parts.reduce((total, { bytes }) => total + bytes, 0),
        through: new Set(parts.flatMap(({ through }) => [...through])),
      };
    }
    if (result && index === 0) {
      if (kind === 'gather') return { bytes: bytesOf(result), through: none };
      // What was scattered into is read on from the result.
      if (kind === 'scatter') return reading(result);
    }
    return { bytes: operand ? bytesOf(operand) : 0, through: none };
  };
  const inputs = new Map(program.inputs.map(({ value }, index) => [value, index]));
  const written = (value: Value): number | { readonly input: number } => {
    const maker = makers.get(value);
    if (!maker) return { input: inputs.get(value) ?? -1 };
    const { kind, operands, results, attributes } = maker;
    if (kind === 'scatter') return operands[2] ? bytesOf(operands[2]) : 0;
    if (!compositeDefinition(kind)) return bytesOf(value);
    const inner = trafficOf(decompositionOf(kind, operands, attributes)).written[results.indexOf(value)] ?? 0;
    if (typeof inner === 'number') return inner;
    const from = operands[inner.input];
    return from ? written(from) : 0;
  };
  const made = {
    read: program.inputs.map(({ value }) => reading(value)),
    written: program.outputs.map(({ value }) => written(value)),
  };
  known.set(program, made);
  return made;
}
