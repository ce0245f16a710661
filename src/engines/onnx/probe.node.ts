// Whether this processor's kernels keep a layout of their own of a product's weights, so that the memory that they were given
// may go once a session is made. Nothing in the runtime tells; it is tried, once for each kind of product.
import type { DType } from '../../tensor/index.ts';
import type { Attribute, Node } from './proto.ts';
import { encodeModel, GraphBuilder } from './proto.ts';
import type { SessionOptions } from './options.node.ts';
import { Session } from './session.node.ts';
import { Value } from './value.node.ts';

const COLUMNS = 256;
const ROWS = 32;
const known = new Map<string, boolean>();

/** Whether the kernel of such a node, in sessions of such options, never reads its second operand after the session is made. */
export function laysOut(node: Node, options: SessionOptions): boolean {
  const key = JSON.stringify([kindOf(node), options.provider]);
  const found = known.get(key) ?? probe(node, options);
  known.set(key, found);
  return found;
}

/** What decides it, by how these kernels are made; sizes do not. */
export function kindOf({ opType, inputs, attributes }: Node): unknown {
  const given = Object.fromEntries(attributes);
  const { bits, block_size: block, accuracy_level: accuracy, transB } = given;
  return [opType, bits, block, accuracy, transB, inputs.length];
}

/** Runs a product, puts other numbers where its weights were, and runs it again. */
function probe(node: Node, options: SessionOptions): boolean {
  const graph = new GraphBuilder('probe');
  const values: Record<string, Value> = {};
  const initializer = (name: string, dtype: DType, dims: readonly number[], fill: number): string => {
    const value = Value.zeros(dtype, dims);
    if (dtype === 'float32') new Float32Array(value.bytes().buffer, value.bytes().byteOffset).fill(fill);
    else value.bytes().fill(fill);
    values[name] = value;
    return graph.initializer(name, dtype, dims);
  };
  const attributes: Record<string, Attribute> = Object.fromEntries(node.attributes);
  const inputs = [graph.input('x', 'float32', [1, COLUMNS])];
  if (node.opType === 'MatMulNBits') {
    const [bits, block] = [integerOf(attributes['bits']), integerOf(attributes['block_size'])];
    const blocks = COLUMNS / block;
    inputs.push(initializer('w', 'uint8', [ROWS, blocks, (block * bits) / 8], 0x95));
    inputs.push(initializer('scales', 'float32', [ROWS, blocks], 0.5));
    if (node.inputs.length > 3) inputs.push(initializer('zeros', 'uint8', [ROWS, Math.ceil((blocks * bits) / 8)], 0));
    Object.assign(attributes, { K: { int: COLUMNS }, N: { int: ROWS } });
  } else {
    const turned = integerOf(attributes['transB']) === 1;
    inputs.push(initializer('w', 'float32', turned ? [ROWS, COLUMNS] : [COLUMNS, ROWS], 0.5));
  }
  graph.node(node.opType, inputs, { domain: node.domain, attributes, outputs: 'y' });
  graph.output('y', 'float32', [1, ROWS]);
  using session = Session.openSync(encodeModel(graph), { ...options, intraOpThreads: 1, initializers: values });
  using binding = session.bind(['x'], ['y']);
  using x = Value.over('float32', [1, COLUMNS], new Float32Array(COLUMNS).fill(1));
  binding.setInput(0, x);
  const run = (): string => {
    binding.run();
    using y = binding.take(0);
    return y.copy().join();
  };
  const before = run();
  values['w']?.bytes().fill(0);
  const after = run();
  for (const value of Object.values(values)) value.release();
  return before === after;
}

const integerOf = (attribute: Attribute | undefined): number =>
  attribute && 'int' in attribute ? Number(attribute.int) : 0;
