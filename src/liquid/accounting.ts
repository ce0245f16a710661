// What a model costs, read off its traced programs: parameters, state, arithmetic, bytes moved, memory.
import type { Program } from '../tensor/index.ts';
import { byteLength, countOf } from '../tensor/index.ts';
import type { Model } from './model.ts';
import { flopsOfProgram } from './program-flops.ts';
import { peakBytes } from './program-memory.ts';
import { trafficOf } from './program-traffic.ts';
import { stepProgram } from './programs.ts';
import { asFloats, parameterTypes } from './quantized.ts';
import { elementsAt, stateDtype } from './state.ts';

/** Element type of weights and state, as a model is usually run. */
export type RunType = 'float32' | 'bfloat16' | 'float16';

/** Tokens of a prefill that are taken in at once, where nothing else is said: what llama.cpp does by default. */
const PREFILL_CHUNK = 512;

/** Bytes of all parameters: packed ones as they are packed, the others in `dtype`. */
export function weightBytes(model: Model, dtype: RunType = 'bfloat16'): number {
  const types = Object.values(parameterTypes(model, dtype));
  return types.reduce((sum, type) => sum + byteLength(type.dtype, countOf(type.shape.map(Number))), 0);
}

function parameterTotal(model: Model): number {
  return Object.values(model.parameters).reduce((sum, { shape }) => sum + countOf(shape), 0);
}

/** Bytes of state that one sequence of `length` tokens needs. */
export function stateBytes(model: Model, length: number, dtype: RunType = 'bfloat16'): number {
  return Object.values(model.states).reduce(
    (total, state) => total + byteLength(stateDtype(state, dtype), elementsAt(state, length)),
    0,
  );
}

/** The step that adds the `length`th token to a sequence. */
function decodeStep(model: Model, length: number, dtype: RunType): Program {
  return stepProgram(model, { batch: 1, length: 1, capacity: length, dtype });
}

/** FLOPs of the token that makes a sequence `length` long, its logits included. Unpacking weights is no arithmetic of the model's. */
export function decodeFlops(model: Model, length: number): number {
  return flopsOfProgram(decodeStep(asFloats(model), length, 'float32'));
}

/**
 * FLOPs of `length` tokens taken in at once, with the last one's logits. Attention counts every pair of them: what the mask
 * hides is computed all the same unless a kernel skips it.
 */
export function prefillFlops(model: Model, length: number): number {
  return flopsOfProgram(stepProgram(asFloats(model), { batch: 1, length, capacity: length }));
}

export interface Traffic {
  readonly weights: number;
  readonly stateRead: number;
  readonly stateWritten: number;
}

/** Bytes that decoding one token must move when its sequence is `length` long: activations, which stay in cache, are left out. */
export function decodeBytes(model: Model, length: number, dtype: RunType = 'bfloat16'): Traffic {
  const program = decodeStep(model, length, dtype);
  const { read, written } = trafficOf(program);
  const isState = ({ name }: { name: string }) => name.startsWith('state.');
  const weights = new Set(Object.keys(parameterTypes(model, dtype)));
  const isWeight = ({ name }: { name: string }) => weights.has(name);
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const readOf = (kind: (port: { name: string }) => boolean) =>
    sum(program.inputs.map((port, index) => (kind(port) ? (read[index]?.bytes ?? 0) : 0)));
  const writtenOf = (index: number) => {
    const bytes = written[index];
    return typeof bytes === 'number' ? bytes : 0;
  };
  return {
    weights: readOf(isWeight),
    stateRead: readOf(isState),
    stateWritten: sum(program.outputs.map((port, index) => (isState(port) ? writtenOf(index) : 0))),
  };
}

/** Parameters stored, and those that one token reads: of a table that is looked up, a row. */
export function parameterCounts(model: Model): { readonly total: number; readonly active: number } {
  // Packed matrices have other bytes, but as many parameters.
  const active = decodeBytes(asFloats(model), 1, 'float32').weights / byteLength('float32', 1);
  return { total: parameterTotal(model), active };
}

export interface Memory {
  readonly weights: number;
  /** Of one sequence. */
  readonly state: number;
  /** Most intermediate values alive at once, of the larger of a prefill's chunk and a decoded token. */
  readonly activations: number;
  readonly total: number;
}

export interface MemoryOptions {
  readonly dtype?: RunType;
  /** Tokens of a prefill taken in at once. */
  readonly chunk?: number;
}

/**
 * Bytes that a model needs for one sequence of `length` tokens, prompt and answer together: what is not packed in `dtype`, kernels that
 * hold no attention scores and unpack no matrix whole, a prefill in chunks. What an engine adds for itself is not counted.
 */
export function memoryAt(model: Model, length: number, options: MemoryOptions = {}): Memory {
  const { dtype = 'bfloat16', chunk = PREFILL_CHUNK } = options;
  // As many tokens at once hold at least what one of them holds.
  const sizes = { batch: 1, length: Math.min(chunk, length), capacity: length, dtype };
  const step = stepProgram(asFloats(model), sizes);
  const [weights, state, activations] = [weightBytes(model, dtype), stateBytes(model, length, dtype), peakBytes(step)];
  return { weights, state, activations, total: weights + state + activations };
}

/** A processor with its memory, by what its maker says of it. */
export interface Device {
  /** Floating-point operations a second, in the element type of the weights. */
  readonly flops: number;
  /** Bytes a second between memory and processor. */
  readonly bandwidth: number;
  /** Bytes of memory. */
  readonly memory: number;
}

export interface Speed {
  /** Seconds until a prompt of `length` tokens has its first answer token. */
  readonly firstToken: number;
  /** Seconds for a further token when the sequence is `length` long. */
  readonly token: number;
  /** Whether weights, state and activations fit in the device's memory. */
  readonly fits: boolean;
}

/**
 * The least times that the device's figures allow (the roofline of Williams et al. 2009): arithmetic and traffic overlap
 * fully, and the larger of them decides. A prefill reads the weights once a chunk.
 */
export function speedOn(model: Model, device: Device, length: number, options: MemoryOptions = {}): Speed {
  const { dtype = 'bfloat16', chunk = PREFILL_CHUNK } = options;
  const { weights, stateRead, stateWritten } = decodeBytes(model, length, dtype);
  const within = (flops: number, bytes: number) => Math.max(flops / device.flops, bytes / device.bandwidth);
  const chunks = Math.ceil(length / chunk);
  return {
    firstToken: within(
      prefillFlops(model, length),
      chunks * weightBytes(model, dtype) + stateBytes(model, length, dtype),
    ),
    token: within(decodeFlops(model, length), weights + stateRead + stateWritten),
    fits: memoryAt(model, length, options).total <= device.memory,
  };
}
