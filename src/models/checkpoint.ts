// How a model's parameters lie in checkpoints of its architecture: under other names, as rows of one tensor with others or
// expert by expert. Knows no file format.
import type { Model } from '../liquid/index.ts';
import { countOf, LfmError } from '../tensor/index.ts';

/** Parts of a name, ours and theirs, each replaced once and in order. */
export type Names = readonly (readonly [ours: string | RegExp, theirs: string])[];

export interface Spelling {
  /** More than one where checkpoints of different years differ: the first whose tensors are there. */
  readonly names: readonly Names[];
  /** Parameters that are rows of one tensor, one after the other: [that tensor, of these], under our scope. */
  readonly fused?: readonly (readonly [whole: string, parts: readonly string[]])[];
  /** Tensors for another purpose, and what to call them. */
  readonly ignored?: readonly [names: RegExp, what: string];
}

interface StoredTensor {
  readonly shape: readonly number[];
  readonly byteLength: number;
}

/** A checkpoint, by its own names or by a model's. */
export interface Tensors {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readFloat32(name: string): Promise<Float32Array>;
}

export interface ParameterReader extends Tensors {
  /** The one tensor that a parameter is, as stored; undefined where it is made of parts. */
  whole(parameter: string): string | undefined;
  /** The matrix that a parameter is, or has its rows in: that tensor, and the first row; undefined for what lies otherwise. */
  rowsIn(parameter: string): { readonly tensor: string; readonly rows: number; readonly from: number } | undefined;
  /** A line about tensors that are left out; undefined where there are none. */
  readonly notice: string | undefined;
}

/** Elements [from, from + count) of a stored tensor, which is expected to have the shape. */
interface Run {
  readonly tensor: string;
  readonly shape: readonly number[];
  readonly from: number;
  readonly count: number;
}

/** What a parameter is made of, end to end. */
type Layout = readonly Run[];

/** Tensors of no use that old checkpoints hold. */
const derived = /\.rotary_emb\.inv_freq$/;

/**
 * The checkpoint by the model's names. Every parameter must be there in its shape, and every tensor must have a place: this is
 * found before anything is read. `name` is the model's, for messages.
 * Errors: `weights-mismatch`, naming the tensor, the shape expected and that found.
 */
export function readParameters(model: Model, spelling: Spelling, stored: Tensors, name: string): ParameterReader {
  const layouts = new Map<string, Layout>();
  for (const [parameter, { shape }] of Object.entries(model.parameters)) {
    const candidates = layoutsOf(parameter, shape, model, spelling);
    const [first = []] = candidates;
    const layout = candidates.find((runs) => runs.some(({ tensor }) => stored.tensors.has(tensor))) ?? first;
    for (const { tensor, shape: expected } of layout) {
      const found = stored.tensors.get(tensor)?.shape;
      if (found?.length === expected.length && expected.every((length, axis) => length === found[axis])) continue;
      const what = found ? `[${found.join(', ')}]` : 'none';
      throw new LfmError(
        'weights-mismatch',
        `${name}: config.json asks for the tensor ${tensor} of [${expected.join(', ')}]; found ${what} in the checkpoint.`,
      );
    }
    layouts.set(parameter, layout);
  }
  const notice = leftOut(layouts, spelling, stored, name);
  const bytesOf = ({ tensor, count, shape }: Run) =>
    Math.round(((stored.tensors.get(tensor)?.byteLength ?? 0) * count) / countOf(shape));
  const tensors = new Map(
    [...layouts].map(([parameter, layout]) => {
      const byteLength = layout.reduce((sum, run) => sum + bytesOf(run), 0);
      return [parameter, { shape: model.parameters[parameter]?.shape ?? [], byteLength }];
    }),
  );
  return {
    tensors,
    notice,
    whole(parameter) {
      const [run, ...more] = layouts.get(parameter) ?? [];
      return run && more.length === 0 && run.count === countOf(run.shape) ? run.tensor : undefined;
    },
    rowsIn(parameter) {
      const [run, ...more] = layouts.get(parameter) ?? [];
      const [rows = 0, columns = 0, ...deeper] = run?.shape ?? [];
      if (!run || more.length > 0 || columns === 0 || deeper.length > 0) return undefined;
      return { tensor: run.tensor, rows, from: run.from / columns };
    },
    readFloat32: (parameter) => joined(layouts.get(parameter) ?? [], stored),
  };
}

/** Reads a tensor once for all of its runs that stand together. */
async function joined(layout: Layout, stored: Tensors): Promise<Float32Array> {
  const count = layout.reduce((sum, run) => sum + run.count, 0);
  let last: { tensor: string; values: Float32Array } | undefined;
  let made: Float32Array | undefined;
  let at = 0;
  for (const { tensor, from, count: length } of layout) {
    if (last?.tensor !== tensor) last = { tensor, values: await stored.readFloat32(tensor) };
    if (length === count && last.values.length === count) return last.values;
    made ??= new Float32Array(count);
    made.set(last.values.subarray(from, from + length), at);
    at += length;
  }
  return made ?? new Float32Array();
}

/** A name of ours as theirs. */
export function spelt(name: string, list: Names): string {
  return list.reduce((found, [ours, theirs]) => found.replace(ours, theirs), name);
}

/** All ways that a checkpoint may hold a parameter. */
function layoutsOf(
  parameter: string,
  shape: readonly number[],
  model: Model,
  { names, fused = [] }: Spelling,
): readonly Layout[] {
  return names.flatMap((list): Layout[] => {
    const theirs = (name: string) => spelt(name, list);
    const whole = (name: string, size: readonly number[]): Run => ({
      tensor: theirs(name),
      shape: size,
      from: 0,
      count: countOf(size),
    });
    const rows = fused.flatMap(([into, parts]) => rowsOf(parameter, into, parts, model));
    const found: Layout[] = rows.map((run) => [{ ...run, tensor: theirs(run.tensor) }]);
    const expert = /^(.*\.experts\.)(w[123])\.weight$/.exec(parameter);
    if (expert) {
      const [, prefix = '', which = ''] = expert;
      const [count = 0, ...one] = shape;
      found.push(Array.from({ length: count }, (_, i) => whole(`${prefix}${i}.${which}.weight`, one)));
      found.push(packed(shape, which, (part) => theirs(`${prefix}${part}`)));
    }
    return [...found, [whole(parameter, shape)]];
  });
}

/** The parameter as rows of a tensor that holds its neighbours too; none where it is not among the parts. */
function rowsOf(parameter: string, into: string, parts: readonly string[], model: Model): Run[] {
  const index = parts.findIndex((part) => parameter.includes(`.${part}.`));
  const [own] = parts.slice(index, index + 1);
  if (own === undefined || index < 0) return [];
  const shapes = parts.map((part) => model.parameters[parameter.replace(`.${own}.`, `.${part}.`)]?.shape ?? []);
  const [, ...rest] = shapes[index] ?? [];
  const rowCount = (some: readonly (readonly number[])[]) => some.reduce((sum, [rows = 0]) => sum + rows, 0);
  const row = countOf(rest);
  return [
    {
      tensor: parameter.replace(`.${own}.`, `.${into}.`),
      shape: [rowCount(shapes), ...rest],
      from: rowCount(shapes.slice(0, index)) * row,
      count: (shapes[index]?.[0] ?? 0) * row,
    },
  ];
}

/** All experts in two tensors, as transformers 5 holds them: gate over up [E, 2F, D], and down [E, D, F]. */
function packed(
  [experts = 0, rows = 0, columns = 0]: readonly number[],
  which: string,
  named: (part: string) => string,
): Layout {
  const count = rows * columns;
  if (which === 'w2')
    return [{ tensor: named('down_proj'), shape: [experts, rows, columns], from: 0, count: experts * count }];
  const half = which === 'w1' ? 0 : 1;
  return Array.from({ length: experts }, (_, expert) => ({
    tensor: named('gate_up_proj'),
    shape: [experts, 2 * rows, columns],
    from: (2 * expert + half) * count,
    count,
  }));
}

/** A tensor without a place would be left out of what is computed: an error, but for those with another purpose. */
function leftOut(
  layouts: ReadonlyMap<string, Layout>,
  { names, ignored }: Spelling,
  { tensors }: Tensors,
  name: string,
): string | undefined {
  const used = new Set([...layouts.values()].flatMap((layout) => layout.map(({ tensor }) => tensor)));
  const head = 'lm_head.weight';
  // Stored again by some where it is the embedding.
  const heads = layouts.has(head) ? [] : names.map((list) => spelt(head, list));
  const free = [...tensors.keys()].filter((key) => !used.has(key) && !derived.test(key) && !heads.includes(key));
  const other = free.filter((key) => ignored?.[0].test(key));
  const unknown = free.find((key) => !other.includes(key));
  if (unknown !== undefined)
    throw new LfmError(
      'weights-mismatch',
      `${name}: config.json has no place for the tensor ${unknown} of [${tensors.get(unknown)?.shape.join(', ') ?? ''}] that the checkpoint holds.`,
    );
  if (!ignored || other.length === 0) return undefined;
  return `${name}: ${other.length} tensors of its ${ignored[1]} are left out: this is its language model alone.`;
}
