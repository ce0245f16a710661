// Which nodes a GPU's program leaves to the processor: those that tell places, sizes and angles, whose inputs are there already.
// The runtime would give many of them to the GPU, and wait for it to give their results back.
import type { GraphBuilder } from './proto.ts';

/** Names of the nodes that read nothing of the GPU. `isOfGpu`: whether an input of the graph is there. */
export function hostNodes(graph: GraphBuilder, isOfGpu: (input: GraphBuilder['inputs'][number]) => boolean): string[] {
  const onHost = new Set([
    '',
    ...graph.initializers.map(({ name }) => name),
    ...graph.inputs.filter((input) => !isOfGpu(input)).map(({ name }) => name),
  ]);
  return graph.nodes.flatMap(({ opType, inputs, outputs }) => {
    // The size of what is on the GPU is known without it.
    if (opType !== 'Shape' && !inputs.every((name) => onHost.has(name))) return [];
    for (const name of outputs) onHost.add(name);
    return opType === 'Shape' ? [] : outputs.slice(0, 1);
  });
}
