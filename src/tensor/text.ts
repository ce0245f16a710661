// Programs as text: printed for people, parsed back, and hashed.
import type { DType, HostArray } from './dtype.ts';
import { isDType } from './dtype.ts';
import { LfmError } from './error.ts';
import type { Attribute, Attributes, Operation, Port, Program, Value } from './program.ts';

function typeText({ dtype, shape }: Pick<Value, 'dtype' | 'shape'>): string {
  return `${dtype}[${shape.join(', ')}]`;
}

/** Typed arrays travel as {"bytes": base64, "as": constructor}; other non-JSON numbers as {"number": text}. */
function attributeJson(attribute: Attribute): unknown {
  if (ArrayBuffer.isView(attribute)) {
    const bytes = new Uint8Array(attribute.buffer, attribute.byteOffset, attribute.byteLength);
    let binary = '';
    for (let i = 0; i < bytes.length; i += 8192) binary += String.fromCharCode(...bytes.subarray(i, i + 8192));
    return { as: attribute.constructor.name, bytes: btoa(binary) };
  }
  if (Array.isArray(attribute)) return attribute.map(attributeJson);
  if (typeof attribute === 'number' && (!Number.isFinite(attribute) || Object.is(attribute, -0))) {
    return { number: Object.is(attribute, -0) ? '-0' : String(attribute) };
  }
  return attribute;
}

function operationText(operation: Operation, indent: string): string {
  const { kind, operands, results, attributes } = operation;
  const json = JSON.stringify(
    Object.fromEntries(Object.entries(attributes).map(([key, value]) => [key, attributeJson(value)])),
  );
  const left = results.map((result) => `%${result.id}: ${typeText(result)}`).join(', ');
  const right = `${kind}(${operands.map((operand) => `%${operand.id}`).join(', ')})${json === '{}' ? '' : ` ${json}`}`;
  const bodies = operation.regions.flatMap((region) => programLines(region, `${indent}  `));
  return [`${indent}${left} = ${right}`, ...bodies].join('\n');
}

function programLines(program: Program, indent: string): string[] {
  const ports = (list: readonly Port[]) =>
    list.map(({ name, value }) => `${JSON.stringify(name)} %${value.id}: ${typeText(value)}`).join(', ');
  const donations = Object.keys(program.donations).length ? ` donate ${JSON.stringify(program.donations)}` : '';
  return [
    `${indent}program ${JSON.stringify(program.name)}(${ports(program.inputs)})${donations} {`,
    ...program.operations.map((operation) => operationText(operation, `${indent}  `)),
    `${indent}  return ${program.outputs.map(({ name, value }) => `${JSON.stringify(name)} %${value.id}`).join(', ')}`,
    `${indent}}`,
  ];
}

/** One operation a line; regions follow the operation that owns them, indented. */
export function printProgram(program: Program): string {
  return `${programLines(program, '').join('\n')}\n`;
}

/** 64 hexadecimal digits of the program's text without its name: equal programs hash equally in every run. */
export async function hashProgram(program: Program): Promise<string> {
  return hashText(printProgram(renumbered({ ...program, name: '' })));
}

/** SHA-256 of a text, in hexadecimal digits. */
export async function hashText(text: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Values numbered in order of appearance, so that dropped operations leave no trace. */
function renumbered(program: Program): Program {
  const map = new Map<Value, Value>();
  const of = (value: Value): Value => {
    const known = map.get(value);
    if (known) return known;
    const fresh = { ...value, id: map.size };
    map.set(value, fresh);
    return fresh;
  };
  const ports = (list: readonly Port[]) => list.map(({ name, value }) => ({ name, value: of(value) }));
  return {
    ...program,
    inputs: ports(program.inputs),
    operations: program.operations.map((operation) => ({
      ...operation,
      operands: operation.operands.map(of),
      results: operation.results.map(of),
      regions: operation.regions.map(renumbered),
    })),
    outputs: ports(program.outputs),
  };
}

const arrays = {
  Float64Array,
  Float32Array,
  BigInt64Array,
  Int32Array,
  Int16Array,
  Int8Array,
  Uint32Array,
  Uint16Array,
  Uint8Array,
};

function parseAttribute(json: unknown, line: number): Attribute {
  if (json === null || typeof json === 'boolean' || typeof json === 'number' || typeof json === 'string') return json;
  if (Array.isArray(json)) return json.map((entry) => parseAttribute(entry, line));
  if (typeof json === 'object' && 'number' in json) return Number(json.number);
  if (typeof json === 'object' && 'as' in json && 'bytes' in json && typeof json.bytes === 'string') {
    const Constructor = Object.entries(arrays).find(([name]) => name === json.as)?.[1];
    if (Constructor)
      return new Constructor(Uint8Array.from(atob(json.bytes), (c) => c.charCodeAt(0)).buffer) satisfies HostArray;
  }
  throw parseError(line, 'an attribute of numbers, text, flags, lists or typed arrays');
}

function parseError(line: number, expected: string, cause?: unknown): LfmError {
  return new LfmError(
    'bad-program-text',
    `Line ${line + 1} of the program text is not what was expected: ${expected}.`,
    { cause },
  );
}

class Parser {
  private readonly lines: string[];
  /** The line being read. */
  at = 0;

  constructor(text: string) {
    this.lines = text.split('\n');
  }

  private type(text: string): { dtype: DType; shape: (number | string)[] } {
    const match = /^(\w+)\[(.*)\]$/.exec(text.trim());
    const dtype = match?.[1] ?? '';
    if (!match || !isDType(dtype)) throw parseError(this.at, `a type such as float32[2, T], found "${text}"`);
    const inner = match[2] ?? '';
    const shape = inner === '' ? [] : inner.split(', ').map((dim) => (/^-?\d+$/.test(dim) ? Number(dim) : dim));
    return { dtype, shape };
  }

  program(): Program {
    const head = /^\s*program ("(?:[^"\\]|\\.)*")\((.*)\)(?: donate (\{.*\}))? \{$/.exec(this.lines[this.at] ?? '');
    if (!head) throw parseError(this.at, 'program "name"(inputs) {');
    const values = new Map<number, Value>();
    const define = (id: string, type: string): Value => {
      const value = { id: Number(id), ...this.type(type) };
      values.set(value.id, value);
      return value;
    };
    const read = (id: string): Value => {
      const value = values.get(Number(id));
      if (!value) throw parseError(this.at, `%${id} to be defined before it is used`);
      return value;
    };
    const inputs = [...(head[2] ?? '').matchAll(/("(?:[^"\\]|\\.)*") %(\d+): (\w+\[[^\]]*\])/g)].map(
      ([, name = '""', id = '', type = '']): Port => ({ name: String(JSON.parse(name)), value: define(id, type) }),
    );
    const donations = head[3] ? (JSON.parse(head[3]) as Record<string, string>) : {};
    const operations: Operation[] = [];
    for (this.at++; ; this.at++) {
      const line = (this.lines[this.at] ?? '').trim();
      if (line.startsWith('return')) break;
      const match = /^(.*) = (\w+)\(([^)]*)\)(?: (\{.*\}))?$/.exec(line);
      if (!match) throw parseError(this.at, '%1: type = operation(%0) {attributes}');
      const operands = [...(match[3] ?? '').matchAll(/%(\d+)/g)].map(([, id = '']) => read(id));
      const results = [...(match[1] ?? '').matchAll(/%(\d+): (\w+\[[^\]]*\])/g)].map(([, id = '', type = '']) =>
        define(id, type),
      );
      const json: Record<string, unknown> = match[4] ? (JSON.parse(match[4]) as Record<string, unknown>) : {};
      const attributes: Attributes = Object.fromEntries(
        Object.entries(json).map(([k, v]) => [k, parseAttribute(v, this.at)]),
      );
      const regions: Program[] = [];
      while ((this.lines[this.at + 1] ?? '').trimStart().startsWith('program ')) {
        this.at++;
        regions.push(this.program());
      }
      operations.push({ kind: match[2] ?? '', operands, results, attributes, regions });
    }
    const outputs = [...(this.lines[this.at] ?? '').matchAll(/("(?:[^"\\]|\\.)*") %(\d+)/g)].map(
      ([, name = '""', id = '']): Port => ({ name: String(JSON.parse(name)), value: read(id) }),
    );
    this.at++;
    if ((this.lines[this.at] ?? '').trim() !== '}') throw parseError(this.at, '}');
    return { name: String(JSON.parse(head[1] ?? '""')), inputs, operations, outputs, donations };
  }
}

/** The inverse of printProgram. Errors: `bad-program-text` with the line. */
export function parseProgram(text: string): Program {
  const parser = new Parser(text);
  try {
    return parser.program();
  } catch (cause) {
    if (cause instanceof LfmError) throw cause;
    throw parseError(parser.at, `JSON and base64 that can be read (${String(cause)})`, cause);
  }
}
