// Shardings as Shardy writes them, for the inputs and outputs of a module.
import type { Sharding } from '../engine.ts';
import type { Emitter, Ref, TensorType } from './emitter.ts';
import type { Mesh } from './mesh.ts';
import { partsOf } from './mesh.ts';

export interface Partition {
  readonly mesh: Mesh;
  /** By name of an input or output; what is not here is copied to every device. */
  readonly shardings: Readonly<Record<string, Sharding>>;
}

/** `sdy.mesh @mesh = <["data"=2]>`. */
export function meshOperation(mesh: Mesh): string {
  const axes = Object.entries(mesh).map(([axis, size]) => `"${axis}"=${size}`);
  return `sdy.mesh @mesh = <[${axes.join(', ')}]>`;
}

/**
 * The attribute of one input or output. All dimensions are closed, so that buffers lie as they were asked to. Dimensions
 * that are not divided carry no priority: Shardy does not take one there.
 */
export function shardingAttribute({ shardings }: Partition, name: string, rank: number): string {
  const { axes, priority = 0 } = shardings[name] ?? { axes: [] };
  const dimensions = Array.from({ length: rank }, (_, dimension) => {
    const named = (axes[dimension] ?? []).map((axis) => `"${axis}"`).join(', ');
    return named && priority ? `{${named}}p${priority}` : `{${named}}`;
  });
  return `sdy.sharding = #sdy.sharding<@mesh, [${dimensions.join(', ')}]>`;
}

/** The mesh axes that divide each dimension of an array. */
export type Division = readonly (readonly string[])[];

function partType(mesh: Mesh, { dtype, shape }: TensorType, division: Division): TensorType {
  return { dtype, shape: shape.map((size, dimension) => size / partsOf(mesh, division[dimension] ?? [])) };
}

/**
 * Runs `body` on each device over its own parts of the operands: what no partitioner can divide, as a kernel, is given the
 * parts that it may be computed from alone. Results are whole arrays again. Sizes must divide.
 */
export function onEachDevice(
  emitter: Emitter,
  mesh: Mesh,
  operands: readonly { readonly ref: Ref; readonly division: Division }[],
  results: readonly { readonly type: TensorType; readonly division: Division }[],
  body: (emitter: Emitter, parts: readonly Ref[]) => readonly Ref[],
): Ref[] {
  const shardings = (all: readonly { readonly division: Division }[]) => {
    const each = all.map(({ division }) => {
      const dimensions = division.map((axes) => `{${axes.map((axis) => `"${axis}"`).join(', ')}}`);
      return `<@mesh, [${dimensions.join(', ')}]>`;
    });
    return `#sdy.sharding_per_value<[${each.join(', ')}]>`;
  };
  const axes = Object.keys(mesh).map((axis) => `"${axis}"`);
  const region = emitter.region(
    operands.map(({ ref, division }) => partType(mesh, ref, division)),
    body,
    'sdy.return',
  );
  return emitter.many(
    'sdy.manual_computation',
    operands.map(({ ref }) => ref),
    results.map(({ type }) => type),
    `in_shardings = ${shardings(operands)}, out_shardings = ${shardings(results)}, manual_axes = #sdy<manual_axes{${axes.join(', ')}}>`,
    [region],
  );
}
