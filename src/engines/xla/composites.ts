// Composites that a platform has better kernels for. On NVIDIA: flash attention from cuDNN, forward and backward, and a
// cross entropy cut no finer than memory asks for. Shapes: B batch, T queries, S keys, H query heads, G key heads, D width.
import type { Bindings, Operation, Program } from '../../tensor/index.ts';
import { evaluateShape } from '../../tensor/index.ts';
import type { AttentionAttributes } from '../../tensor/composites/attention.ts';
import { attentionConfig, backwardProducts, forwardProducts } from './cudnn.ts';
import type { Emitter, Ref, Rule, TensorType } from './emitter.ts';
import type { Mesh } from './mesh.ts';
import { deviceCountOf, partsOf } from './mesh.ts';
import { divisionOf } from './sharding.ts';
import type { Division } from './shardy.ts';
import { onEachDevice } from './shardy.ts';

export type CompositeRules = Readonly<Record<string, Rule>>;

export interface PreparedComposites {
  readonly program: Program;
  readonly rules: CompositeRules;
  /** Whether an operation stays as it is, for a rule to lower. */
  readonly keep: (operation: Operation) => boolean;
}

/** Bytes of logits that a device may hold at once; above it the cross entropy is cut. */
const LOGIT_BYTES = 4 * 2 ** 30;

/** How a mesh divides an attention whose parts no device needs another for: rows of the batch, and groups of heads. */
function attentionDivision(mesh: Mesh, batch: number, groups: number): Division {
  return divisionOf(mesh, { shape: [batch, 1, groups, 1], axes: ['batch', 'one', 'keyValueHeads', 'one'] });
}

/**
 * Whether cuDNN's kernels take an attention: bfloat16, heads of at most 128 in steps of 8, whole tiles of 64 positions. Over
 * a mesh every axis must divide the batch or the heads: along another the devices would all do the same.
 */
function fitsCudnn({ operands: [q, k], attributes }: Operation, bindings: Bindings, mesh: Mesh | undefined): boolean {
  const { causal, window, segments, softCap } = attributes as unknown as AttentionAttributes;
  if (!q || !k || q.dtype !== 'bfloat16' || window !== null || segments || softCap !== undefined) return false;
  const [batch = 0, length = 0, heads = 0, width = 0] = evaluateShape(q.shape, bindings);
  const [, keys = 0, groups = 1] = evaluateShape(k.shape, bindings);
  if (mesh && partsOf(mesh, attentionDivision(mesh, batch, groups).flat()) !== deviceCountOf(mesh)) return false;
  const whole = length > 0 && length % 64 === 0 && keys > 0 && keys % 64 === 0 && (!causal || length === keys);
  return whole && width % 8 === 0 && width <= 128 && heads % groups === 0;
}

const lossKinds: ReadonlySet<string> = new Set(['softmax_cross_entropy', 'softmax_kl']);

/** The fewest runs that divide the tokens and whose logits fit, never more than the program asks for. */
function fewerChunks({ kind, operands: [x, w], attributes }: Operation, bindings: Bindings, devices: number): number {
  const asked = Number(attributes.chunks);
  if (!x || !w || asked === 1) return asked;
  const [tokens = 1] = evaluateShape(x.shape, bindings);
  const [own = 1] = evaluateShape(w.shape, bindings);
  // Of a teacher and its student both are held.
  const classes = kind === 'softmax_kl' ? 2 * own : own;
  const bytes = x.dtype === 'bfloat16' || x.dtype === 'float16' ? 2 : 4;
  for (let chunks = 1; chunks < asked; chunks++) {
    if (tokens % chunks === 0 && (tokens / chunks) * classes * bytes <= LOGIT_BYTES * devices) return chunks;
  }
  return asked;
}

function withFewerChunks(program: Program, bindings: Bindings, devices: number): Program {
  const operations = program.operations.map((operation): Operation => {
    const regions = operation.regions.map((region) => withFewerChunks(region, bindings, devices));
    if (!lossKinds.has(operation.kind)) return regions.length ? { ...operation, regions } : operation;
    return { ...operation, attributes: { ...operation.attributes, chunks: fewerChunks(operation, bindings, devices) } };
  });
  return { ...program, operations };
}

const workspace: TensorType = { dtype: 'uint8', shape: [0] };

function layouts(name: string, orders: readonly (readonly number[])[]): string {
  const one = (order: readonly number[]) =>
    `dense<${order.length === 1 ? order.join() : `[${order.join(', ')}]`}> : tensor<${order.length}xindex>`;
  return `${name} = [${orders.map(one).join(', ')}]`;
}

const rowMajor4 = [3, 2, 1, 0];
/** [B, H, T, D] laid out as [B, T, H, D], so that the transpose after it costs nothing. */
const headsInside = [3, 1, 2, 0];
const rowMajor3 = [2, 1, 0];

function customCall(
  emitter: Emitter,
  target: string,
  operands: readonly Ref[],
  results: readonly TensorType[],
  config: string,
  orders: readonly (readonly number[])[],
): Ref[] {
  const escaped = config.replaceAll('"', String.raw`\22`);
  const operandOrders = operands.map(({ shape }) => (shape.length === 3 ? rowMajor3 : rowMajor4));
  const given = [
    `call_target_name = "${target}"`,
    'api_version = 2 : i32',
    `backend_config = "${escaped}"`,
    layouts('operand_layouts', operandOrders),
    layouts('result_layouts', [...orders, [0]]),
  ];
  return emitter.many('stablehlo.custom_call', operands, [...results, workspace], given.join(', '));
}

/** [B, T, H, D] -> the type of [B, H, T, D]. */
function headFirst({ dtype, shape: [b = 1, t = 1, h = 1, d = 1] }: TensorType): TensorType {
  return { dtype, shape: [b, h, t, d] };
}

const swap = [0, 2, 1, 3];

/** The configuration for operands of these sizes. */
function configOf(
  { attributes }: Operation,
  { shape: [batch = 1, length = 1, heads = 1] }: Ref,
  { shape: [, keys = 1] }: Ref,
  products: Readonly<Record<string, unknown>>,
  deterministic: boolean,
): string {
  const { causal, scale } = attributes as unknown as AttentionAttributes;
  return attentionConfig({ scale, causal, scores: [batch, heads, length, keys], products, deterministic });
}

/** out [B, T, H, D] and the scores' log-sum-exp [B, H, T]. */
function forward(emitter: Emitter, operation: Operation, [q, k, v]: readonly Ref[], deterministic: boolean): Ref[] {
  if (!q || !k || !v) return [];
  const [b = 1, t = 1, h = 1] = q.shape;
  const results: TensorType[] = [headFirst(q), { dtype: 'float32', shape: [b, h, t] }];
  const config = configOf(operation, q, k, forwardProducts, deterministic);
  const orders = [headsInside, rowMajor3];
  const [out, statistics] = customCall(emitter, '__cudnn$fmhaSoftmax', [q, k, v], results, config, orders);
  return out && statistics ? [emitter.transpose(out, swap), statistics] : [];
}

/** Cotangents of q, k and v. */
function backward(emitter: Emitter, operation: Operation, operands: readonly Ref[], deterministic: boolean): Ref[] {
  const [q, k, v, out, statistics, dOut] = operands;
  if (!q || !k || !v || !out || !statistics || !dOut) return [];
  const config = configOf(operation, q, k, backwardProducts, deterministic);
  const given = [q, k, v, statistics, dOut, out];
  const orders = [headsInside, headsInside, headsInside];
  const types = [q, k, v].map(headFirst);
  const gradients = customCall(emitter, '__cudnn$fmhaSoftmaxBackward', given, types, config, orders);
  return gradients.slice(0, 3).map((gradient) => emitter.transpose(gradient, swap));
}

/** The rule of a kernel; over a mesh each device runs it on its part of the batch and of the heads. */
function kernelRule(kernel: typeof forward, deterministic: boolean): Rule {
  return (emitter, operation) => {
    const operands = operation.operands.map((value) => emitter.ref(value));
    const run = (inner: Emitter, given: readonly Ref[]) => kernel(inner, operation, given, deterministic);
    const [q, k] = operands;
    const { mesh } = emitter;
    let found: Ref[];
    if (mesh && q && k) {
      const [rows = [], , heads = []] = attentionDivision(mesh, q.shape[0] ?? 1, k.shape[2] ?? 1);
      // [B, T, H, D], or [B, H, T] for the statistics.
      const divisionFor = ({ shape }: TensorType): Division =>
        shape.length === 3 ? [rows, heads, []] : [rows, [], heads, []];
      const results = operation.results.map((value) => emitter.typeOf(value));
      found = onEachDevice(
        emitter,
        mesh,
        operands.map((ref) => ({ ref, division: divisionFor(ref) })),
        results.map((type) => ({ type, division: divisionFor(type) })),
        run,
      );
    } else found = run(emitter, operands);
    operation.results.forEach((result, index) => emitter.define(result, found[index]));
  };
}

function cudnnRules(deterministic: boolean): CompositeRules {
  return {
    attention: kernelRule(forward, deterministic),
    attention_grad: kernelRule(backward, deterministic),
  };
}

export interface CompositeTarget {
  /** Whose kernels are used. */
  readonly target: 'generic' | 'cuda';
  /** The same bits from the same inputs, each time. */
  readonly deterministic?: boolean;
  readonly mesh?: Mesh | undefined;
}

/** What a target maps, and the program as it should be expanded for it. */
export function prepareComposites(
  program: Program,
  { target, deterministic = false, mesh }: CompositeTarget,
  bindings: Bindings,
): PreparedComposites {
  const devices = mesh ? deviceCountOf(mesh) : 1;
  // Over devices the gradient of each cut is summed by itself: fewer cuts are less to send, on any platform.
  const whole = target === 'cuda' || devices > 1 ? withFewerChunks(program, bindings, devices) : program;
  if (target === 'generic') return { program: whole, rules: {}, keep: () => false };
  const rules = cudnnRules(deterministic);
  return {
    program: whole,
    rules,
    keep: (operation) => operation.kind in rules && fitsCudnn(operation, bindings, mesh),
  };
}
