// What a mesh makes of a mixture of experts in a plan: each device holds its own experts, and rows for its own tokens.
import type { Mesh } from '../engines/xla/mesh.ts';
import { deviceCountOf, partsOf } from '../engines/xla/mesh.ts';
import { divisionOf } from '../engines/xla/sharding.ts';
import { bytesWithin } from '../liquid/index.ts';
import type { ArrayType, Operation, Program, Value } from '../tensor/index.ts';
import { byteLength, countOf } from '../tensor/index.ts';

const isMixture = ({ kind }: Operation) => kind === 'experts' || kind === 'experts_grad';

function bytes({ dtype, shape }: ArrayType): number {
  return byteLength(dtype, countOf(shape.map(Number)));
}

/** w1, w3 or w2 as far as a device computes with them: brought together over fsdp. */
function localWeights({ dtype, shape }: ArrayType, mesh: Mesh, axes: readonly string[]): ArrayType {
  const sizes = shape.map(Number);
  const division = divisionOf(mesh, { shape: sizes, axes });
  return { dtype, shape: sizes.map((size, axis) => size / partsOf(mesh, division[axis] ?? [])) };
}

/**
 * Bytes that an operation of a program of one device's rows makes while it runs, where it is a mixture of experts: see
 * bytesWithin. Over a mesh it begins with its weights brought together, and computes the residuals anew.
 */
export function bytesOfMixture(operation: Operation, mesh: Mesh): number {
  if (!isMixture(operation) || deviceCountOf(mesh) === 1) return bytesWithin(operation);
  const { kind, operands } = operation;
  const wide = ['experts', 'intermediate', 'one'];
  const weights = [wide, wide, ['experts', 'one', 'intermediate']].flatMap((axes, index) => {
    const weight = operands[3 + index];
    return weight ? [localWeights(weight, mesh, axes)] : [];
  });
  const rows = kind === 'experts' ? [] : operands.slice(6, 7);
  const first: ArrayType = { dtype: 'int32', shape: [] };
  const within = bytesWithin({
    kind,
    operands: [...operands.slice(0, 3), ...weights, ...rows, first],
    attributes: kind === 'experts' ? { part: true } : { part: true, kept: false },
  });
  const gathered = (mesh['fsdp'] ?? 1) > 1 ? weights.reduce((sum, weight) => sum + bytes(weight), 0) : 0;
  return within + gathered;
}

/** Residuals of mixtures, which are not kept over a mesh. */
export function residualsOf({ operations }: Program): ReadonlySet<Value> {
  const own = operations.flatMap((operation) => (operation.kind === 'experts' ? operation.results.slice(1) : []));
  const within = operations.flatMap(({ regions }) => regions.flatMap((region) => [...residualsOf(region)]));
  return new Set([...own, ...within]);
}

/** Bytes that each device sends to sum what the devices' experts give: outputs, and the gradients of inputs, in float32. */
export function bytesOfSums(program: Program, mesh: Mesh, recompute: boolean): number {
  const { expert = 1 } = mesh;
  const each = program.operations.flatMap(({ kind, results: [dx] }) => (kind === 'experts_grad' && dx ? [dx] : []));
  const passes = recompute ? 3 : 2;
  return each.reduce(
    (sum, { shape }) => sum + passes * 2 * ((expert - 1) / expert) * byteLength('float32', countOf(shape.map(Number))),
    0,
  );
}
