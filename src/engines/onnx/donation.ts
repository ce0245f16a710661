// Which donated inputs may be overwritten in place. An engine that got this wrong would return wrong numbers in silence.
import type { Operation, Program, Value } from '../../tensor/index.ts';
import { sameShape } from '../../tensor/index.ts';
import { consumers, producers } from '../../tensor/program.ts';
import { appendsInPlace } from './composites.ts';
import { elementwiseRules } from './elementwise.ts';

/** Operations whose result is the operand's own memory at run time: their readers read the operand. */
const views = new Set(['reshape', 'broadcast_in_dim', 'optimization_barrier']);

/** Operations that read element i of an operand before writing element i of the result, and no other. */
function readsInStep(operation: Operation, input: Value): boolean {
  const [result] = operation.results;
  const same = result !== undefined && result.dtype === input.dtype && sameShape(result.shape, input.shape);
  return same && operation.kind in elementwiseRules && operation.kind !== 'convert';
}

/** All operations that `operation` waits for. */
function ancestorsOf(operation: Operation, producedBy: ReadonlyMap<Value, Operation>): Set<Operation> {
  const found = new Set<Operation>();
  const pending = [operation];
  for (let next = pending.pop(); next; next = pending.pop()) {
    for (const operand of next.operands) {
      const producer = producedBy.get(operand);
      if (producer && !found.has(producer)) {
        found.add(producer);
        pending.push(producer);
      }
    }
  }
  return found;
}

/**
 * Input name -> output name for those donations where every reader of the input is proven to come before the operation
 * that writes the output: it is an ancestor of the writer in the data flow (so it precedes it in any order an optimiser may
 * choose), or the writer itself, reading element by element or appending in place. The others need a buffer of their own.
 * `byElement`: false where kernels may not read and write one buffer, as a GPU's may not.
 */
export function inPlaceDonations(program: Program, byElement = true): Record<string, string> {
  const readersOf = consumers(program);
  const producedBy = producers(program);
  const outputValues = program.outputs.map(({ value }) => value);
  const proven: Record<string, string> = {};
  for (const [inputName, outputName] of Object.entries(program.donations)) {
    const input = program.inputs.find(({ name }) => name === inputName)?.value;
    const output = program.outputs.find(({ name }) => name === outputName)?.value;
    const writer = output && producedBy.get(output);
    if (!input || !output || !writer || input.dtype !== output.dtype || !sameShape(input.shape, output.shape)) continue;
    if (outputValues.includes(input) || outputValues.filter((value) => value === output).length > 1) continue;
    const before = ancestorsOf(writer, producedBy);
    const aliases = [input];
    let safe = true;
    for (let alias = aliases.pop(); alias && safe; alias = aliases.pop()) {
      for (const reader of readersOf.get(alias) ?? []) {
        if (views.has(reader.kind) && reader !== writer) {
          aliases.push(...reader.results);
          if (reader.results.some((result) => outputValues.includes(result))) safe = false;
        } else if (reader === writer)
          safe &&=
            alias === input && ((byElement && readsInStep(reader, input)) || appendsInPlace(reader, input, output));
        else safe &&= before.has(reader);
      }
    }
    if (safe) proven[inputName] = outputName;
  }
  return proven;
}
