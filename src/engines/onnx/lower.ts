// Program -> ONNX model. Composites with a kernel of their own are mapped (composites.ts), the others expanded.
import type { Operation, Program, Value } from '../../tensor/index.ts';
import { expanded, LfmError, withoutIdleHistory } from '../../tensor/index.ts';
import { consumers } from '../../tensor/program.ts';
import { compositeRules, isMapped } from './composites.ts';
import type { Scales } from './contraction.ts';
import { dotRule, reductionRules, sumRule } from './contraction.ts';
import { controlRules } from './control.ts';
import { inPlaceDonations } from './donation.ts';
import { elementwiseRules } from './elementwise.ts';
import { fusionsOf } from './fusions.ts';
import { indexingRules } from './indexing.ts';
import { joinedProducts } from './joined.ts';
import { hostNodes } from './host-nodes.ts';
import type { Derived, Rule, WeightUse } from './lowering.ts';
import { declaredDims, Lowering } from './lowering.ts';
import { movementRules } from './movement.ts';
import type { ExternalData } from './proto.ts';
import { encodeModel, GraphBuilder } from './proto.ts';
import type { Reading } from './repacked.ts';
import { readingsOf } from './repacked.ts';
import { variants } from './variants.ts';

export interface LoweredProgram {
  /** The model, with the places in files of initializers that are there. */
  readonly encode: (places?: ReadonlyMap<string, ExternalData>) => Uint8Array<ArrayBuffer>;
  /** The program as lowered: same inputs and outputs. */
  readonly program: Program;
  /** Names in the model, in the program's order; bound inputs are initializers. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Donations that are done in place: input name -> output name. */
  readonly inPlace: Readonly<Record<string, string>>;
  /** Initializers that are made of bound inputs. */
  readonly derived: readonly Derived[];
  /** The weights that it reads, bound and derived ones, and its other initializers; the model names no others. */
  readonly readings: ReadonlyMap<string, Reading>;
  readonly nodes: number;
  /** Names of the nodes that are the processor's where weights are a GPU's. */
  readonly hostNodes: readonly string[];
}

/** What bound inputs and what is made of them are called in the model. */
function weightNames(program: Program, bound: ReadonlySet<string>, derived: readonly Derived[]): ReadonlySet<string> {
  const given = program.inputs.flatMap(({ name }) => (bound.has(name) ? [`in:${name}`] : []));
  return new Set([...given, ...derived.map(({ name }) => name)]);
}

/** Products whose only reader multiplies them by a constant: the constant goes into the product. */
function foldableScales(program: Program): { scales: Scales; folded: ReadonlySet<Operation> } {
  const readersOf = consumers(program);
  const outputs = new Set(program.outputs.map(({ value }) => value));
  const fills = new Map<Value, number>();
  const scales = new Map<Value, { factor: number; result: Value }>();
  const folded = new Set<Operation>();
  for (const { kind, operands, attributes, results } of program.operations) {
    const [result] = results;
    if (!result) continue;
    if (kind === 'constant' && typeof attributes.value === 'number') fills.set(result, attributes.value);
    const source = kind === 'broadcast_in_dim' && operands[0] ? fills.get(operands[0]) : undefined;
    if (source !== undefined) fills.set(result, source);
  }
  for (const { kind, results } of program.operations) {
    const [product] = results;
    if (kind !== 'dot_general' || !product || outputs.has(product)) continue;
    if (product.dtype !== 'float32' && product.dtype !== 'float64') continue;
    const path = scaledThrough(product, readersOf, outputs);
    if (!path) continue;
    const factor = path.operands.map((operand) => fills.get(operand)).find((value) => value !== undefined);
    const [result] = path.results;
    if (factor === undefined || !result) continue;
    scales.set(product, { factor, result });
    folded.add(path);
  }
  return { scales, folded };
}

/** The multiplication that is the only reader of a product. */
function scaledThrough(
  product: Value,
  readersOf: ReadonlyMap<Value, Operation[]>,
  outputs: ReadonlySet<Value>,
): Operation | undefined {
  const readers = readersOf.get(product) ?? [];
  const [reader] = readers;
  return readers.length === 1 && reader?.kind === 'multiply' && !outputs.has(product) ? reader : undefined;
}

/** x * x in float32 that only sums read: the square, and x. */
function squaresOf(program: Program): Map<Value, Value> {
  const readersOf = consumers(program);
  const outputs = new Set(program.outputs.map(({ value }) => value));
  const squares = new Map<Value, Value>();
  for (const {
    kind,
    operands: [a, b],
    results: [result],
  } of program.operations) {
    if (kind !== 'multiply' || a !== b || !a || !result || result.dtype !== 'float32' || outputs.has(result)) continue;
    const readers = readersOf.get(result) ?? [];
    if (readers.every((reader) => reader.kind === 'reduce' && reader.attributes.reducer === 'sum'))
      squares.set(result, a);
  }
  return squares;
}

/** Lowers a program's operations, `own` rules before the usual ones, and names its outputs. */
export function lowerBody(lowering: Lowering, program: Program, own: Readonly<Record<string, Rule>> = {}): string[] {
  const { scales, folded } = foldableScales(program);
  const squares = squaresOf(program);
  const fusions = fusionsOf(program, lowering, own);
  const rules: Readonly<Record<string, Rule>> = {
    ...elementwiseRules,
    ...movementRules,
    ...reductionRules,
    ...indexingRules,
    ...controlRules((inner, body) => lowerBody(inner, body, own)),
    ...compositeRules,
    dot_general: dotRule(scales),
    reduce: sumRule(squares),
    ...own,
  };
  for (const operation of program.operations) {
    const [first] = operation.results;
    if (folded.has(operation) || fusions.others.has(operation) || (first && squares.has(first))) continue;
    const rule = fusions.rules.get(operation) ?? rules[operation.kind];
    if (!rule) throw new LfmError('onnx-unsupported', `The onnx engine has no lowering for ${operation.kind}.`);
    rule(lowering, operation);
  }
  return program.outputs.map(({ value }) => lowering.name(value));
}

/** Lowers the operations such that the outputs carry these names; inputs must have been set. */
export function lowerOutputs(
  lowering: Lowering,
  program: Program,
  names: readonly string[],
  own: Readonly<Record<string, Rule>> = {},
): void {
  const given = new Set(program.inputs.map(({ value }) => value));
  const wanted = new Set<Value>();
  program.outputs.forEach(({ value }, index) => {
    if (!given.has(value) && !wanted.has(value)) lowering.want(value, names[index] ?? '');
    wanted.add(value);
  });
  lowerBody(lowering, program, own).forEach((found, index) => {
    const name = names[index] ?? '';
    if (found !== name) lowering.graph.node('Identity', [found], { outputs: name });
  });
}

/**
 * Lowers a program. `bound` names the inputs whose values are fixed: they become initializers, whose memory the session is
 * given; or, as `weights` says, inputs, beside those that products make of them. `fewRows`: see CompileOptions.
 * Errors: `onnx-unsupported` for what ONNX Runtime's kernels cannot do.
 */
export function lower(
  source: Program,
  bound: ReadonlySet<string> = new Set(),
  mapped = true,
  weights: WeightUse = 'kept',
  fewRows = false,
): LoweredProgram {
  const fixed = new Set(source.inputs.flatMap(({ name, value }) => (bound.has(name) ? [value] : [])));
  const keep = (operation: Operation) => mapped && isMapped(operation, (value) => fixed.has(value));
  const program = withoutIdleHistory(expanded(source, keep, mapped ? variants : {}));
  const graph = new GraphBuilder(program.name || 'program');
  const isBound = new Set(program.inputs.flatMap(({ name, value }) => (bound.has(name) ? [value] : [])));
  const isKept = weights === 'kept';
  const joins = isKept ? joinedProducts(program, isBound) : undefined;
  const lowering = new Lowering(program, graph, undefined, isKept ? new Set() : isBound, joins, fewRows, weights);
  const inputs = program.inputs.map(({ name, value }) => {
    const known = value.shape.filter((dim) => typeof dim === 'number');
    const id = `in:${name}`;
    if (isKept && bound.has(name)) graph.initializer(id, value.dtype, known);
    else {
      graph.input(id, value.dtype, declaredDims(value.shape));
      lowering.bindSymbols(id, value.shape);
    }
    lowering.set(value, id);
    return id;
  });
  const outputs = program.outputs.map(({ name }) => `out:${name}`);
  lowerOutputs(lowering, program, outputs);
  program.outputs.forEach(({ value }, index) =>
    graph.output(outputs[index] ?? '', value.dtype, declaredDims(value.shape)),
  );
  const inPlace = inPlaceDonations(program, weights !== 'packed');
  const isWeight = weightNames(program, bound, lowering.derived);
  const readings = readingsOf(graph, isWeight);
  const free = new Set(inputs.filter((name) => !isWeight.has(name)));
  graph.keepInitializers((name) => readings.has(name));
  graph.keepInputs((name) => readings.has(name) || free.has(name));
  return {
    encode: (places) => encodeModel(graph, {}, places),
    program,
    inputs,
    outputs,
    inPlace,
    derived: lowering.derived.filter(({ name }) => readings.has(name)),
    readings,
    nodes: graph.nodes.length,
    hostNodes:
      weights === 'packed'
        ? hostNodes(
            graph,
            ({ name, dtype }) => dtype === 'float32' || lowering.derived.some((one) => one.name === name),
          )
        : [],
  };
}
