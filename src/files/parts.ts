// STEM.parts.json: where the parts of tensors lie that several devices wrote, each in a safetensors file of its own.
import * as z from 'zod';
import { LfmError } from '../tensor/error.ts';
import type { Part } from '../tensor/part.ts';
import { countOf } from '../tensor/shape.ts';
import type { StoredDType } from './safetensors.ts';
import { dtypeCodes, tensorBytes } from './safetensors.ts';

export const PARTS_VERSION = 1;

export interface StoredPart extends Part {
  /** A safetensors file beside the index, which holds the part under the tensor's name. */
  readonly file: string;
}

export interface PartedTensor {
  readonly name: string;
  readonly dtype: StoredDType;
  /** Of the whole tensor. */
  readonly shape: readonly number[];
  /** A regular grid: all of one size, and together the whole tensor. */
  readonly parts: readonly StoredPart[];
}

export interface PartsIndex {
  /** What the files of one writing share, and those of no other. */
  readonly id: string;
  readonly tensors: readonly PartedTensor[];
}

const counts = z.array(z.number().int().min(0).max(Number.MAX_SAFE_INTEGER)).max(32);

const schema = z.strictObject({
  format: z.literal('lfm-parts'),
  version: z.literal(PARTS_VERSION),
  id: z.string().min(1).max(128),
  tensors: z.array(
    z.strictObject({
      name: z.string().max(1024),
      dtype: z.enum(Object.keys(dtypeCodes) as [StoredDType, ...StoredDType[]]),
      shape: counts,
      parts: z
        .array(
          z.strictObject({ file: z.string().regex(/^\w[\w.-]{0,200}\.safetensors$/), starts: counts, sizes: counts }),
        )
        .min(1),
    }),
  ),
});

export function formatPartsIndex(index: PartsIndex): string {
  return `${JSON.stringify({ format: 'lfm-parts', version: PARTS_VERSION, ...index })}\n`;
}

/** Errors: `parts-version`; `parts-invalid`; `parts-grid`, `parts-overlap`, `parts-hole` for parts that do not make up their tensor. */
export function parsePartsIndex(value: Readonly<Record<string, unknown>>, path: string): PartsIndex {
  const { version } = value;
  if (value['format'] === 'lfm-parts' && typeof version === 'number' && version > PARTS_VERSION)
    throw new LfmError(
      'parts-version',
      `${path} has version ${version}; this program reads up to ${PARTS_VERSION}: update lfm.`,
    );
  const { data, error } = schema.safeParse(value);
  if (!data) {
    const [issue] = error.issues;
    throw new LfmError(
      'parts-invalid',
      `${path}: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'not an index'}.`,
      {
        cause: error,
      },
    );
  }
  const names = new Set<string>();
  for (const tensor of data.tensors) {
    if (names.has(tensor.name))
      throw new LfmError('parts-invalid', `${path}: tensor ${JSON.stringify(tensor.name)} stands twice.`);
    names.add(tensor.name);
    checkGrid(tensor, path);
  }
  return data;
}

function checkGrid({ name, dtype, shape, parts }: PartedTensor, path: string): void {
  const fail = (rule: string, what: string) =>
    new LfmError(`parts-${rule}`, `${path}: tensor ${JSON.stringify(name)} of [${shape.join(', ')}]: ${what}.`);
  if (tensorBytes(dtype, shape) === undefined) throw fail('invalid', 'it is too large');
  const sizes = parts[0]?.sizes ?? [];
  // A dimension of size 0 is one cell.
  const cells = shape.map((size, i) => (size === 0 ? 1 : size / (sizes[i] ?? 0)));
  if (sizes.length !== shape.length || !cells.every(Number.isSafeInteger))
    throw fail('grid', `parts of [${sizes.join(', ')}] do not divide it`);
  const seen = new Set<number>();
  for (const { starts, sizes: own, file } of parts) {
    const cell = starts.map((start, i) => (start === 0 ? 0 : start / (sizes[i] ?? 0)));
    const fits = own.join() === sizes.join() && cell.length === shape.length;
    if (!fits || !cell.every((at, i) => Number.isSafeInteger(at) && at < (cells[i] ?? 0)))
      throw fail('grid', `its part [${own.join(', ')}] at [${starts.join(', ')}] in ${file} is not one of equal ones`);
    const place = cell.reduce((at, digit, i) => at * (cells[i] ?? 1) + digit, 0);
    if (seen.has(place)) throw fail('overlap', `two parts lie at [${starts.join(', ')}]`);
    seen.add(place);
  }
  const missing = countOf(cells) - seen.size;
  if (missing > 0) throw fail('hole', `${missing} of its ${countOf(cells)} parts are named nowhere`);
}
