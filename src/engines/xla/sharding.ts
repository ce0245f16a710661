// Which axes of a mesh divide which arrays of a training step: rules by axis name, and the plan that they give a model.
import { countOf, LfmError } from '../../tensor/index.ts';
import type { Sharding } from '../engine.ts';
import type { Mesh } from './mesh.ts';
import { checkMesh, deviceCountOf, meshText, partsOf } from './mesh.ts';

/** What an array's axis counts -> the mesh axes that divide it, the outermost first, as far as the mesh has them. */
export type ShardingRules = Readonly<Record<string, readonly string[]>>;

/**
 * Rows of a batch over `data` and `fsdp`, tokens of a row over `sequence`. Of the parameters, `tensor` divides what a
 * layer fans out into and gathers again (Shoeybi et al. 2019, arXiv 1909.08053), and `fsdp` the hidden size that all of
 * them share, to be gathered when they are used (Rajbhandari et al. 2020, arXiv 1910.02054, stage 3).
 */
export const defaultRules: ShardingRules = {
  batch: ['data', 'fsdp'],
  length: ['sequence'],
  vocabulary: ['tensor'],
  heads: ['tensor'],
  keyValueHeads: ['tensor'],
  intermediate: ['tensor'],
  channels: ['tensor'],
  experts: ['expert'],
  hidden: ['fsdp'],
};

/** A parameter as far as its division goes; `Model.parameters` holds such. */
export interface NamedAxes {
  readonly shape: readonly number[];
  readonly axes: readonly string[];
}

export interface PlanOptions {
  readonly rules?: ShardingRules;
  /** Rows of a pass and tokens a row. */
  readonly batch: { readonly size: number; readonly length: number };
}

export interface PlannedParameter {
  readonly name: string;
  readonly shape: readonly number[];
  readonly sharding: Sharding;
  /** Of its float32 values on one device; each moment and the gradient take as much again. */
  readonly deviceBytes: number;
}

export interface ShardingPlan {
  readonly mesh: Mesh;
  readonly parameters: readonly PlannedParameter[];
  /** For the programs of a training step: parameters, their moments, gradients and totals, and the loss's inputs, by name. */
  readonly shardings: Readonly<Record<string, Sharding>>;
  /** Where a rule did not apply because sizes do not divide: those stand whole on every device. */
  readonly notes: readonly string[];
  /** Bytes on each device. */
  readonly parameterBytes: number;
  readonly momentBytes: number;
  readonly gradientBytes: number;
}

/** What else has a parameter's shape in a training step, by the prefix of its name. */
const companions = ['first.', 'second.', 'gradient.', 'total.'];
/** Inputs [B, T] of the loss program. */
const tokenInputs = ['tokens', 'labels', 'weights', 'segments'];

/**
 * The shardings of a training step. A mesh axis divides an array once: the first dimension that wants it gets it.
 * Errors: `bad-mesh`; `bad-sharding` for a parameter that does not name each of its axes.
 */
export function planSharding(
  mesh: Mesh,
  parameters: Readonly<Record<string, NamedAxes>>,
  { rules = defaultRules, batch }: PlanOptions,
): ShardingPlan {
  checkMesh(mesh, Infinity);
  const notes: string[] = [];
  const shardings: Record<string, Sharding> = {};
  const planned = Object.entries(parameters).map(([name, { shape, axes }]): PlannedParameter => {
    // Heard second, so that what a layer computes is divided as its batch is, and parameters are brought to it.
    const sharding = { axes: divide(mesh, rules, name, { shape, axes }, notes), priority: 1 };
    for (const key of [name, ...companions.map((prefix) => `${prefix}${name}`)]) shardings[key] = sharding;
    return { name, shape, sharding, deviceBytes: (4 * countOf(shape)) / partsOf(mesh, sharding.axes.flat()) };
  });
  const perToken = { shape: [batch.size, batch.length], axes: ['batch', 'length'] };
  const rows = { axes: divide(mesh, rules, 'a batch', perToken, notes) };
  for (const name of tokenInputs) shardings[name] = rows;
  const parameterBytes = planned.reduce((sum, { deviceBytes }) => sum + deviceBytes, 0);
  return {
    mesh,
    parameters: planned,
    shardings,
    notes,
    parameterBytes,
    momentBytes: 2 * parameterBytes,
    gradientBytes: parameterBytes,
  };
}

/** The mesh axes of each dimension of an array, by the default rules or others. */
export function divisionOf(mesh: Mesh, named: NamedAxes, rules: ShardingRules = defaultRules): string[][] {
  return divide(mesh, rules, 'an array', named, []);
}

/** The mesh axes of each dimension. Of a rule's axes those before the first that does not divide apply. */
function divide(
  mesh: Mesh,
  rules: ShardingRules,
  name: string,
  { shape, axes }: NamedAxes,
  notes: string[],
): string[][] {
  if (axes.length !== shape.length)
    throw new LfmError('bad-sharding', `${name} has ${shape.length} dimensions and names ${axes.length} axes.`);
  const taken = new Set<string>();
  return shape.map((size, dimension) => {
    const counted = axes[dimension] ?? '';
    const wanted = Object.hasOwn(rules, counted) ? (rules[counted] ?? []) : [];
    const given: string[] = [];
    for (const axis of wanted) {
      if ((mesh[axis] ?? 1) === 1 || taken.has(axis)) continue;
      if (size % partsOf(mesh, [...given, axis]) !== 0) {
        notes.push(`${name}: ${counted} of ${size} does not divide over ${meshText(pick(mesh, [...given, axis]))}`);
        break;
      }
      given.push(axis);
      taken.add(axis);
    }
    return given;
  });
}

function pick(mesh: Mesh, axes: readonly string[]): Mesh {
  return Object.fromEntries(axes.map((axis) => [axis, mesh[axis] ?? 1]));
}

/** The plan for people: a line for each parameter, the sums of a device, and what stands whole where a rule would divide it. */
export function describePlan({ mesh, parameters, notes, ...sums }: ShardingPlan): string {
  const width = Math.max(0, ...parameters.map(({ name }) => name.length));
  const lines = parameters.map(({ name, shape, sharding, deviceBytes }) => {
    const sizes = shape.map((size, i) => [size, ...(sharding.axes[i] ?? [])].join('/'));
    return `  ${name.padEnd(width)}  [${sizes.join(', ')}]  ${deviceBytes} B a device, ${2 * deviceBytes} B of moments`;
  });
  return [
    `mesh ${meshText(mesh)}: ${deviceCountOf(mesh)} devices`,
    ...lines,
    `  each device: parameters ${sums.parameterBytes} B, moments ${sums.momentBytes} B, gradients ${sums.gradientBytes} B`,
    ...notes.map((note) => `  whole on each device: ${note}`),
    '',
  ].join('\n');
}
