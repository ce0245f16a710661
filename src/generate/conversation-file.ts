// A conversation as bytes: a mark, a version, a header in JSON, arrays one after another, and a SHA-256 of all before it.
import * as z from 'zod';
import type { Model } from '../liquid/index.ts';
import { keepsLatest, stateTypes } from '../liquid/index.ts';
import { byteLength, countOf, LfmError, viewHostArray } from '../tensor/index.ts';
import { joined, sha256 } from './digest.ts';
import type { SavedArray, SavedPrefix } from './prefix-cache.ts';
import { kindsOf, rowAxis } from './state.ts';

/** A question and its answer. */
export interface Turn {
  readonly user: string;
  readonly answer: string;
  /** All that the model had seen and said by its end. */
  readonly tokens: readonly number[];
  /** Whether the tokens say just what the answer says: none was cut off, as before a stop string. */
  readonly isExact: boolean;
}

export interface SavedConversation {
  /** The model's fingerprint, and its name for people. */
  readonly model: string;
  readonly name: string;
  readonly system: string | undefined;
  readonly turns: readonly Turn[];
  /** What the cache held of the last turn's tokens. */
  readonly state: SavedPrefix | undefined;
}

const MARK = new TextEncoder().encode('lfm-talk');
/** Version 1 kept windows in the order of their tokens: a state with such is not read, and its text is computed again. */
const VERSION = 2;
/** Mark, version, and the header's length. */
const FRONT = MARK.length + 8;
const DIGEST = 32;

const arraySchema = z.object({
  name: z.string(),
  dtype: z.enum(['float32', 'float16', 'bfloat16', 'int8']),
  shape: z.array(z.number().int().min(0)).max(8),
  /** Tokens at a snapshot; absent for rows. */
  position: z.number().int().min(1).optional(),
});

const headerSchema = z.object({
  model: z.string(),
  name: z.string(),
  system: z.string().optional(),
  turns: z.array(
    z.object({ user: z.string(), answer: z.string(), tokens: z.array(z.number().int().min(0)), isExact: z.boolean() }),
  ),
  length: z.number().int().min(0),
  arrays: z.array(arraySchema),
});

export async function encodeConversation(saved: SavedConversation): Promise<Uint8Array> {
  const { state, ...rest } = saved;
  const entries = (arrays: Readonly<Record<string, SavedArray>>, position?: number) =>
    Object.entries(arrays).map(([name, array]) => ({ name, position, ...array }));
  const all = state
    ? [...entries(state.rows), ...state.snapshots.flatMap(({ position, arrays }) => entries(arrays, position))]
    : [];
  const arrays = all.map(({ name, dtype, shape, position }) => ({ name, dtype, shape, position }));
  const header = new TextEncoder().encode(JSON.stringify({ ...rest, length: state?.length ?? 0, arrays }));
  const numbers = new DataView(new ArrayBuffer(8));
  numbers.setUint32(0, VERSION, true);
  numbers.setUint32(4, header.length, true);
  const data = all.map(
    ({ data: { buffer, byteOffset, byteLength: size } }) => new Uint8Array(buffer, byteOffset, size),
  );
  const body = joined([MARK, new Uint8Array(numbers.buffer), header, ...data]);
  return joined([body, await sha256(body)]);
}

function bad(why: string): LfmError {
  return new LfmError(
    'bad-conversation',
    `This is not a whole conversation file: ${why}. Save it anew, or begin afresh.`,
  );
}

/**
 * The conversation in some bytes, for a model known by its fingerprint and name.
 * Errors: `bad-conversation`, `newer-conversation`, `wrong-model`.
 */
export async function decodeConversation(
  given: Uint8Array,
  definition: Model,
  { model, name }: { readonly model: string; readonly name: string },
): Promise<SavedConversation> {
  // A copy of its own, whatever array it came in: Node's Buffers lie within larger ones.
  const bytes = new Uint8Array(given);
  if (bytes.length < FRONT + DIGEST || MARK.some((byte, i) => bytes[i] !== byte)) throw bad('it begins otherwise');
  const view = new DataView(bytes.buffer);
  const version = view.getUint32(MARK.length, true);
  if (version > VERSION)
    throw new LfmError(
      'newer-conversation',
      `The conversation file has version ${version}; this lfm reads up to ${VERSION}: use a newer one.`,
    );
  const end = bytes.length - DIGEST;
  const found = await sha256(bytes.slice(0, end));
  if (found.some((byte, i) => byte !== bytes[end + i])) throw bad('its sum is wrong, so it was cut short or changed');
  const headerEnd = FRONT + view.getUint32(MARK.length + 4, true);
  if (headerEnd > end) throw bad('its header reaches past its end');
  const header = parseHeader(bytes.slice(FRONT, headerEnd));
  checkTypes(definition, header.arrays);
  if (header.model !== model)
    throw new LfmError(
      'wrong-model',
      `The conversation was held with ${header.name}, other weights than those of ${name}: load that model to go on.`,
    );
  const { arrays, length, turns, system } = header;
  const { classes } = definition.head;
  const tokens = turns.at(-1)?.tokens ?? [];
  if (turns.some((turn) => turn.tokens.some((id) => id >= classes))) throw bad('it has tokens that the model has not');
  if (length > tokens.length) throw bad('its state has more tokens than its text');
  const rows: Record<string, SavedArray> = {};
  const snapshots = new Map<number, Record<string, SavedArray>>();
  let at = headerEnd;
  for (const { name: key, dtype, shape, position } of arrays) {
    const count = countOf(shape);
    const size = byteLength(dtype, count);
    if (!Number.isSafeInteger(count) || at + size > end) throw bad('its arrays reach past its end');
    // Copied, so that elements lie where their type wants them.
    const data = viewHostArray(dtype, bytes.slice(at, at + size).buffer, 0, count);
    at += size;
    if (position !== undefined && position > length) throw bad('a snapshot lies past its state');
    const into = position === undefined ? rows : (snapshots.get(position) ?? {});
    if (position !== undefined) snapshots.set(position, into);
    into[key] = { dtype, shape, data };
  }
  if (at !== end) throw bad('it has bytes that nothing names');
  const isKept = length > 0 && (version > 1 || !Object.values(definition.states).some(keepsLatest));
  if (isKept) checkArrays(definition, length, rows, snapshots);
  const state = { length, rows, snapshots: [...snapshots].map(([position, of]) => ({ position, arrays: of })) };
  return { model, name: header.name, system, turns, state: isKept ? state : undefined };
}

function parseHeader(bytes: Uint8Array): z.infer<typeof headerSchema> {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw bad('its header is not JSON');
  }
  const parsed = headerSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw bad(`its header: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'unreadable'}`);
}

/** Errors: `wrong-model` for states that are held in another element type. */
function checkTypes(model: Model, arrays: z.infer<typeof headerSchema>['arrays']): void {
  const types = stateTypes(model, { batch: 1, capacity: model.contextLength });
  for (const { name, dtype } of arrays) {
    const expected = types[name.replace(/^state\./, '')]?.dtype;
    if (expected !== undefined && expected !== dtype)
      throw new LfmError(
        'wrong-model',
        `The conversation holds keys and values as ${dtype}, this model as ${expected}: load it with keyValueDtype: '${dtype}', in the numeric mode that the conversation was held in.`,
      );
  }
}

/** Every state of the model must be there in its shape; a window may have been smaller. */
function checkArrays(
  model: Model,
  length: number,
  rows: Readonly<Record<string, SavedArray>>,
  snapshots: ReadonlyMap<number, Readonly<Record<string, SavedArray>>>,
): void {
  const types = stateTypes(model, { batch: 1, capacity: length });
  const full = stateTypes(model, { batch: 1, capacity: Math.max(length, model.contextLength) });
  const { growing, fixed } = kindsOf(model);
  const check = (arrays: Readonly<Record<string, SavedArray>>, names: readonly string[], rowsMay: boolean) => {
    if (Object.keys(arrays).length !== names.length) throw bad('its states are not those of the model');
    for (const name of names) {
      const shape = arrays[`state.${name}`]?.shape;
      const expected = (rowsMay ? full : types)[name]?.shape ?? [];
      const isWindow = rowsMay && model.states[name]?.kind === 'window';
      const fits = expected.every((size, axis) => {
        const has = shape?.[axis] ?? -1;
        return isWindow && axis === rowAxis({ shape: expected }) ? has > 0 && has <= Number(size) : has === size;
      });
      if (shape?.length !== expected.length || !fits) throw bad(`its state ${name} has another shape than the model's`);
    }
  };
  check(rows, growing, false);
  for (const arrays of snapshots.values()) check(arrays, fixed, true);
}
