// What an operation is: its result types, its gradient rule, its reference evaluation and its cost, side by side.
import type { NDArray } from './array.ts';
import { LfmError } from './error.ts';
import type { ArrayType, Attributes, Operation, Program } from './program.ts';
import type { Dim } from './shape.ts';
import { sizeOf } from './shape.ts';
import type { Tensor } from './tracer.ts';

export interface GradientContext<A> {
  readonly operands: readonly Tensor[];
  readonly results: readonly Tensor[];
  /** Cotangent of each result; undefined where nothing depends on it. */
  readonly cotangents: readonly (Tensor | undefined)[];
  readonly attributes: A;
  readonly regions: readonly Program[];
  /** Which operands lead to something that is differentiated: the others' cotangents may be left out. */
  readonly needed: readonly boolean[];
}

export interface EvaluationContext<A> {
  readonly attributes: A;
  readonly regions: readonly Program[];
  /** Types of the results with all symbols bound. */
  readonly types: readonly { readonly dtype: ArrayType['dtype']; readonly shape: readonly number[] }[];
  /** A dimension (of an attribute) with its symbols bound. */
  readonly sizeOf: (dim: Dim) => number;
  readonly evaluateProgram: (program: Program, inputs: readonly NDArray[]) => NDArray[];
}

export interface OperationDefinition<A = Attributes> {
  readonly kind: string;
  /** Result types; throws an LfmError where the operands do not fit. */
  readonly infer: (operands: readonly ArrayType[], attributes: A, regions: readonly Program[]) => readonly ArrayType[];
  /** Cotangents of the operands, or the reason why there is none. */
  readonly gradient: ((context: GradientContext<A>) => readonly (Tensor | undefined)[]) | 'not differentiable';
  readonly evaluate: (operands: readonly NDArray[], context: EvaluationContext<A>) => readonly NDArray[];
  /** Floating-point operations; one for each result element unless said otherwise. */
  readonly flops?: (operation: Operation, attributes: A) => Dim;
}

/** A composite: a named sub-program with residuals, that an engine may map to a fused kernel or expand. */
export interface CompositeDefinition<A = Attributes> {
  readonly kind: string;
  /** The meaning, over primitives and other composites. Results after the first may be residuals for the gradient. */
  readonly decompose: (operands: readonly Tensor[], attributes: A) => readonly Tensor[];
  /** As for operations; absent: the decomposition is differentiated. */
  readonly gradient?: (context: GradientContext<A>) => readonly (Tensor | undefined)[];
  /** Floating-point operations that it asks for, where its decomposition does more; absent: the decomposition's. */
  readonly flops?: (operands: readonly ArrayType[], attributes: A) => Dim;
}

const operations = new Map<string, OperationDefinition>();
const composites = new Map<string, CompositeDefinition>();

/** Registers a primitive. Attribute types are checked where it is emitted, and erased here. */
export function defineOperation<A extends Attributes>(definition: OperationDefinition<A>): OperationDefinition<A> {
  operations.set(definition.kind, definition as unknown as OperationDefinition);
  return definition;
}

/** Registers a composite; a second one of the same name takes the first one's place. */
export function defineComposite<A extends Attributes>(definition: CompositeDefinition<A>): CompositeDefinition<A> {
  composites.set(definition.kind, definition as unknown as CompositeDefinition);
  return definition;
}

export function operationDefinition(kind: string): OperationDefinition {
  const definition = operations.get(kind);
  if (!definition)
    throw new LfmError('unknown-operation', `No operation is named "${kind}"; import the module that defines it.`);
  return definition;
}

export function compositeDefinition(kind: string): CompositeDefinition | undefined {
  return composites.get(kind);
}

/** Names of all primitives and composites that are defined: the table's rows. */
export function operationKinds(): { primitives: string[]; composites: string[] } {
  return { primitives: [...operations.keys()], composites: [...composites.keys()] };
}

/** Floating-point operations of one primitive. */
export function flopsOf(operation: Operation): Dim {
  const definition = operationDefinition(operation.kind);
  if (definition.flops) return definition.flops(operation, operation.attributes);
  return operation.results[0] ? sizeOf(operation.results[0].shape) : 0;
}

export function shapeError(kind: string, operands: readonly ArrayType[], expected: string): LfmError {
  const found = operands.map(({ dtype, shape }) => `${dtype}[${shape.join(', ')}]`).join(' and ');
  return new LfmError('shape-mismatch', `${kind} expects ${expected}; found ${found || 'no operands'}.`);
}
