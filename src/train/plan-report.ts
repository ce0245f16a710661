// The plan of a recipe as it is told: with what a device can do, the speed to expect and what to change where it does not fit.
import type { Engine } from '../engines/engine.ts';
import type { Mesh } from '../engines/xla/mesh.ts';
import type { Model } from '../liquid/index.ts';
import { peakFlops } from './peak-flops.ts';
import type { ExpectedSpeed, PlanRequest, TrainingPlan } from './plan.ts';
import { expectedSpeed, nearestFitting, planTraining } from './plan.ts';
import type { Recipe } from './recipe.ts';

/** One of the devices, as far as it is known. */
export interface PlannedDevice {
  readonly name?: string | undefined;
  /** A second, in the type of computation. */
  readonly flops?: number;
  /** Bytes. */
  readonly memory?: number;
}

export interface PlanReport extends TrainingPlan {
  readonly mesh: Mesh;
  readonly dtype: string;
  readonly steps: number;
  readonly device: PlannedDevice;
  readonly speed?: ExpectedSpeed;
  /** Where it does not fit: the nearest plan that does, or null. */
  readonly instead?: { readonly change: string; readonly bytes: number } | null;
}

/** FLOP/s are known of GPUs in bfloat16. */
export function deviceOf({ device }: Engine, { engine: { dtype } }: Recipe): PlannedDevice {
  const flops = device && dtype === 'bfloat16' ? peakFlops(device.kind) : undefined;
  return {
    name: device?.kind,
    ...(flops !== undefined && { flops }),
    ...(device?.memoryBytes !== undefined && { memory: device.memoryBytes }),
  };
}

export function requestOf(
  { batch, engine: { dtype, recompute } }: Recipe,
  model: Model,
  mesh?: Mesh,
  taught: Pick<PlanRequest, 'objective' | 'teacher'> = {},
): PlanRequest {
  return { model, batch, dtype, recompute, mesh, ...taught };
}

/** Errors: those of planTraining. */
export function reportPlan(request: PlanRequest, steps: number, device: PlannedDevice): PlanReport {
  const plan = planTraining(request);
  const { flops, memory = Infinity } = device;
  const instead = plan.memory.total > memory ? nearestFitting(request, memory) : undefined;
  return {
    ...plan,
    mesh: request.mesh ?? {},
    dtype: request.dtype,
    steps,
    device,
    ...(flops !== undefined && { speed: expectedSpeed(plan, request.recompute, flops) }),
    ...(plan.memory.total > memory && {
      instead: instead ? { change: instead.change, bytes: instead.plan.memory.total } : null,
    }),
  };
}
