// Builds ONNX models and encodes them as protobuf (onnx.proto, IR version 11): all that a lowering writes, and no more.
// It checks names and byte counts; what the operators mean is left to the runtime that loads the model.

import { byteLength, type DType } from '../../tensor/dtype.ts';
import { LfmError } from '../../tensor/error.ts';
import { ReverseWriter } from './wire.ts';

const irVersion = 11;
const opsets: readonly (readonly [domain: string, version: number])[] = [
  ['', 23],
  ['com.microsoft', 1],
];
const protobufLimit = 2 ** 31 - 1;

/** TensorProto.DataType, which the runtime's element types share. */
export const elementTypes: Readonly<Record<DType, number>> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
  uint32: 12,
  bfloat16: 16,
  uint4: 21,
  int4: 22,
};

/** A size known now, or the name of one known when the model runs. */
export type Dimension = number | string;

/** A constant tensor; `data` is raw little-endian memory, 4-bit types two elements a byte, low half first. */
export interface TensorData {
  readonly dtype: DType;
  readonly dims: readonly number[];
  readonly data: ArrayBufferView;
}

/** An attribute's kind is always spelt out: 1 the integer and 1.0 the float are different attributes. */
export type Attribute =
  | { readonly int: number | bigint }
  | { readonly float: number }
  | { readonly string: string }
  | { readonly ints: readonly (number | bigint)[] }
  | { readonly floats: readonly number[] }
  | { readonly strings: readonly string[] }
  | { readonly tensor: TensorData }
  | { readonly graph: GraphBuilder };

export interface NodeOptions {
  readonly attributes?: Readonly<Record<string, Attribute>>;
  /** Operator set: '' (ONNX's own, the default) or 'com.microsoft'. */
  readonly domain?: string;
}

export interface Node {
  readonly opType: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: readonly (readonly [string, Attribute])[];
}

interface ValueInfo {
  readonly name: string;
  readonly dtype: DType;
  readonly dims: readonly Dimension[];
}

/** Where a tensor's bytes stand in a file beside the model's. */
export interface ExternalData {
  readonly location: string;
  readonly offset: number;
  readonly length: number;
  /** Where layouts of a kernel's own stand there, as ONNX Runtime says it. */
  readonly [layout: `prepacked_${number}`]: string;
}

interface Initializer {
  readonly name: string;
  readonly dtype: DType;
  readonly dims: readonly number[];
  /** Absent: the session is given the memory when it is created. */
  readonly data: Uint8Array | ExternalData | undefined;
}

/** A graph under construction. Nodes must be added in an order that defines every name before its use. */
export class GraphBuilder {
  readonly name: string;
  readonly inputs: ValueInfo[] = [];
  readonly outputs: ValueInfo[] = [];
  readonly valueInfos: ValueInfo[] = [];
  readonly initializers: Initializer[] = [];
  readonly nodes: Node[] = [];
  readonly #outer: GraphBuilder | undefined;
  readonly #names = new Set<string>();
  readonly #counter: { next: number };

  constructor(name = 'main', outer?: GraphBuilder) {
    this.name = name;
    this.#outer = outer;
    this.#counter = outer ? outer.#counter : { next: 0 };
  }

  /**
   * A graph for an attribute of Loop, If or Scan. It may use this graph's names, and its generated names never clash
   * with them. Pass it as `{ graph }` once it is complete.
   */
  subgraph(name = 'body'): GraphBuilder {
    return new GraphBuilder(name, this);
  }

  /** Declares a graph input and returns its name. */
  input(name: string, dtype: DType, dims: readonly Dimension[]): string {
    this.inputs.push(describe(name, dtype, dims));
    return this.#define(name);
  }

  /** Declares that `name`, which something in the graph defines, is a graph output. */
  output(name: string, dtype: DType, dims: readonly Dimension[]): string {
    this.outputs.push(describe(name, dtype, dims));
    return name;
  }

  /** States the type of an inner value, for runtimes that cannot infer it. */
  valueInfo(name: string, dtype: DType, dims: readonly Dimension[]): string {
    this.valueInfos.push(describe(name, dtype, dims));
    return name;
  }

  /**
   * A constant held in the model: `data` is raw little-endian memory and is read when the model is encoded.
   * Without `data` the model only names it, and the session must be given its memory (see SessionOptions.initializers):
   * the way for large weights, which are then neither copied nor bound by protobuf's 2 GB. `ExternalData` says in which file
   * the runtime finds them itself.
   */
  initializer(name: string, dtype: DType, dims: readonly number[], data?: ArrayBufferView | ExternalData): string {
    checkDims(name, dims);
    const bytes = data && 'buffer' in data ? rawBytes(name, { dtype, dims, data }) : data;
    this.initializers.push({ name, dtype, dims, data: bytes });
    return this.#define(name);
  }

  /** Says of initializers without data where in a file they stand. */
  placeInitializers(placeOf: (name: string, byteLength: number) => ExternalData): void {
    const placed = this.initializers.map((one) => {
      const length = byteLength(
        one.dtype,
        one.dims.reduce((product, dim) => product * dim, 1),
      );
      return one.data ? one : { ...one, data: placeOf(one.name, length) };
    });
    this.initializers.splice(0, this.initializers.length, ...placed);
  }

  /** Leaves out the initializers that `isWanted` denies: nothing may read them. */
  keepInitializers(isWanted: (name: string) => boolean): void {
    const wanted = this.initializers.filter(({ name }) => isWanted(name));
    this.initializers.splice(0, this.initializers.length, ...wanted);
  }

  /** The same of inputs. */
  keepInputs(isWanted: (name: string) => boolean): void {
    this.inputs.splice(0, this.inputs.length, ...this.inputs.filter(({ name }) => isWanted(name)));
  }

  /**
   * Adds a node and returns its output's name, or its outputs' names where `outputs` asks for several (a count, or
   * names to use). The empty name stands for an optional input or output left out.
   */
  node(opType: string, inputs: readonly string[], options?: NodeOptions & { readonly outputs?: string }): string;
  node(
    opType: string,
    inputs: readonly string[],
    options: NodeOptions & { readonly outputs: number | readonly string[] },
  ): string[];
  node(
    opType: string,
    inputs: readonly string[],
    options: NodeOptions & { readonly outputs?: string | number | readonly string[] } = {},
  ): string | string[] {
    const { attributes = {}, domain = '', outputs = 1 } = options;
    let names: string[];
    if (typeof outputs === 'number') {
      names = Array.from({ length: outputs }, () => this.#fresh());
    } else {
      names = typeof outputs === 'string' ? [outputs] : [...outputs];
      for (const name of names) if (name !== '') this.#define(name);
    }
    this.nodes.push({ opType, domain, inputs: [...inputs], outputs: names, attributes: Object.entries(attributes) });
    const several = options.outputs !== undefined && typeof outputs !== 'string';
    return several ? names : (names[0] ?? '');
  }

  #fresh(): string {
    for (;;) {
      const name = `v${this.#counter.next++}`;
      if (!this.#has(name)) return this.#define(name);
    }
  }

  #has(name: string): boolean {
    return this.#names.has(name) || (this.#outer !== undefined && this.#outer.#has(name));
  }

  #define(name: string): string {
    if (name === '') throw new LfmError('onnx-name', `Expected a name for a value of graph '${this.name}', found ''.`);
    if (this.#has(name)) {
      throw new LfmError(
        'onnx-name',
        `Expected each value to be defined once, but graph '${this.name}' has two '${name}'.`,
      );
    }
    this.#names.add(name);
    return name;
  }
}

/**
 * The bytes of an ONNX ModelProto (IR version 11; operator sets 23 and com.microsoft 1), with `metadata` for who reads it.
 * @throws LfmError onnx-model-size when they would pass protobuf's 2 GB
 */
export function encodeModel(
  graph: GraphBuilder,
  metadata: Readonly<Record<string, string>> = {},
  places: ReadonlyMap<string, ExternalData> = new Map(),
): Uint8Array<ArrayBuffer> {
  const size = estimateSize(graph);
  if (size > protobufLimit) {
    const found = `found at least ${size} bytes; give large initializers to the session instead of the model`;
    throw new LfmError('onnx-model-size', `Expected a model of at most ${protobufLimit} bytes, ${found}.`);
  }
  const w = new ReverseWriter(size);
  for (const [key, value] of Object.entries(metadata).toReversed()) w.message(14, () => writePair(w, key, value));
  for (const [domain, version] of opsets.toReversed()) {
    w.message(8, () => {
      w.integer(2, version);
      w.string(1, domain);
    });
  }
  w.message(7, () => writeGraph(w, graph, places));
  w.string(2, 'lfm');
  w.integer(1, irVersion);
  return w.finish();
}

/** A little more than the model takes for typical names, so that encoding rarely has to grow its buffer. */
function estimateSize(graph: GraphBuilder): number {
  let size = 4096;
  for (const { data } of graph.initializers) size += 256 + (data instanceof Uint8Array ? data.byteLength : 0);
  for (const { inputs, outputs, attributes } of graph.nodes) {
    size += 64 + 16 * (inputs.length + outputs.length) + 64 * attributes.length;
    for (const [, attribute] of attributes) {
      if ('tensor' in attribute) size += attribute.tensor.data.byteLength;
      if ('graph' in attribute) size += estimateSize(attribute.graph);
    }
  }
  return size + 64 * (graph.inputs.length + graph.outputs.length + graph.valueInfos.length);
}

function writeGraph(
  w: ReverseWriter,
  graph: GraphBuilder,
  places: ReadonlyMap<string, ExternalData> = new Map(),
): void {
  for (const info of graph.valueInfos.toReversed()) writeValueInfo(w, 13, info);
  for (const info of graph.outputs.toReversed()) writeValueInfo(w, 12, info);
  for (const info of graph.inputs.toReversed()) writeValueInfo(w, 11, info);
  for (const { name, dtype, dims, data } of graph.initializers.toReversed()) {
    w.message(5, () => writeTensor(w, name, dtype, dims, data ?? places.get(name)));
  }
  w.string(2, graph.name);
  for (const node of graph.nodes.toReversed()) w.message(1, () => writeNode(w, node));
}

function writeNode(w: ReverseWriter, { opType, domain, inputs, outputs, attributes }: Node): void {
  if (domain) w.string(7, domain);
  for (const [name, attribute] of attributes.toReversed()) w.message(5, () => writeAttribute(w, name, attribute));
  w.string(4, opType);
  // The first output's name is unique, so it also names the node in profiles and in the runtime's messages.
  w.string(3, outputs.find((name) => name !== '') ?? '');
  for (const name of outputs.toReversed()) w.string(2, name);
  for (const name of inputs.toReversed()) w.string(1, name);
}

function writeAttribute(w: ReverseWriter, name: string, attribute: Attribute): void {
  const kind = (type: number) => w.integer(20, type);
  if ('int' in attribute) {
    kind(2);
    w.integer(3, wholeNumber(name, attribute.int));
  } else if ('float' in attribute) {
    kind(1);
    w.float(2, attribute.float);
  } else if ('string' in attribute) {
    kind(3);
    w.string(4, attribute.string);
  } else if ('ints' in attribute) {
    kind(7);
    w.integers(
      8,
      attribute.ints.map((value) => wholeNumber(name, value)),
    );
  } else if ('floats' in attribute) {
    kind(6);
    w.floats(7, attribute.floats);
  } else if ('strings' in attribute) {
    kind(8);
    for (const text of attribute.strings.toReversed()) w.string(9, text);
  } else if ('tensor' in attribute) {
    const { tensor } = attribute;
    kind(4);
    w.message(5, () => writeTensor(w, '', tensor.dtype, tensor.dims, rawBytes(name, tensor)));
  } else {
    const { graph } = attribute;
    kind(5);
    w.message(6, () => writeGraph(w, graph));
  }
  w.string(1, name);
}

function writeTensor(
  w: ReverseWriter,
  name: string,
  dtype: DType,
  dims: readonly number[],
  data: Initializer['data'],
): void {
  if (data instanceof Uint8Array) {
    w.bytes(9, data);
  } else {
    w.integer(14, 1);
    // The runtime wants a file's name even where the session supplies the memory, and repeats it if the session does not.
    const { location, ...place } = data ?? { location: 'memory given to the session' };
    for (const [key, value] of Object.entries(place)) w.message(13, () => writePair(w, key, String(value)));
    w.message(13, () => writePair(w, 'location', location));
  }
  if (name) w.string(8, name);
  w.integer(2, elementTypes[dtype]);
  w.integers(1, dims);
}

function writePair(w: ReverseWriter, key: string, value: string): void {
  w.string(2, value);
  w.string(1, key);
}

function writeValueInfo(w: ReverseWriter, field: number, { name, dtype, dims }: ValueInfo): void {
  const shape = () => {
    for (const dim of dims.toReversed()) {
      w.message(1, () => (typeof dim === 'number' ? w.integer(1, dim) : w.string(2, dim)));
    }
  };
  const tensorType = () => {
    w.message(2, shape);
    w.integer(1, elementTypes[dtype]);
  };
  w.message(field, () => {
    w.message(2, () => w.message(1, tensorType));
    w.string(1, name);
  });
}

function describe(name: string, dtype: DType, dims: readonly Dimension[]): ValueInfo {
  checkDims(name, dims);
  return { name, dtype, dims: [...dims] };
}

function checkDims(name: string, dims: readonly Dimension[]): void {
  const wrong = dims.find((dim) => (typeof dim === 'number' ? !Number.isSafeInteger(dim) || dim < 0 : dim === ''));
  if (wrong !== undefined) {
    throw new LfmError('onnx-shape', `Expected the sizes of '${name}' to be counts or names, found ${wrong || "''"}.`);
  }
}

function wholeNumber(name: string, value: number | bigint): number | bigint {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    throw new LfmError(
      'onnx-attribute',
      `Expected an integer for attribute '${name}', found ${value}; use float for it.`,
    );
  }
  return value;
}

function rawBytes(name: string, { dtype, dims, data }: TensorData): Uint8Array {
  const expected = byteLength(
    dtype,
    dims.reduce((product, dim) => product * dim, 1),
  );
  if (data.byteLength !== expected) {
    const found = `found ${data.byteLength}`;
    throw new LfmError('onnx-tensor-size', `Expected ${expected} bytes for ${dtype}[${dims}] '${name}', ${found}.`);
  }
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
