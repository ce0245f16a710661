// Slices that cut one value into parts along an axis, without gaps, as one Split: a node for each part has a price of its own.
import type { Operation, Program, Shape, Value } from '../../tensor/index.ts';
import { countOf } from '../../tensor/index.ts';
import type { Rule } from './lowering.ts';

interface Cut {
  readonly operation: Operation;
  readonly axis: number;
  readonly from: number;
  readonly to: number;
}

/** A slice along one axis of a size that is known, with all that is behind it. */
function cutOf(operation: Operation): Cut | undefined {
  const {
    kind,
    operands: [x],
    attributes,
  } = operation;
  if (kind !== 'slice' || !x || x.dtype === 'bfloat16') return undefined;
  const [start, limit] = [attributes.start as Shape, attributes.limit as Shape];
  const axes = x.shape.flatMap((dim, axis) => (start[axis] !== 0 || limit[axis] !== dim ? [axis] : []));
  const [axis = -1] = axes;
  const [from, to] = [start[axis], limit[axis]];
  const isKnown = x.shape.slice(axis).every((dim) => typeof dim === 'number' && dim > 0);
  const isDense = (attributes.stride as readonly number[]).every((stride) => stride === 1);
  const fits = axes.length === 1 && isKnown && isDense && typeof from === 'number' && typeof to === 'number';
  return fits ? { operation, axis, from, to } : undefined;
}

/** The parts in their order, if they make up the whole. */
function wholeOf(cuts: readonly Cut[], size: number): Cut[] | undefined {
  const ordered = cuts.toSorted((a, b) => a.from - b.from);
  const follows = ordered.every(({ from, to }, index) => to > from && from === (ordered[index - 1]?.to ?? 0));
  return ordered.length > 1 && follows && ordered.at(-1)?.to === size ? ordered : undefined;
}

/** Of a program's slices those that are one Split, which stands at the first of them. */
export function splitsOf({ operations }: Program): Map<Operation, readonly Operation[]> {
  const groups = new Map<Value, Map<number, Cut[]>>();
  for (const operation of operations) {
    const [cut, [x]] = [cutOf(operation), operation.operands];
    if (!cut || !x) continue;
    const byAxis = groups.get(x) ?? new Map<number, Cut[]>();
    groups.set(x, byAxis.set(cut.axis, [...(byAxis.get(cut.axis) ?? []), cut]));
  }
  const splits = new Map<Operation, readonly Operation[]>();
  for (const [x, byAxis] of groups)
    for (const [axis, cuts] of byAxis) {
      const whole = wholeOf(cuts, Number(x.shape[axis]));
      if (whole && cuts[0])
        splits.set(
          cuts[0].operation,
          whole.map(({ operation }) => operation),
        );
    }
  return splits;
}

/** What is behind the axis is seen as part of it: producers and readers of such shapes then need no Reshape. */
export function splitRule(parts: readonly Operation[]): Rule {
  return (lowering, { operands: [x] }) => {
    const [first] = parts;
    const axis = first && cutOf(first)?.axis;
    if (!x || axis === undefined) return;
    const lead = x.shape.slice(0, axis);
    const flat = (shape: Shape): number => countOf(shape.slice(axis).map(Number));
    const raw = parts.map(({ results: [part] }): Value => {
      return { id: -1, dtype: x.dtype, shape: [...lead, flat(part?.shape ?? [])] };
    });
    const sizes = lowering.integers(raw.map(({ shape }) => Number(shape[axis])));
    lowering.defineAll(raw, 'Split', [lowering.shaped(x, [...lead, flat(x.shape)]), sizes], {
      attributes: { axis: { int: axis } },
    });
    for (const [index, { results }] of parts.entries()) {
      const [part, own] = [results[0], raw[index]];
      if (part && own) lowering.setView(part, lowering.name(own), own.shape);
    }
  };
}
