// Operations that ONNX Runtime has one kernel for: x logistic(x), a sum that is normalised next, queries that are scaled as they are
// turned, slices that cut a value.
import type { Operation, Program, Value } from '../../tensor/index.ts';
import { sameShape } from '../../tensor/index.ts';
import { consumers, producers } from '../../tensor/program.ts';
import { heldAttention, holdsScores, rotated } from './attention.ts';
import type { Lowering, Rule } from './lowering.ts';
import { splitRule, splitsOf } from './splits.ts';

/** By the operation that is lowered in place of both; `others` are passed over. */
export interface Fusions {
  readonly rules: ReadonlyMap<Operation, Rule>;
  readonly others: ReadonlySet<Operation>;
}

/** x logistic(x), where nothing else reads the logistic: a gradient would. */
function gateOf(
  { kind, operands: [x], results: [s] }: Operation,
  readersOf: ReadonlyMap<Value, readonly Operation[]>,
): Operation | undefined {
  if (kind !== 'logistic' || !x || !s || x.dtype !== 'float32') return undefined;
  const [reader, another] = readersOf.get(s) ?? [];
  const [a, b] = reader?.operands ?? [];
  const isGate = reader?.kind === 'multiply' && ((a === x && b === s) || (a === s && b === x));
  return isGate && !another ? reader : undefined;
}

/** com.microsoft.QuickGelu is x logistic(alpha x). */
function gate(x: Value | undefined): Rule {
  return (lowering, { results: [y] }) =>
    lowering.define(y, 'QuickGelu', [lowering.name(x)], {
      domain: 'com.microsoft',
      attributes: { alpha: { float: 1 } },
    });
}

/** Whether a norm can take a sum's place: both are whole, and its weights are there already. */
function normalises(norm: Operation, sum: Operation, inputs: ReadonlySet<Value>, lowering: Lowering): boolean {
  const [x, weight] = norm.operands;
  const [, inverse] = norm.results;
  return (
    norm.kind === 'rms_norm' &&
    x === sum.results[0] &&
    x?.shape.length === 3 &&
    !x.shape.includes(0) &&
    norm.operands.every(({ dtype }) => dtype === 'float32') &&
    sum.operands.every(({ shape }) => sameShape(shape, x.shape)) &&
    weight !== undefined &&
    inputs.has(weight) &&
    !(inverse && lowering.isRead(inverse))
  );
}

/** The norm that is lowered where the sum stands. */
function sumAndNorm({ operands: [, weight], results: [y], attributes }: Operation): Rule {
  return (lowering, { operands: [a, b], results: [sum] }) =>
    lowering.defineAll(
      [y, undefined, undefined, sum],
      'SkipSimplifiedLayerNormalization',
      [lowering.name(a), lowering.name(b), lowering.name(weight)],
      { domain: 'com.microsoft', attributes: { epsilon: { float: Number(attributes.eps) } } },
    );
}

/** The rotation whose result is an attention's queries and nothing else. */
function rotationOf(
  { kind, operands: [q] }: Operation,
  producedBy: ReadonlyMap<Value, Operation>,
  readersOf: ReadonlyMap<Value, readonly Operation[]>,
): Operation | undefined {
  const rotation = kind === 'cached_attention' && q ? producedBy.get(q) : undefined;
  return rotation?.kind === 'rotary' && q && readersOf.get(q)?.length === 1 ? rotation : undefined;
}

/** A rotation by tables that are scaled once, in `scaled` by their names, for all layers. */
function scaledRotation(scale: number, scaled: Map<string, string>): Rule {
  return (lowering, operation) =>
    rotated(lowering, operation, (table) => {
      const name = lowering.name(table);
      const key = `${scale} ${name}`;
      const found = scaled.get(key) ?? lowering.node('Mul', [name, lowering.constant('float32', [], [scale])]);
      scaled.set(key, found);
      return found;
    });
}

/** Those of a program, found before its operations are lowered. Kinds in `own` have rules that stand by themselves. */
export function fusionsOf(program: Program, lowering: Lowering, own: Readonly<Record<string, Rule>>): Fusions {
  const [readersOf, producedBy] = [consumers(program), producers(program)];
  const inputs = new Set(program.inputs.map(({ value }) => value));
  const outputs = new Set(program.outputs.map(({ value }) => value));
  const rules = new Map<Operation, Rule>();
  const others = new Set<Operation>();
  for (const [first, parts] of splitsOf(program)) {
    rules.set(first, splitRule(parts));
    for (const part of parts) if (part !== first) others.add(part);
  }
  const scaled = new Map<string, string>();
  for (const operation of program.operations) {
    const rotation = rotationOf(operation, producedBy, readersOf);
    if (rotation && !own.cached_attention && holdsScores(lowering, operation)) {
      rules.set(rotation, scaledRotation(Number(operation.attributes.scale), scaled));
      rules.set(operation, (inner, attention) => heldAttention(inner, attention, attention.operands[0]));
    }
    const gated = gateOf(operation, readersOf);
    const [result] = operation.results;
    if (gated && result && !outputs.has(result)) {
      others.add(operation);
      rules.set(gated, gate(operation.operands[0]));
    }
    const sum = operation.operands[0] && producedBy.get(operation.operands[0]);
    if (sum?.kind !== 'add' || rules.has(sum) || !normalises(operation, sum, inputs, lowering)) continue;
    rules.set(sum, sumAndNorm(operation));
    others.add(operation);
  }
  return { rules, others };
}
