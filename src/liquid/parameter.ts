// What a parameter is: its shape, how it starts, how it may be divided over devices, and whether weight decay shrinks it.
import { LfmError } from '../tensor/error.ts';
import type { Activations, QuantizedForm, Tensor } from '../tensor/index.ts';
import type { LowRank } from './lora.ts';

/**
 * Normal numbers of standard deviation `std` around 0, even ones from -uniform to uniform, one value everywhere, or these in
 * row-major order, over and over.
 */
export type Init =
  | { readonly std: number }
  | { readonly uniform: number }
  | { readonly value: number }
  | { readonly values: readonly number[] };

export interface ParameterDeclaration {
  readonly shape: readonly number[];
  /** What each axis counts ('hidden', 'heads', …): sharding rules map these names to axes of a device mesh. */
  readonly axes: readonly string[];
  /** Absent: normal numbers with the model's `initializerRange`. */
  readonly init?: Init;
  readonly decay: boolean;
  /**
   * A parameter that no gradient trains: after each step its next value, from the present one and what its operator observed
   * over the step's tokens (`Definition.observe`), both of its shape in float32.
   */
  readonly rule?: (value: Tensor, observed: Tensor) => Tensor;
}

/** A declaration with its place in a model: nothing is left open. */
export interface Parameter extends ParameterDeclaration {
  readonly init: Init;
  /** How a matrix of few bits is held, and what it meets in products. Absent: as floats. */
  readonly quantized?: { readonly form: QuantizedForm; readonly activations: Activations };
  /** Whether a matrix is held as a RoundedTensor: see `withRoundedRows`. */
  readonly isRounded?: boolean;
  /** How the loss rounds the matrix: see `withRounding`. */
  readonly rounding?: Pick<QuantizedForm, 'bits' | 'block'>;
  /** No training changes it, as the base of an adapter: it has no gradient and no moments. */
  readonly frozen?: true;
  /** How an adapter changes the matrix. */
  readonly lowRank?: LowRank;
}

export type Tensors = Readonly<Record<string, Tensor>>;

/** A matrix or kernel: starts from normal numbers, and decays. */
export function weight(shape: readonly number[], axes: readonly string[], init?: Init): ParameterDeclaration {
  return init ? { shape, axes, init, decay: true } : { shape, axes, decay: true };
}

/** A factor for each feature, as norms have: starts at 1, does not decay. */
export function gain(shape: readonly number[], axes: readonly string[]): ParameterDeclaration {
  return { shape, axes, init: { value: 1 }, decay: false };
}

/** A summand for each feature: starts at 0, does not decay. */
export function bias(shape: readonly number[], axes: readonly string[]): ParameterDeclaration {
  return { shape, axes, init: { value: 0 }, decay: false };
}

/** Numbers that start where they are told, and do not decay: rates and their like. A larger shape repeats them. */
export function set(
  values: readonly number[],
  axes: readonly string[],
  shape: readonly number[] = [values.length],
): ParameterDeclaration {
  return { shape, axes, init: { values }, decay: false };
}

/** Numbers that start at 0 and follow a rule instead of gradients. */
export function ruled(
  shape: readonly number[],
  axes: readonly string[],
  rule: NonNullable<ParameterDeclaration['rule']>,
): ParameterDeclaration {
  return { ...bias(shape, axes), rule };
}

/** The tensor of that name. Errors: `missing-parameter`. */
export function take(tensors: Tensors, name: string): Tensor {
  const tensor = tensors[name];
  if (!tensor)
    throw new LfmError('missing-parameter', `The model needs "${name}", which is not among what it was given.`);
  return tensor;
}
