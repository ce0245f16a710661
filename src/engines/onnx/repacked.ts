// How a graph reads its initializers: whether kernels could do without the memory once they have laid the elements out anew.
import type { GraphBuilder, Node } from './proto.ts';

/** `laid-out`: only by kernels that lay it out anew when the session is made, each named by what decides whether they do. */
export type Reading = { readonly how: 'in-place' } | { readonly how: 'laid-out'; readonly by: readonly Node[] };

/** Products, and the rank of what they lay out. */
const products: ReadonlyMap<string, number> = new Map([
  ['MatMul', 2],
  ['FusedMatMul', 2],
  ['MatMulNBits', 3],
]);

/** The initializers, and inputs among `weights`, that are read at all, bodies of loops and branches included. */
export function readingsOf(
  graph: GraphBuilder,
  weights: ReadonlySet<string> = new Set(),
): ReadonlyMap<string, Reading> {
  const readings = new Map<string, Reading>();
  const given = graph.inputs.filter(({ name }) => weights.has(name));
  const ranks = new Map([...graph.initializers, ...given].map(({ name, dims }) => [name, dims.length]));
  const read = (name: string, by: Node | undefined): void => {
    const before = readings.get(name);
    if (!ranks.has(name) || before?.how === 'in-place') return;
    readings.set(name, by ? { how: 'laid-out', by: [...(before?.by ?? []), by] } : { how: 'in-place' });
  };
  const visit = ({ nodes, outputs }: GraphBuilder, isBody: boolean): void => {
    for (const { name } of outputs) read(name, undefined);
    for (const node of nodes) {
      for (const [at, name] of node.inputs.entries())
        read(name, at === 1 && !isBody && products.get(node.opType) === ranks.get(name) ? node : undefined);
      for (const [, attribute] of node.attributes) if ('graph' in attribute) visit(attribute.graph, true);
    }
  };
  visit(graph, false);
  return readings;
}
