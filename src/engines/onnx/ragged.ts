// ragged_dot in ONNX: each group's own rows, whatever their number. Nothing is computed twice or filled up, where the
// decomposition would copy the whole result at every step.
import type { Operation, Value } from '../../tensor/index.ts';
import type { Lowering, Rule } from './lowering.ts';

/** Groups whose products may stand side by side in the graph. */
const MOST_GROUPS = 256;

const along = { attributes: { axis: { int: 0 } } };

/** The rows split at run time, and one product a group; rows of no group give zeros. */
function productsOfGroups(lowering: Lowering, [lhs, rhs]: readonly Value[], counts: string, { attributes }: Operation) {
  if (!lhs || !rhs) return [];
  const [groups = 1, first = 1, second = 1] = rhs.shape;
  const turned = attributes.rhsContracting === 2;
  const given = lowering.node('ReduceSum', [counts], { attributes: { keepdims: { int: 1 } } });
  const rest = lowering.node('Sub', [lowering.dimTensor(lhs.shape[0] ?? 1), given]);
  const lengths = lowering.node('Concat', [counts, rest], along);
  const outputs = Number(groups) + 1;
  const rows = lowering.graph.node('Split', [lowering.name(lhs), lengths], { ...along, outputs });
  const products = rows.slice(0, -1).map((name, group) => {
    const matrix = lowering.node('Gather', [lowering.name(rhs), lowering.constant('int64', [], [group])], along);
    const spec = { domain: 'com.microsoft', attributes: { transB: { int: Number(turned) } } };
    return lowering.node('FusedMatMul', [name, matrix], spec);
  });
  const shape = lowering.node('Concat', [rest, lowering.dimTensor(turned ? first : second)], along);
  return [...products, lowering.node('Expand', [lowering.constant('float32', [], [0]), shape])];
}

/** Over the ragged axis itself: a loop that cuts a group's rows out of both sides. */
function sumsOfGroups(lowering: Lowering, sides: readonly Value[], counts: string, result: Value): void {
  const ends = lowering.node('CumSum', [counts, lowering.constant('int64', [], [0])]);
  const [groups = 1, ...shape] = result.shape;
  const line = (name: string) => lowering.node('Reshape', [name, lowering.integers([Number(groups), 1])]);
  const bounds = [lowering.node('Sub', [ends, counts]), ends].map(line);
  const body = lowering.graph.subgraph();
  const entered = bounds.map((name) => body.input(`${name}.of.group`, 'int64', [1]));
  const axis = lowering.integers([0]);
  const [left = '', right = ''] = sides.map((side) => body.node('Slice', [lowering.name(side), ...entered, axis]));
  // Turned beforehand: see the rule of dot_general.
  const turned = body.node('Transpose', [left], { attributes: { perm: { ints: [1, 0] } } });
  body.output(body.node('MatMul', [turned, right]), 'float32', shape.map(Number));
  const attributes = { body: { graph: body }, num_scan_inputs: { int: bounds.length } };
  lowering.define(result, 'Scan', bounds, { attributes });
}

export const groupedProducts: { readonly fits: (operation: Operation) => boolean; readonly rule: Rule } = {
  fits: ({ operands: [lhs, rhs, sizes] }) =>
    lhs?.dtype === 'float32' &&
    rhs?.dtype === 'float32' &&
    Number(sizes?.shape[0]) <= MOST_GROUPS &&
    !lhs.shape.includes(0),
  rule: (lowering, operation) => {
    const { operands, attributes, results } = operation;
    const [result] = results;
    const sides = operands.slice(0, 2);
    const counts = lowering.cast(lowering.name(operands[2]), 'int64');
    if (attributes.rhsContracting === 0 && result) return sumsOfGroups(lowering, sides, counts, result);
    lowering.define(result, 'Concat', productsOfGroups(lowering, sides, counts, operation), along);
  },
};
