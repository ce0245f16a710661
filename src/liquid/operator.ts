// What an operator is: parameters, state, and its program in two halves, declared once and typed from the literal.
import type { Tensor } from '../tensor/index.ts';
import type { Context } from './context.ts';
import type { ParameterDeclaration, Tensors } from './parameter.ts';
import type { StateDeclaration } from './state.ts';

/** Sizes of the model that an operator is placed in. */
export interface Sizes {
  readonly hiddenSize: number;
}

type Declarations = Readonly<Record<string, ParameterDeclaration>>;
type TensorsOf<P> = { readonly [K in keyof P]: Tensor };
/** State of one call: undefined in training, where whole sequences are at hand and nothing is remembered. */
type StateOf<S> = { readonly [K in keyof S]: Tensor | undefined };

/**
 * The declaration of an operator y_i = Σ_j T_ij(x) x_j: `featurize` makes the features that T is made of, `mix` applies it.
 * Both may update the state; each returns all of it. The cut is where layers share: another layer may run only `mix`.
 */
export interface Definition<P, S, F> {
  /** What its parameters and state stand under in a layer, as checkpoints name it: `self_attn`, `conv`. */
  readonly scope: string;
  /** What people call it, where its options make more of it than its name tells: in tables and pictures. */
  readonly label?: string;
  readonly parameters: (sizes: Sizes) => P;
  /** Absent: it remembers nothing. */
  readonly state?: (sizes: Sizes) => S;
  /** From x [B, T, D] to named features. */
  readonly featurize: (p: TensorsOf<P>, x: Tensor, state: StateOf<S>, context: Context) => F | readonly [F, StateOf<S>];
  /** From features to [y [B, T, D], next state]. */
  readonly mix: (p: TensorsOf<P>, features: F, state: StateOf<S>, context: Context) => readonly [Tensor, StateOf<S>];
  /** For parameters with a rule: sums over the tokens that `counted` [B, T] is not 0 for, by the parameters' names. */
  readonly observe?: (features: F, counted: Tensor) => { readonly [K in keyof P]?: Tensor };
}

export type StateTensors = Readonly<Record<string, Tensor | undefined>>;

/** What an operator has in common with others of a model. Groups are labels; their first operator by depth leads. */
export interface Sharing {
  /**
   * A depth group: one set of parameters. With `features`, only those parameters that make the features named; without those
   * in `own`, which each depth has for itself.
   */
  readonly weights?: {
    readonly group: string;
    readonly features?: readonly string[];
    readonly own?: readonly string[];
  };
  /** Featurizer interconnection: these features are the leader's, and so is what is remembered of nothing but them. */
  readonly features?: { readonly group: string; readonly names: readonly string[] };
}

/** An operator with its options: what layers hold. */
export interface Operator {
  readonly name: string;
  readonly options: unknown;
  readonly sharing?: Sharing;
  readonly scope: string;
  readonly label?: string;
  readonly parameters: (sizes: Sizes) => Declarations;
  readonly state: (sizes: Sizes) => Readonly<Record<string, StateDeclaration>>;
  readonly featurize: (
    p: Tensors,
    x: Tensor,
    state: StateTensors,
    context: Context,
  ) => readonly [Tensors, StateTensors];
  readonly mix: (
    p: Tensors,
    features: Tensors,
    state: StateTensors,
    context: Context,
  ) => readonly [Tensor, StateTensors];
  readonly observe?: (features: Tensors, counted: Tensor) => Readonly<Record<string, Tensor | undefined>>;
}

/** What people call it: the name of its kind, where its options make no more of it. */
export function nameOf({ label, name }: Operator): string {
  return label ?? name;
}

/** Options may be left out where all of them have defaults. */
type Arguments<O> = Partial<O> extends O ? [options?: O] : [options: O];

/** What makes operators of one name from their options, whatever these are: what `operator` answers. */
export type OperatorConstructor = ((...options: never[]) => Operator) & { readonly operatorName: string };

/**
 * Declares an operator; the result makes one from its options. Names of parameters, states and features are checked
 * against the declaration wherever the program uses them. Options are destructured with their defaults:
 * `operator('short_conv', ({ kernel = 3 }: { kernel?: number }) => ({ ... }))`.
 */
export function operator<
  O extends object,
  P extends Declarations,
  F extends Tensors,
  S extends Readonly<Record<string, StateDeclaration>> = Readonly<Record<never, StateDeclaration>>,
>(
  name: string,
  define: (options: O) => Definition<P, S, F>,
): ((...options: Arguments<O>) => Operator) & { readonly operatorName: string } {
  const make = (...[options = {} as O]: Arguments<O>): Operator => {
    // Here the names, checked above, are forgotten: layers hold operators of all kinds in one list.
    const definition = define(options as O) as unknown as Definition<
      Declarations,
      Record<string, StateDeclaration>,
      Tensors
    >;
    const { scope, label, parameters, state, mix, observe } = definition;
    return {
      name,
      options,
      scope,
      ...(label !== undefined && { label }),
      parameters,
      state: state ?? (() => ({})),
      featurize: (p, x, before, context) => {
        const given = definition.featurize(p, x, before, context);
        return isPair(given) ? given : [given, before];
      },
      mix,
      ...(observe && { observe }),
    };
  };
  made.add(make);
  return Object.assign(make, { operatorName: name });
}

const made = new WeakSet<object>();

/** Whether `operator` of this copy of the library made it: programs of two copies do not mix. */
export function isOperatorConstructor(value: unknown): value is OperatorConstructor {
  return typeof value === 'function' && made.has(value);
}

function isPair(given: Tensors | readonly [Tensors, StateTensors]): given is readonly [Tensors, StateTensors] {
  return Array.isArray(given);
}

/** The operator as one that shares. */
export function shared(operator_: Operator, sharing: Sharing): Operator {
  return { ...operator_, sharing };
}

/** Both halves; features in `given` take the place of those made here. */
export function applyOperator(
  operator_: Operator,
  p: Tensors,
  x: Tensor,
  state: StateTensors,
  context: Context,
  given: Tensors = {},
): { readonly y: Tensor; readonly state: StateTensors; readonly features: Tensors } {
  const [made, between] = operator_.featurize(p, x, state, context);
  const features = { ...made, ...given };
  const [y, after] = operator_.mix(p, features, between, context);
  return { y, state: after, features };
}
