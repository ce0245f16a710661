// StableHLO text under construction: a name for each value, one line for each operation, sizes with their symbols bound.
// Knows MLIR's generic syntax, not what any operation means.
import type { Bindings, Dim, DType, HostArray, Operation, Shape, Value } from '../../tensor/index.ts';
import { countOf, evaluateDim, evaluateShape, isFloat, LfmError, toBfloat16, toFloat16 } from '../../tensor/index.ts';
import { isFourBit, unpackNibbles } from './elements.ts';
import type { Mesh } from './mesh.ts';

export interface TensorType {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** A value of the text. */
export interface Ref extends TensorType {
  readonly name: string;
}

/** Appends an operation's lines and names its results. */
export type Rule = (emitter: Emitter, operation: Operation) => void;

const elementNames: Readonly<Record<DType, string>> = {
  float64: 'f64',
  float32: 'f32',
  float16: 'f16',
  bfloat16: 'bf16',
  int64: 'i64',
  int32: 'i32',
  int16: 'i16',
  int8: 'i8',
  int4: 'i4',
  uint32: 'ui32',
  uint16: 'ui16',
  uint8: 'ui8',
  uint4: 'ui4',
  bool: 'i1',
};

export function typeText({ dtype, shape }: TensorType): string {
  return `tensor<${[...shape, elementNames[dtype]].join('x')}>`;
}

/** `array<i64: 1, 2>`. */
export function integerArray(values: readonly number[]): string {
  return values.length ? `array<i64: ${values.join(', ')}>` : 'array<i64>';
}

/** 16-bit floats are summed in float32, as in every engine. */
export function sumType(dtype: DType): DType {
  return dtype === 'bfloat16' || dtype === 'float16' ? 'float32' : dtype;
}

function hex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text.toUpperCase();
}

/** A number as MLIR reads it back to the last bit: floats by their bits. */
function elementText(dtype: DType, value: number): string {
  if (dtype === 'bool') return value ? 'true' : 'false';
  if (!isFloat(dtype)) return String(Math.trunc(value));
  const view = new DataView(new ArrayBuffer(8));
  if (dtype === 'float64') view.setFloat64(0, value);
  else if (dtype === 'float32') view.setFloat32(0, value);
  else view.setUint16(0, dtype === 'bfloat16' ? toBfloat16(value) : toFloat16(value));
  const bytes = dtype === 'float64' ? 8 : dtype === 'float32' ? 4 : 2;
  return `0x${hex(new Uint8Array(view.buffer, 0, bytes))}`;
}

export class Emitter {
  readonly bindings: Bindings;
  readonly lines: string[] = [];
  /** The mesh of devices that the text is for, where it calls it `@mesh`; in what one device runs, none. */
  readonly mesh: Mesh | undefined;
  private readonly outer: Emitter | undefined;
  private readonly counter: { next: number };
  private readonly refs = new Map<Value, Ref>();
  private readonly scalars = new Map<string, Ref>();

  constructor(
    bindings: Bindings,
    { outer, mesh }: { readonly outer?: Emitter; readonly mesh?: Mesh | undefined } = {},
  ) {
    this.bindings = bindings;
    this.mesh = mesh;
    this.outer = outer;
    this.counter = outer ? outer.counter : { next: 0 };
  }

  /** A region's emitter: it sees what stands outside, and its lines go into the operation that owns it. */
  inner(): Emitter {
    return new Emitter(this.bindings, { outer: this, mesh: this.mesh });
  }

  dim(dim: Dim): number {
    return evaluateDim(dim, this.bindings);
  }

  dims(shape: Shape): number[] {
    return evaluateShape(shape, this.bindings);
  }

  typeOf({ dtype, shape }: Pick<Value, 'dtype' | 'shape'>): TensorType {
    return { dtype, shape: this.dims(shape) };
  }

  fresh(): string {
    return `%${this.counter.next++}`;
  }

  define(value: Value | undefined, ref: Ref | undefined): void {
    if (value && ref) this.refs.set(value, ref);
  }

  ref(value: Value | undefined): Ref {
    const found = value && (this.refs.get(value) ?? this.outer?.ref(value));
    if (!found) throw new LfmError('unbound-input', `%${value?.id} is read before it is defined.`);
    return found;
  }

  /** One operation in generic form; `regions` are texts as `region` gives them. */
  many(
    op: string,
    operands: readonly Ref[],
    types: readonly TensorType[],
    attributes = '',
    regions: readonly string[] = [],
  ): Ref[] {
    const name = this.fresh();
    const bodies = regions.length ? ` (${regions.join(', ')})` : '';
    const given = attributes ? ` {${attributes}}` : '';
    const signature = `(${operands.map(typeText).join(', ')}) -> ${types.length === 1 && types[0] ? typeText(types[0]) : `(${types.map(typeText).join(', ')})`}`;
    const left = types.length === 0 ? '' : `${name}${types.length > 1 ? `:${types.length}` : ''} = `;
    this.lines.push(`${left}"${op}"(${operands.map((ref) => ref.name).join(', ')})${bodies}${given} : ${signature}`);
    return types.map((type, index) => ({ ...type, name: types.length > 1 ? `${name}#${index}` : name }));
  }

  one(op: string, operands: readonly Ref[], type: TensorType, attributes = '', regions: readonly string[] = []): Ref {
    const [ref] = this.many(op, operands, [type], attributes, regions);
    if (!ref) throw new LfmError('no-result', `${op} gave no result.`);
    return ref;
  }

  /** A region over fresh arguments of the given types; `body` answers what it returns by the operation `terminator`. */
  region(
    types: readonly TensorType[],
    body: (emitter: Emitter, given: readonly Ref[]) => readonly Ref[],
    terminator = 'stablehlo.return',
  ): string {
    const isOneDevice = terminator === 'sdy.return';
    const emitter = isOneDevice ? new Emitter(this.bindings, { outer: this }) : this.inner();
    const given = types.map((type) => ({ ...type, name: emitter.fresh() }));
    const results = body(emitter, given);
    const head = given.length ? `^bb0(${given.map((ref) => `${ref.name}: ${typeText(ref)}`).join(', ')}):\n` : '';
    emitter.lines.push(
      `"${terminator}"(${results.map((ref) => ref.name).join(', ')}) : (${results.map(typeText).join(', ')}) -> ()`,
    );
    return `{\n${head}${emitter.lines.join('\n')}\n}`;
  }

  /** A scalar constant. */
  scalar(dtype: DType, value: number): Ref {
    const text = elementText(dtype, value);
    const key = `${dtype} ${text}`;
    const known = this.scalars.get(key);
    if (known) return known;
    const ref = this.dense({ dtype, shape: [] }, text);
    this.scalars.set(key, ref);
    return ref;
  }

  /** Every element alike; spread by the device, so that no compiler writes all elements down. */
  filled(type: TensorType, value: number): Ref {
    const scalar = this.scalar(type.dtype, value);
    return type.shape.length
      ? this.one('stablehlo.broadcast_in_dim', [scalar], type, 'broadcast_dimensions = array<i64>')
      : scalar;
  }

  /** A constant of the host's elements, in HostArray's layout. */
  constant(type: TensorType, data: HostArray): Ref {
    const count = countOf(type.shape);
    if (count === 0) return this.dense(type, '');
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    // MLIR's own layouts of flags and of 4-bit integers differ between versions: those go through whole bytes.
    if (type.dtype === 'bool')
      return this.convert(this.dense({ ...type, dtype: 'uint8' }, `"0x${hex(bytes)}"`), 'bool');
    if (isFourBit(type.dtype)) {
      const signed = type.dtype === 'int4';
      const whole = unpackNibbles(bytes, count, signed);
      return this.convert(this.dense({ ...type, dtype: signed ? 'int8' : 'uint8' }, `"0x${hex(whole)}"`), type.dtype);
    }
    return this.dense(type, `"0x${hex(bytes)}"`);
  }

  private dense(type: TensorType, text: string): Ref {
    const name = this.fresh();
    this.lines.push(`${name} = stablehlo.constant dense<${text}> : ${typeText(type)}`);
    return { ...type, name };
  }

  convert(ref: Ref, dtype: DType): Ref {
    return ref.dtype === dtype ? ref : this.one('stablehlo.convert', [ref], { dtype, shape: ref.shape });
  }

  /** Over a mesh, keeps every dimension but these whole on each device. */
  wholeBut(ref: Ref, axes: readonly number[]): Ref {
    if (!this.mesh) return ref;
    const dimensions = ref.shape.map((_, dimension) => (axes.includes(dimension) ? '{?}' : '{}'));
    const sharding = `sharding = #sdy.sharding<@mesh, [${dimensions.join(', ')}]>`;
    return this.one('sdy.sharding_constraint', [ref], ref, sharding);
  }

  reshape(ref: Ref, shape: readonly number[]): Ref {
    return this.one('stablehlo.reshape', [ref], { dtype: ref.dtype, shape });
  }

  transpose(ref: Ref, permutation: readonly number[]): Ref {
    const shape = permutation.map((axis) => ref.shape[axis] ?? 1);
    return this.one(
      'stablehlo.transpose',
      [ref],
      { dtype: ref.dtype, shape },
      `permutation = ${integerArray(permutation)}`,
    );
  }
}
