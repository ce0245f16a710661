// The state of one lowering: which ONNX name stands for each value, and how sizes become tensors.
import type { Dim, DType, HostArray, Operation, Program, Shape, Value } from '../../tensor/index.ts';
import { countOf, isFloat, LfmError, newHostArray, sameShape, symbolsOf, termsOf } from '../../tensor/index.ts';
import { producers } from '../../tensor/program.ts';
import type { Joins } from './joined.ts';
import type { Attribute, GraphBuilder } from './proto.ts';
import { elementTypes } from './proto.ts';

/** A value whose repetition is left to ONNX's broadcasting: `name` has `shape`, of the value's rank, with ones. */
interface Spread {
  readonly name: string;
  readonly shape: Shape;
}

/** An initializer that is made of bound inputs, once, before the session is. */
export interface Derived {
  readonly name: string;
  readonly dtype: DType;
  readonly dims: readonly number[];
  /** Names of the initializers that it is made of. */
  readonly from: readonly string[];
  /** Writes its elements, row-major, given those of `from`. They are kept in files: kept.node.ts's FORMAT goes up with a change to them. */
  readonly fill: (into: Uint8Array, ...from: readonly Uint8Array[]) => void;
}

/**
 * What bound weights are to a program. `kept`: initializers, which the runtime lays out anew. Else inputs, since it would not:
 * `expanded` by us, as WebAssembly's kernels want them, or `packed`, as a GPU's do.
 */
export type WeightUse = 'kept' | 'expanded' | 'packed';

export interface NodeSpec {
  readonly attributes?: Readonly<Record<string, Attribute>>;
  readonly domain?: string;
}

/** Where a symbol's size is read from: an axis of a graph input. */
interface SymbolSource {
  readonly name: string;
  readonly axis: number;
}

export class Lowering {
  readonly graph: GraphBuilder;
  readonly program: Program;
  /** Of the whole model, kept by the outermost graph. */
  readonly derived: Derived[] = [];
  /** Bound values that are inputs of every run: products ask for what suits them. */
  readonly given: ReadonlySet<Value>;
  readonly joins: Joins;
  /** Whether runs are of a few rows, for which other kernels are the faster ones. */
  readonly fewRows: boolean;
  readonly weights: WeightUse;
  private readonly root: Lowering;
  private readonly names = new Map<Value, string>();
  private readonly spreads = new Map<Value, Spread>();
  /** Values that are others seen in another shape; nodes where somebody reads them so. */
  private readonly views = new Map<Value, Spread>();
  private readonly constants = new Map<string, string>();
  private readonly wanted = new Map<Value, string>();
  private readonly symbols = new Map<string, SymbolSource>();
  /** Counts the values of nodes with several outputs, for names that no body repeats. */
  private several = 0;
  private reads: ReadonlySet<Value> | undefined;
  private producedBy: ReadonlyMap<Value, Operation> | undefined;

  constructor(
    program: Program,
    graph: GraphBuilder,
    outer?: Lowering,
    given: ReadonlySet<Value> = new Set(),
    joins: Joins = new Map(),
    fewRows = outer?.fewRows ?? false,
    weights: WeightUse = outer?.weights ?? 'kept',
  ) {
    this.program = program;
    this.given = given;
    this.joins = joins;
    this.fewRows = fewRows;
    this.weights = weights;
    this.graph = graph;
    this.root = outer ? outer.root : this;
  }

  /** Whether anything reads a value. */
  isRead(value: Value): boolean {
    this.reads ??= new Set([
      ...this.program.operations.flatMap(({ operands }) => operands),
      ...this.program.outputs.map((port) => port.value),
    ]);
    return this.reads.has(value);
  }

  /** The operation that a value is a result of. */
  producerOf(value: Value): Operation | undefined {
    this.producedBy ??= producers(this.program);
    return this.producedBy.get(value);
  }

  /** Says that a value, once defined, is to carry this name (a graph output's). */
  want(value: Value, name: string): void {
    this.wanted.set(value, name);
  }

  /** A symbol's size is the size of an axis of a graph input. */
  bindSymbols(name: string, shape: Shape): void {
    shape.forEach((dim, axis) => {
      const { symbols } = this.root;
      if (typeof dim === 'string' && symbolsOf(dim)[0] === dim && !symbols.has(dim)) symbols.set(dim, { name, axis });
    });
  }

  set(value: Value, name: string): void {
    this.names.set(value, name);
  }

  setSpread(value: Value, spread: Spread): void {
    this.spreads.set(value, spread);
  }

  /** Adds a node and returns its output's name. */
  node(opType: string, inputs: readonly string[], spec: NodeSpec = {}): string {
    return this.graph.node(opType, inputs, spec);
  }

  /** Adds the node that computes `value`. */
  define(value: Value | undefined, opType: string, inputs: readonly string[], spec: NodeSpec = {}): void {
    if (!value) return;
    const name = this.wanted.get(value);
    this.names.set(
      value,
      name === undefined
        ? this.graph.node(opType, inputs, spec)
        : this.graph.node(opType, inputs, { ...spec, outputs: name }),
    );
  }

  /** Adds the node that computes several values; those absent are left out. */
  defineAll(
    values: readonly (Value | undefined)[],
    opType: string,
    inputs: readonly string[],
    spec: NodeSpec = {},
  ): void {
    const fresh = values.map((value) => (value ? (this.wanted.get(value) ?? `${opType}.${this.root.several++}`) : ''));
    this.graph.node(opType, inputs, { ...spec, outputs: fresh });
    values.forEach((value, index) => {
      if (value) this.names.set(value, fresh[index] ?? '');
    });
  }

  /** The name of a value with its whole shape. */
  name(value: Value | undefined): string {
    if (!value) throw new LfmError('no-result', 'An operation was lowered without one of its operands.');
    const known = this.names.get(value);
    if (known !== undefined) return known;
    const view = this.views.get(value);
    if (view) {
      const seen = this.reshaped(view.name, view.shape, value.shape);
      this.names.set(value, seen);
      return seen;
    }
    const spread = this.spreads.get(value);
    if (!spread)
      throw new LfmError('unbound-input', `${this.program.name}: %${value.id} was read before it was lowered.`);
    if (sameShape(spread.shape, value.shape)) return spread.name;
    const full = this.expanded(spread.name, value);
    this.names.set(value, full);
    return full;
  }

  /** `name`, of a value's element type, repeated to its shape. (ONNX Runtime cannot repeat bfloat16.) */
  expanded(name: string, { dtype, shape }: Pick<Value, 'dtype' | 'shape'>): string {
    // Expand from 1 to 0 is where ONNX Runtime's shape rule and its kernel part ways.
    if (shape.includes(0))
      return this.constant(
        dtype,
        shape.filter((dim) => typeof dim === 'number'),
        [],
      );
    const size = this.shapeTensor(shape);
    if (dtype !== 'bfloat16') return this.node('Expand', [name, size]);
    return this.cast(this.node('Expand', [this.cast(name, 'float32'), size]), dtype);
  }

  /** The name of a value that may be smaller along repeated axes, with its actual shape. */
  spread(value: Value | undefined): Spread {
    if (!value) throw new LfmError('no-result', 'An operation was lowered without one of its operands.');
    const spread = this.spreads.get(value);
    return spread && !this.names.has(value) ? spread : { name: this.name(value), shape: value.shape };
  }

  /**
   * Names of operands for an operator that broadcasts, so that together they span the result's shape: repeated ones stay
   * small unless that would make the result too small.
   */
  spreadAll(values: readonly Value[], shape: Shape): string[] {
    const spreads = values.map((value) => this.spread(value));
    const spans = shape.every((dim, axis) => dim === 1 || spreads.some((s) => s.shape[axis] === dim));
    return spans
      ? spreads.map((s) => s.name)
      : values.map((value, index) => (index === 0 ? this.name(value) : (spreads[index]?.name ?? '')));
  }

  /** Says that a value is what has this name and shape, seen in its own shape. */
  setView(value: Value, name: string, shape: Shape): void {
    const wanted = this.wanted.has(value);
    if (wanted) this.define(value, 'Reshape', this.reshapeInputs(name, shape, value.shape), reshapeSpec(value.shape));
    else if (sameShape(shape, value.shape)) this.names.set(value, name);
    else this.views.set(value, { name, shape });
  }

  /** Says that a value is another one seen in its own shape. */
  setViewOf(value: Value, of: Value): void {
    const view = this.views.get(of);
    if (view && sameShape(view.shape, value.shape)) this.setView(value, view.name, view.shape);
    else this.setView(value, this.name(of), of.shape);
  }

  /** The name of a value seen in another shape. */
  shaped(value: Value, shape: Shape): string {
    const view = this.views.get(value);
    return view && sameShape(view.shape, shape) ? view.name : this.reshaped(this.name(value), value.shape, shape);
  }

  /** A constant kept in the model, once for each content. */
  constant(dtype: DType, dims: readonly number[], values: readonly number[]): string {
    const key = `${dtype}[${dims.join(',')}]:${values.join(',')}:${values.some((v) => Object.is(v, -0)) ? '-0' : ''}`;
    const known = this.root.constants.get(key);
    if (known) return known;
    const data = newHostArray(dtype, values.length);
    values.forEach((value, index) => {
      data[index] = data instanceof BigInt64Array ? BigInt(value) : value;
    });
    const name = this.root.graph.initializer(`constant.${this.root.constants.size}`, dtype, dims, data);
    this.root.constants.set(key, name);
    return name;
  }

  /** A constant of any size, once for each name: `fill` writes into zeros. */
  filled(
    key: string,
    dtype: DType,
    dims: readonly number[],
    fill: (into: HostArray) => void = () => undefined,
  ): string {
    const known = this.root.constants.get(key);
    if (known) return known;
    const name = `constant.${this.root.constants.size}`;
    const data = newHostArray(dtype, countOf(dims));
    fill(data);
    this.root.graph.initializer(name, dtype, dims, data);
    this.root.constants.set(key, name);
    return name;
  }

  zeros(dtype: DType, dims: readonly number[]): string {
    return this.filled(`zeros ${dtype}[${dims.join(',')}]`, dtype, dims);
  }

  /**
   * An initializer made of bound values where the runtime's own operations would walk them many times when the session is made.
   * One name for each `name`.
   */
  derive(
    name: string,
    { from, ...rest }: Omit<Derived, 'name' | 'from'> & { readonly from: readonly Value[] },
  ): string {
    if (this.root.derived.every((one) => one.name !== name)) {
      if (this.given.size > 0) this.root.graph.input(name, rest.dtype, rest.dims);
      else this.root.graph.initializer(name, rest.dtype, rest.dims);
      this.root.derived.push({ name, ...rest, from: from.map((value) => this.name(value)) });
    }
    return name;
  }

  integers(values: readonly number[]): string {
    return this.constant('int64', [values.length], values);
  }

  /** int64 [1] holding a dimension. */
  dimTensor(dim: Dim): string {
    if (typeof dim === 'number') return this.integers([dim]);
    const key = `dim:${dim}`;
    const known = this.root.constants.get(key);
    if (known) return known;
    let total: string | undefined;
    for (const [coefficient, symbols] of termsOf(dim)) {
      let term: string | undefined;
      for (const symbol of symbols) {
        const size = this.symbolTensor(symbol);
        term = term ? this.root.node('Mul', [term, size]) : size;
      }
      if (term && coefficient !== 1) term = this.root.node('Mul', [term, this.integers([coefficient])]);
      term ??= this.integers([coefficient]);
      total = total ? this.root.node('Add', [total, term]) : term;
    }
    const name = total ?? this.integers([0]);
    // Nodes added to the outer graph while a body is lowered still precede the node that owns the body.
    this.root.constants.set(key, name);
    return name;
  }

  /** int64 scalar holding a dimension. */
  dimScalar(dim: Dim): string {
    return typeof dim === 'number' ? this.constant('int64', [], [dim]) : this.reshaped(this.dimTensor(dim), [1], []);
  }

  /** int64 [dim]: 0, 1, 2, … */
  indices(dim: Dim): string {
    const [zero, one] = [this.constant('int64', [], [0]), this.constant('int64', [], [1])];
    return this.node('Range', [zero, this.dimScalar(dim), one]);
  }

  private symbolTensor(symbol: string): string {
    const source = this.root.symbols.get(symbol);
    if (!source)
      throw new LfmError(
        'unbound-symbol',
        `${this.program.name}: no input has ${symbol} as a size, so it cannot be known.`,
      );
    return this.root.node('Shape', [source.name], {
      attributes: { start: { int: source.axis }, end: { int: source.axis + 1 } },
    });
  }

  /** int64 [rank] holding a shape. */
  shapeTensor(shape: Shape): string {
    const sizes = shape.filter((dim) => typeof dim === 'number');
    if (sizes.length === shape.length) return this.integers(sizes);
    return this.node(
      'Concat',
      shape.map((dim) => this.dimTensor(dim)),
      { attributes: { axis: { int: 0 } } },
    );
  }

  /** `name`, of shape `from`, seen with another shape; costs nothing at run time. */
  reshaped(name: string, from: Shape, to: Shape): string {
    return sameShape(from, to) ? name : this.node('Reshape', this.reshapeInputs(name, from, to), reshapeSpec(to));
  }

  reshapeInputs(name: string, from: Shape, to: Shape): string[] {
    const zero = to.includes(0);
    const sizes = to.map((dim, axis) => (typeof dim === 'number' ? dim : from[axis] === dim && !zero ? 0 : -1));
    const unknown = sizes.filter((size) => size === -1).length;
    return [name, unknown <= 1 ? this.integers(sizes) : this.shapeTensor(to)];
  }

  cast(name: string, dtype: DType): string {
    return this.node('Cast', [name], castSpec(dtype));
  }
}

/** Sizes for a model's declarations; a symbol becomes a name, the same for equal sizes. */
export function declaredDims(shape: Shape): Dim[] {
  return shape.map((dim) => (typeof dim === 'number' ? dim : `size ${dim}`));
}

export function castSpec(dtype: DType): NodeSpec {
  if (dtype === 'int4' || dtype === 'uint4')
    throw new LfmError('onnx-unsupported', `The onnx engine cannot compute in ${dtype}; unpack it to int8 first.`);
  return { attributes: { to: { int: elementTypes[dtype] } } };
}

export function reshapeSpec(shape: Shape): NodeSpec {
  return shape.includes(0) ? { attributes: { allowzero: { int: 1 } } } : {};
}

/** The type that a kernel computes in: ONNX Runtime's CPU kernels know float32, float64, int32, int64 and bool. */
export function computeType(dtype: DType): DType {
  if (dtype === 'float16' || dtype === 'bfloat16') return 'float32';
  if (isFloat(dtype) || dtype === 'bool' || dtype === 'int64' || dtype === 'int32') return dtype;
  return dtype === 'uint32' ? 'int64' : 'int32';
}

/** A lowering rule adds the nodes of one operation. */
export type Rule = (lowering: Lowering, operation: Operation) => void;
