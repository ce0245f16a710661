// What an operator remembers between tokens: how it grows, and the buffers that hold it.
import type { Dim, DType } from '../tensor/index.ts';
import { LfmError } from '../tensor/index.ts';

/** `fixed`: the same size at any length; `rows`: a row more with each token; `window`: the same up to `size` rows. */
export type StateDeclaration =
  | { readonly kind: 'fixed'; readonly shape: readonly number[]; readonly ring?: true }
  | RowsDeclaration
  | { readonly kind: 'window'; readonly shape: readonly number[]; readonly size: number };

export interface RowsDeclaration {
  readonly kind: 'rows';
  readonly shape: readonly number[];
  /**
   * There where the operator takes them as int8 too, with their scales beside them as `NAMEScales`: how many features, at the front of
   * the last axis, positions turn in pairs that stand half as many apart.
   */
  readonly turned?: number;
  /** Of a row's elements, where they are held as int8: see `withScaledRows`. */
  readonly scales?: Float32Array;
}

/** A tail, a vector or a matrix; its buffer is [B, ...shape]. */
export function fixed(shape: readonly number[]): StateDeclaration {
  return { kind: 'fixed', shape };
}

/** Rows of the latest tokens, the newest in the oldest's place: a step of one token is another program than one of many. */
export function ring(shape: readonly number[]): StateDeclaration {
  return { kind: 'fixed', shape, ring: true };
}

/** Whether a step of one token is worth a program of its own. */
export function keepsLatest(state: StateDeclaration): boolean {
  return state.kind === 'window' || (state.kind === 'fixed' && state.ring === true);
}

/** A row a token. For rows of shape [..., D] the buffer is [B, ..., capacity, D], filled from the front. */
export function rows(shape: readonly number[], options: Pick<RowsDeclaration, 'turned'> = {}): StateDeclaration {
  return { kind: 'rows', shape, ...options };
}

/** Element type of a state's buffer in a model that computes in `dtype`. */
export function stateDtype(state: StateDeclaration, dtype: DType): DType {
  return state.kind === 'rows' && state.scales ? 'int8' : dtype;
}

/** At most `size` rows, filled from the front while they are fewer, then kept as the operator likes; the buffer is [B, ..., size, D]. */
export function window(shape: readonly number[], size: number): StateDeclaration {
  return { kind: 'window', shape, size };
}

/** Rows in use after `length` tokens; a fixed state counts as one. */
function rowsAt(state: StateDeclaration, length: number): number {
  return state.kind === 'fixed' ? 1 : state.kind === 'rows' ? length : Math.min(state.size, length);
}

/** Shape of the buffer for `batch` rows of at most `capacity` tokens each. Errors: `unbound-symbol` for a window in a symbol. */
export function bufferShape(state: StateDeclaration, batch: Dim, capacity: Dim): readonly Dim[] {
  if (state.kind === 'fixed') return [batch, ...state.shape];
  const [last = 1, ...first] = state.shape.toReversed();
  const before = [batch, ...first.toReversed()];
  if (typeof capacity === 'number') return [...before, rowsAt(state, capacity), last];
  if (state.kind === 'rows') return [...before, capacity, last];
  throw new LfmError('unbound-symbol', `A window of ${state.size} rows needs a known capacity; found ${capacity}.`);
}

/** Elements in use, for one row of the batch, after `length` tokens. */
export function elementsAt(state: StateDeclaration, length: number): number {
  return state.shape.reduce((product, size) => product * size, rowsAt(state, length));
}
