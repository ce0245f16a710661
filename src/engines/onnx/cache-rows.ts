// What attention kernels are told of a cache's rows and of the new ones.
import type { Operation, Value } from '../../tensor/index.ts';
import type { Lowering } from './lowering.ts';

/** The last row that each row of the batch writes, int32 [B]; one past the capacity is an error instead of a stray write. */
export function lastRows(lowering: Lowering, { operands }: Operation): { last: string; total: string } {
  const [q, , , cache, , starts] = operands;
  const [capacity, length] = [cache?.shape[2] ?? 1, q?.shape[1] ?? 1];
  const count = lowering.cast(lowering.dimScalar(length), 'int32');
  const one = lowering.constant('int32', [], [1]);
  const end = lowering.node('Sub', [lowering.node('Add', [lowering.name(starts), count]), one]);
  const last = lowering.node('Gather', [lowering.cast(lowering.indices(capacity), 'int32'), end]);
  const longest = lowering.node('ReduceMax', [last], { attributes: { keepdims: { int: 0 } } });
  return { last, total: lowering.node('Add', [longest, one]) };
}

/** [B, T, H, D] as [B, T, H * D]. */
export function sideBySide(lowering: Lowering, x: Value): string {
  const [batch = 1, length = 1, heads = 1, width = 1] = x.shape;
  return lowering.shaped(x, [batch, length, Number(heads) * Number(width)]);
}
