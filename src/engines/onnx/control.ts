// scan, while and optimization_barrier in ONNX.
import type { Operation, Program, Value } from '../../tensor/index.ts';
import type { Rule } from './lowering.ts';
import { declaredDims, Lowering } from './lowering.ts';

/** Lowers a region's operations into `inner`, and returns the names of its outputs. */
export type LowerBody = (inner: Lowering, region: Program) => string[];

/** A name for each of a region's inputs, in a graph of its own. */
function bodyOf(lowering: Lowering, region: Program, given: readonly (string | undefined)[]): Lowering {
  const inner = new Lowering(region, lowering.graph.subgraph(), lowering);
  region.inputs.forEach(({ value }, index) => {
    const name = given[index];
    if (name !== undefined) inner.set(value, name);
  });
  return inner;
}

/** A graph output must be made inside the graph: Identity of whatever it is. */
function yieldAs(inner: Lowering, name: string, { dtype, shape }: Value): void {
  inner.graph.output(inner.graph.node('Identity', [name]), dtype, declaredDims(shape));
}

/** ONNX Runtime's Scan refuses to run no steps: its carries pass through, its stacks are empty. */
function unrolledNothing(
  lowering: Lowering,
  results: readonly Value[],
  names: readonly string[],
  carries: number,
): void {
  results.forEach((result, index) => {
    if (index < carries) return lowering.define(result, 'Identity', [names[index] ?? '']);
    const dims = result.shape.filter((dim) => typeof dim === 'number');
    lowering.define(result, 'Identity', [lowering.constant(result.dtype, dims, [])]);
  });
}

function scanRule(lowerBody: LowerBody): Rule {
  return (lowering: Lowering, { operands, attributes, regions: [region], results }: Operation) => {
    if (!region) return;
    const [carries, slices] = [Number(attributes.carries), Number(attributes.slices)];
    const length = attributes.length as number | string;
    const names = operands.map((operand) => lowering.name(operand));
    if (length === 0) return unrolledNothing(lowering, results, names, carries);
    const captured = names.slice(carries + slices);
    const inner = bodyOf(lowering, region, [
      ...region.inputs.slice(0, 1 + carries + slices).map(() => undefined),
      ...captured,
    ]);
    const declare = ({ value: { dtype, shape } }: Program['inputs'][number], index: number): string => {
      const name = `${lowering.graph.name}.${lowering.graph.nodes.length}.${region.name}.${index}`;
      return inner.graph.input(name, dtype, declaredDims(shape));
    };
    // ONNX wants the carries first, then the sliced inputs: the step index is one of those.
    const [indexPort, ...ports] = region.inputs.slice(0, 1 + carries + slices);
    const entered = ports.slice(0, carries).map((port, index) => declare(port, index));
    const stepName = indexPort ? declare(indexPort, carries + slices) : '';
    const sliced = ports.slice(carries).map((port, index) => declare(port, carries + index));
    if (indexPort) inner.set(indexPort.value, stepName);
    ports.forEach(({ value }, index) => inner.set(value, [...entered, ...sliced][index] ?? ''));
    const outputs = lowerBody(inner, region);
    region.outputs.forEach(({ value }, index) => yieldAs(inner, outputs[index] ?? '', value));
    if (attributes.history)
      ports.slice(0, carries).forEach(({ value }, index) => yieldAs(inner, entered[index] ?? '', value));
    const backwards = Number(attributes.reverse);
    const stacked = results.length - carries;
    const steps = lowering.cast(lowering.indices(length), 'int32');
    const directions = (count: number) => ({ ints: Array.from({ length: count }, () => backwards) });
    const spec = {
      body: { graph: inner.graph },
      num_scan_inputs: { int: slices + 1 },
      scan_input_directions: directions(slices + 1),
      ...(stacked ? { scan_output_directions: directions(stacked) } : {}),
    };
    lowering.defineAll(
      results,
      'Scan',
      [...names.slice(0, carries), steps, ...names.slice(carries, carries + slices)],
      { attributes: spec },
    );
  };
}

function whileRule(lowerBody: LowerBody): Rule {
  return (lowering: Lowering, { operands, attributes, regions: [condition, body], results }: Operation) => {
    if (!condition || !body) return;
    const carries = Number(attributes.carries);
    const names = operands.map((operand) => lowering.name(operand));
    const forCondition = names.slice(carries, carries + Number(attributes.conditionCaptures));
    const forBody = names.slice(carries + Number(attributes.conditionCaptures));
    const outer = new Lowering(condition, lowering.graph, lowering);
    condition.inputs.forEach(({ value }, index) =>
      outer.set(value, [...names.slice(0, carries), ...forCondition][index] ?? ''),
    );
    const [start = ''] = lowerBody(outer, condition);
    const inner = bodyOf(lowering, body, [...body.inputs.slice(0, carries).map(() => undefined), ...forBody]);
    const prefix = `${lowering.graph.name}.${lowering.graph.nodes.length}.while`;
    inner.graph.input(`${prefix}.iteration`, 'int64', []);
    inner.graph.input(`${prefix}.condition`, 'bool', []);
    body.inputs.slice(0, carries).forEach(({ value }, index) => {
      inner.set(value, inner.graph.input(`${prefix}.${index}`, value.dtype, declaredDims(value.shape)));
    });
    const next = lowerBody(inner, body);
    const again = new Lowering(condition, inner.graph, inner);
    condition.inputs.forEach(({ value }, index) => again.set(value, [...next, ...forCondition][index] ?? ''));
    const [test = ''] = lowerBody(again, condition);
    const [flag] = condition.outputs;
    if (flag) yieldAs(inner, test, flag.value);
    body.outputs.forEach(({ value }, index) => yieldAs(inner, next[index] ?? '', value));
    lowering.defineAll(results, 'Loop', ['', start, ...names.slice(0, carries)], {
      attributes: { body: { graph: inner.graph } },
    });
  };
}

/**
 * Each result is its operand under a new shape tensor that is made from the last operand's first element: it costs
 * nothing, cannot be folded or merged, and waits for that operand. (The element only ever adds zero to the shape.)
 */
const barrierRule: Rule = (lowering, { operands, results }) => {
  const last = operands.at(-1);
  if (!last) return;
  const flat = lowering.node('Reshape', [lowering.name(last), lowering.integers([-1])]);
  const element = lowering.cast(lowering.node('Gather', [flat, lowering.integers([0])]), 'float32');
  const never = lowering.node('Less', [lowering.node('Abs', [element]), lowering.constant('float32', [], [0])]);
  const zero = lowering.cast(never, 'int64');
  operands.forEach((operand, index) => {
    const result = results[index];
    if (!result) return;
    const name = lowering.name(operand);
    if (operand.shape.length === 0) {
      const line = lowering.node('Reshape', [name, lowering.node('Add', [lowering.integers([1]), zero])]);
      return lowering.define(result, 'Reshape', [line, lowering.constant('int64', [0], [])]);
    }
    lowering.define(result, 'Reshape', [name, lowering.node('Add', [lowering.shapeTensor(operand.shape), zero])]);
  });
};

export function controlRules(lowerBody: LowerBody): Readonly<Record<string, Rule>> {
  return { scan: scanRule(lowerBody), while: whileRule(lowerBody), optimization_barrier: barrierRule };
}
