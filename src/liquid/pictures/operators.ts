// What pictures need to know of a model: its operators in order of appearance, and what its layers share.
import { operatorsOf } from '../layer.ts';
import type { Model } from '../model.ts';

export function operatorNames({ layers }: Model): string[] {
  return [...new Set(layers.flatMap((layer) => operatorsOf(layer).map(({ name }) => name)))];
}

export interface DrawnSharing {
  /** Depths with one set of weights, each group of two or more. */
  readonly groups: readonly (readonly number[])[];
  /** [whose features, who takes them] by depth. */
  readonly links: readonly (readonly [number, number])[];
}

export function sharingOf({ links }: Model): DrawnSharing {
  const groups = new Map<string, Set<number>>();
  for (const { kind, group, depth, leader } of links) {
    if (kind !== 'weights') continue;
    const depths = groups.get(group) ?? new Set([leader]);
    groups.set(group, depths.add(depth));
  }
  // The operators of one layer are groups of their own, over the same depths.
  const distinct = new Map(Array.from(groups.values(), (depths) => [[...depths].join(), [...depths]]));
  const taken = links.flatMap(({ kind, depth, leader }) => (kind === 'features' ? [[leader, depth] as const] : []));
  return { groups: [...distinct.values()], links: taken };
}
