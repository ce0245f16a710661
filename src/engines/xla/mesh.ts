// A mesh of devices: its axes and sizes, and which part of an array each device holds.
import { countOf, LfmError } from '../../tensor/index.ts';
import type { Part } from '../../tensor/part.ts';
import type { Sharding } from '../engine.ts';

/**
 * Axes in order, outermost first, with their sizes: `{ data: 2, tensor: 4 }`. Device i stands where i, written with these
 * sizes as digits, says; devices are counted over all processes.
 */
export type Mesh = Readonly<Record<string, number>>;

export function deviceCountOf(mesh: Mesh): number {
  return countOf(Object.values(mesh));
}

/** Errors: `bad-mesh` for sizes that are no whole numbers from 1, names that are no words, or more devices than there are. */
export function checkMesh(mesh: Mesh, available: number): void {
  const text = meshText(mesh);
  for (const [axis, size] of Object.entries(mesh)) {
    if (!/^[a-z]\w*$/i.test(axis) || !Number.isSafeInteger(size) || size < 1)
      throw new LfmError('bad-mesh', `Expected mesh axes by name with sizes from 1; found ${axis}=${size} in ${text}.`);
  }
  const count = deviceCountOf(mesh);
  if (count > available)
    throw new LfmError('bad-mesh', `The mesh ${text} takes ${count} devices; found ${available}: choose smaller axes.`);
}

/** `data=2 x tensor=4`. */
export function meshText(mesh: Mesh): string {
  return Object.entries(mesh)
    .map(([axis, size]) => `${axis}=${size}`)
    .join(' x ');
}

/** How many parts these axes cut a dimension into. */
export function partsOf(mesh: Mesh, axes: readonly string[]): number {
  return axes.reduce((product, axis) => product * (mesh[axis] ?? 1), 1);
}

/** Errors: `bad-sharding` for axes that the mesh lacks or that stand twice, and for sizes that do not divide. */
export function checkSharding(mesh: Mesh, { axes }: Sharding, shape: readonly number[], what: string): void {
  const refuse = (why: string) => new LfmError('bad-sharding', `${what}, of shape [${shape.join(', ')}]: ${why}.`);
  if (axes.length !== shape.length)
    throw refuse(`expected a sharding of ${shape.length} dimensions, found one of ${axes.length}`);
  const all = axes.flat();
  const strange = all.find((axis) => !Object.hasOwn(mesh, axis));
  if (strange !== undefined) throw refuse(`the mesh ${meshText(mesh)} has no axis "${strange}"`);
  if (new Set(all).size < all.length) throw refuse(`[${all.join(', ')}] names an axis twice`);
  shape.forEach((size, dimension) => {
    const parts = partsOf(mesh, axes[dimension] ?? []);
    if (size % parts !== 0) throw refuse(`dimension ${dimension} cannot be cut into ${parts} equal parts`);
  });
}

/** Whether two shardings lay an array out alike; none copies it to every device. */
export function sameDivision(a: Sharding | undefined, b: Sharding | undefined): boolean {
  const rank = Math.max(a?.axes.length ?? 0, b?.axes.length ?? 0);
  return Array.from({ length: rank }, (_, i) => i).every(
    (i) => (a?.axes[i] ?? []).join() === (b?.axes[i] ?? []).join(),
  );
}

/** The part of device `index` of the mesh. */
export function partOf(mesh: Mesh, { axes }: Sharding, shape: readonly number[], index: number): Part {
  const place: Record<string, number> = {};
  let rest = index;
  for (const [axis, size] of Object.entries(mesh).toReversed()) {
    place[axis] = rest % size;
    rest = Math.floor(rest / size);
  }
  const sizes = shape.map((size, dimension) => size / partsOf(mesh, axes[dimension] ?? []));
  const starts = sizes.map((size, dimension) => {
    const digit = (axes[dimension] ?? []).reduce((at, axis) => at * (mesh[axis] ?? 1) + (place[axis] ?? 0), 0);
    return digit * size;
  });
  return { starts, sizes };
}
