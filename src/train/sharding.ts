// How the arrays of a training run lie on an engine's devices.
import type { Engine, Sharding } from '../engines/engine.ts';
import { planSharding } from '../engines/xla/sharding.ts';
import type { Model } from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';

export interface BatchShape {
  /** Rows of a pass. */
  readonly size: number;
  /** Tokens a row. */
  readonly length: number;
}

/** Mesh axes that the batch must be cut by: it never stands whole on every device. */
const cuts = [
  { key: 'size', what: 'rows of a pass', axes: ['data', 'fsdp'] },
  { key: 'length', what: 'tokens of a row', axes: ['sequence'] },
] as const;

/**
 * By name of the programs' inputs and outputs; empty on one device.
 * Errors: `bad-batch` where the devices cannot share the batch equally, saying what they could; those of planSharding.
 */
export function shardingsFor(
  { mesh }: Pick<Engine, 'mesh'>,
  model: Model,
  batch: BatchShape,
): Readonly<Record<string, Sharding>> {
  if (!mesh) return {};
  for (const { key, what, axes } of cuts) {
    const present = axes.filter((axis) => (mesh[axis] ?? 1) > 1);
    const parts = present.reduce((product, axis) => product * (mesh[axis] ?? 1), 1);
    const found = batch[key];
    if (found % parts === 0) continue;
    const above = Math.ceil(found / parts) * parts;
    const fitting = above > parts ? `${above - parts} or ${above}` : String(above);
    const named = present.map((axis) => `${axis}=${mesh[axis]}`).join(' x ');
    throw new LfmError(
      'bad-batch',
      `batch.${key}: ${found} ${what} do not divide over ${parts} devices (${named}); ${fitting} would.`,
    );
  }
  return planSharding(mesh, model.parameters, { batch }).shardings;
}
