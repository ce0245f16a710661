// What a training run will take, before it starts: memory and collectives of each device, arithmetic, and the speed to expect.
// Estimates from the traced programs; a compiled step's own figures are exact (lfm benchmark train).
import type { Mesh } from '../engines/xla/mesh.ts';
import { deviceCountOf, partsOf } from '../engines/xla/mesh.ts';
import type { Model, TrainingObjective } from '../liquid/index.ts';
import { gradientProgram, peakBytes } from '../liquid/index.ts';
import type { Program, Value } from '../tensor/index.ts';
import { byteLength, countOf, LfmError } from '../tensor/index.ts';
import { bytesOfMixture, bytesOfSums, residualsOf } from './plan-experts.ts';
import { shardingsFor } from './sharding.ts';
import { trainingFlopsPerToken } from './peak-flops.ts';

export interface PlanRequest {
  readonly model: Model;
  /** Rows of a pass, tokens a row, passes a step. */
  readonly batch: { readonly size: number; readonly length: number; readonly accumulate: number };
  readonly dtype: 'float32' | 'bfloat16';
  readonly recompute: boolean;
  /** Absent: one device. */
  readonly mesh?: Mesh | undefined;
  /** Absent: the head's own loss. */
  readonly objective?: TrainingObjective | undefined;
  /** Of the objective, run forward beside the model. */
  readonly teacher?: Model | undefined;
}

export interface TrainingPlan {
  readonly devices: number;
  readonly parameters: number;
  /** Bytes on each device: parameters with their two moments, and the most that a pass holds besides, gradients among it. */
  readonly memory: { readonly state: number; readonly pass: number; readonly total: number };
  readonly tokensPerStep: number;
  /** Six for each parameter and token, and attention's pairs; what is recomputed does not count. */
  readonly flopsPerStep: number;
  /** Bytes that each device sends in a step, by what for. */
  readonly collectives: Readonly<Record<string, number>>;
}

export interface ExpectedSpeed {
  /** Model FLOPs utilisation, where collectives hide behind arithmetic. */
  readonly mfu: number;
  readonly secondsPerStep: number;
  /** Of the collectives alone, at the links' rate. */
  readonly secondsOfCollectives: number;
}

/**
 * Share of a data sheet's FLOP/s that executed arithmetic of a training step reaches on an H100, at the width of LFM2-350M
 * (LOG.md, 25 November 2026). Wider models reach more.
 */
const SUSTAINED = 0.457;
/** Bytes a second that one device sends over NVLink 4 to the others of its host (NVIDIA's data sheet: 900 GB/s both ways). */
export const LINK_BYTES_PER_SECOND = 450e9;

/** Errors: `bad-batch` where the devices cannot share the batch; those of planSharding and of the model's programs. */
export function planTraining(request: PlanRequest): TrainingPlan {
  const { model, batch, dtype, recompute, mesh = {}, objective } = request;
  const shardings = shardingsFor({ mesh }, model, batch);
  const sizeOn = (axes: readonly string[]) => partsOf(mesh, axes);
  const parts = (name: string) => sizeOn((shardings[name]?.axes ?? []).flat());
  const program = gradientProgram(model, {
    batch: batch.size / sizeOn(['data', 'fsdp']),
    length: batch.length / sizeOn(['sequence']),
    dtype,
    checkpoint: recompute,
    accumulate: batch.accumulate > 1,
    ...(objective && { objective }),
  });
  const counts = Object.entries(model.parameters).map(([name, { shape }]) => ({ name, count: countOf(shape) }));
  const parameters = counts.reduce((sum, { count }) => sum + count, 0);
  // What is frozen has no moments.
  const copiesOf = (name: string) => (model.parameters[name]?.frozen ? 1 : 3);
  const frozen = Object.values(objective?.inputs ?? {}).reduce(
    (sum, { dtype: type, shape }) => sum + byteLength(type, countOf(shape.map(Number))),
    0,
  );
  const state = frozen + counts.reduce((sum, { name, count }) => sum + (copiesOf(name) * 4 * count) / parts(name), 0);
  const tensor = sizeOn(['tensor']);
  const width = byteLength(dtype, 1);
  const sizes = sizesOnDevice(program, model, parts, tensor);
  const dropped = deviceCountOf(mesh) > 1 ? residualsOf(program) : new Set<Value>();
  const pass = peakBytes(program, {
    sizeOf: (value) => (dropped.has(value) ? 0 : sizes(value)),
    // On a GPU the loss holds the logits of all rows, and their gradient. With them ten plans of XLA's compiler for H100s
    // (LOG.md, 25 November 2026) were met within -7% and +19%.
    within: (operation) => {
      const {
        kind,
        operands: [hidden],
      } = operation;
      const arrays = kind === 'softmax_cross_entropy' ? 2 : kind === 'softmax_kl' ? 3 : 0;
      return arrays > 0 && hidden
        ? (arrays * width * Number(hidden.shape[0]) * model.head.classes) / tensor
        : bytesOfMixture(operation, mesh);
    },
  });
  const sums = batch.accumulate * bytesOfSums(program, mesh, recompute);
  const tokensPerStep = batch.size * batch.length * batch.accumulate;
  return {
    devices: deviceCountOf(mesh),
    parameters,
    memory: { state, pass, total: state + pass },
    tokensPerStep,
    flopsPerStep: tokensPerStep * flopsPerToken(request),
    collectives: {
      ...collectivesOf(request, counts, parts),
      ...((mesh['expert'] ?? 1) > 1 && { "summing experts' outputs (expert)": sums }),
    },
  };
}

/** Of a teacher the forward pass: a third of training. Where only some operators are trained, they alone count besides. */
function flopsPerToken({ model, batch, objective, teacher }: PlanRequest): number {
  const trained = Object.entries(model.parameters).filter(([name]) => objective?.trains(name) ?? true);
  const all = trained.length === Object.keys(model.parameters).length;
  const own = all
    ? trainingFlopsPerToken(model, batch.length)
    : 6 * trained.reduce((sum, [, { shape }]) => sum + countOf(shape), 0);
  return own + (teacher ? trainingFlopsPerToken(teacher, batch.length) / 3 : 0);
}

/**
 * The bytes of a value on one device, in a program of one device's rows. What has a parameter's division: its gradient and
 * its copy in the type of computation. What tensor parallelism divides: all that is wider than the hidden size.
 */
function sizesOnDevice(
  program: Program,
  model: Model,
  parts: (name: string) => number,
  tensor: number,
): (value: Value) => number {
  const divided = new Map<Value, number>();
  for (const { name, value } of program.inputs) if (model.parameters[name]) divided.set(value, parts(name));
  for (const { name, value } of program.outputs) divided.set(value, parts(name.replace(/^(gradient|total)\./, '')));
  const moved: ReadonlySet<string> = new Set(['convert', 'transpose', 'reshape']);
  for (const { kind, operands, results } of program.operations) {
    const [operand, result] = [operands[0], results[0]];
    const before = operand && divided.get(operand);
    if (before !== undefined && result && moved.has(kind)) divided.set(result, before);
  }
  // A gradient on its way to be turned, converted and added to those of earlier passes.
  for (const { kind, operands, results } of program.operations.toReversed()) {
    const after = results[0] && divided.get(results[0]);
    if (after === undefined || !(moved.has(kind) || kind === 'add')) continue;
    for (const operand of operands) divided.set(operand, after);
  }
  const [tokens] = program.inputs.flatMap(({ name, value }) => (name === 'tokens' ? [value] : []));
  const narrow = tokens ? countOf(tokens.shape.map(Number)) * model.hiddenSize : Infinity;
  return (value) => {
    const count = countOf(value.shape.map(Number));
    return byteLength(value.dtype, count) / (divided.get(value) ?? (count > narrow ? tensor : 1));
  };
}

/** As rings move them: of n devices, each sends (n - 1) / n of what it gathers or scatters, twice that of what it sums. */
function collectivesOf(
  { model, batch, dtype, recompute, mesh = {} }: PlanRequest,
  counts: readonly { readonly name: string; readonly count: number }[],
  parts: (name: string) => number,
): Record<string, number> {
  const { data = 1, fsdp = 1, tensor = 1, sequence = 1 } = mesh;
  const ring = (devices: number) => (devices - 1) / devices;
  const width = byteLength(dtype, 1);
  const found: Record<string, number> = {};
  const { accumulate } = batch;
  // What one device of an fsdp group holds when it has gathered its weights: the whole but for what tensor and expert divide.
  const gathered = counts.reduce(
    (sum, { name, count }) => sum + (width * count * fsdp) / Math.max(fsdp, parts(name)),
    0,
  );
  const held = counts.reduce((sum, { name, count }) => sum + (width * count) / parts(name), 0);
  if (fsdp > 1) {
    found['gathering weights (fsdp)'] = accumulate * 2 * ring(fsdp) * gathered;
    found['scattering gradients (fsdp)'] = accumulate * ring(fsdp) * gathered;
  }
  // Devices that hold the same weights and see other tokens.
  const copies = data * sequence;
  if (copies > 1) found['summing gradients (data, sequence)'] = accumulate * 2 * ring(copies) * held;
  const rows = (batch.size / (data * fsdp)) * (batch.length / sequence) * model.hiddenSize * width * accumulate;
  // Each of a layer's two blocks sums its output, and in the backward pass its input's gradient.
  const sums = model.layers.length * 2 * (recompute ? 3 : 2);
  if (tensor > 1) found['summing activations (tensor)'] = sums * 2 * ring(tensor) * rows;
  // Keys and values of the whole sequence, forward and as gradients back.
  if (sequence > 1) {
    const cached = Object.values(model.states).reduce(
      (sum, { kind, shape }) => sum + (kind === 'fixed' ? 0 : countOf(shape)),
      0,
    );
    const each = (batch.size / (data * fsdp)) * batch.length * cached * width * accumulate;
    found['gathering keys and values (sequence)'] = (recompute ? 3 : 2) * ring(sequence) * each;
  }
  return found;
}

/** `flops`: of one device, a second, in the plan's type. */
export function expectedSpeed(
  { devices, flopsPerStep, collectives }: TrainingPlan,
  recompute: boolean,
  flops: number,
): ExpectedSpeed {
  // A forward pass more, of the three that forward and backward count for.
  const mfu = recompute ? SUSTAINED * (3 / 4) : SUSTAINED;
  const sent = Object.values(collectives).reduce((sum, bytes) => sum + bytes, 0);
  const secondsOfCollectives = sent / LINK_BYTES_PER_SECOND;
  const secondsOfProducts = flopsPerStep / (devices * flops * mfu);
  const secondsPerStep = Math.max(secondsOfProducts, secondsOfCollectives);
  return { mfu: (mfu * secondsOfProducts) / secondsPerStep, secondsPerStep, secondsOfCollectives };
}

export interface Fitting {
  /** What to change, as a person would say it. */
  readonly change: string;
  readonly plan: TrainingPlan;
}

/** The change that costs least and fits `bytes` on each device, or undefined where none of these does. */
export function nearestFitting(request: PlanRequest, bytes: number): Fitting | undefined {
  const { batch, mesh = {} } = request;
  const along = (mesh['data'] ?? 1) * (mesh['fsdp'] ?? 1);
  const smaller: PlanRequest['batch'][] = [];
  for (let { size, accumulate } = batch; size % 2 === 0 && (size / 2) % along === 0;) {
    [size, accumulate] = [size / 2, accumulate * 2];
    smaller.push({ ...batch, size, accumulate });
  }
  const sayBatch = ({ size, accumulate }: PlanRequest['batch']) =>
    `batch.size ${size} with batch.accumulate ${accumulate}`;
  const meshes = mesh['data'] ? [{ ...without(mesh, 'data'), fsdp: along }] : [];
  const candidates: { change: string; request: PlanRequest }[] = [
    ...smaller.map((less) => ({ change: sayBatch(less), request: { ...request, batch: less } })),
    ...(request.recompute ? [] : [batch, ...smaller]).map((less) => ({
      change: less === batch ? 'engine.recompute true' : `engine.recompute true, ${sayBatch(less)}`,
      request: { ...request, batch: less, recompute: true },
    })),
    ...meshes.flatMap((other) =>
      [batch, ...smaller].map((less) => ({
        change: `engine.mesh fsdp=${along} in place of data, engine.recompute true${less === batch ? '' : `, ${sayBatch(less)}`}`,
        request: { ...request, batch: less, recompute: true, mesh: other },
      })),
    ),
  ];
  for (const { change, request: changed } of candidates) {
    const plan = planTraining(changed);
    if (plan.memory.total <= bytes) return { change, plan };
  }
  return undefined;
}

/**
 * An `out-of-device-memory` error with the plan that was too big and the nearest that fits `bytes` (undefined: unknown) on a
 * device; any other error as it is.
 */
export function explainMemory(error: unknown, request: PlanRequest, bytes: number | undefined): unknown {
  if (!(error instanceof LfmError) || error.code !== 'out-of-device-memory') return error;
  const { state, pass, total } = planTraining(request).memory;
  const gigabytes = (count: number) => `${(count / 1e9).toFixed(1)} GB`;
  const planned = `The step takes about ${gigabytes(total)} on each device (parameters and moments ${gigabytes(state)}, a pass ${gigabytes(pass)})`;
  const limit = bytes ?? total * 0.9;
  const found = nearestFitting(request, limit);
  const advice = found
    ? `Set ${found.change}: about ${gigabytes(found.plan.memory.total)}.`
    : 'No smaller batch fits, with or without recomputing: divide the model over more devices (engine.mesh fsdp=…), or take a shorter batch.length.';
  return new LfmError(
    error.code,
    `${planned}${bytes === undefined ? '' : `, of ${gigabytes(bytes)} there`}. ${advice} (${error.message})`,
    { cause: error },
  );
}

function without(mesh: Mesh, axis: string): Mesh {
  return Object.fromEntries(Object.entries(mesh).filter(([name]) => name !== axis));
}
