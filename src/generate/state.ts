// What a model remembers of B texts, as buffers on an engine: made empty, carried from step to step, grown in few sizes,
// copied from row to row.
import type { Box, Buffer, Buffers, Engine } from '../engines/engine.ts';
import type { Model, StateDeclaration } from '../liquid/index.ts';
import { stateTypes } from '../liquid/index.ts';
import { LfmError } from '../tensor/index.ts';
import type { Adapter } from './adapter.ts';

export interface State {
  /** Tokens that a row can hold, until it is grown. */
  capacity: number;
  /** Tokens that each row holds. */
  readonly lengths: Int32Array;
  /** By the program's names, `state.` before them. */
  buffers: Buffers;
  /** Under which its tokens were taken in, and all that follow will be. */
  readonly adapter?: Adapter | undefined;
}

/**
 * Sizes that growing states take: few, since each is a program to compile, but not far apart, since a step may read all of a
 * state's capacity. By the time a text has doubled, a compilation is a small part of what it took. A model whose states do
 * not grow has one size.
 */
export function capacitiesOf(model: Model): readonly number[] {
  const { contextLength: most, states } = model;
  if (Object.values(states).every(({ kind }) => kind === 'fixed')) return [most];
  const sizes: number[] = [];
  for (let size = 512; size < most; size *= 2) sizes.push(size);
  return [...sizes, most];
}

export async function emptyState(
  engine: Engine,
  model: Model,
  batch: number,
  capacity: number,
  adapter?: Adapter,
): Promise<State> {
  const buffers: Record<string, Buffer> = {};
  try {
    for (const [name, { dtype, shape }] of Object.entries(stateTypes(model, { batch, capacity }))) {
      buffers[`state.${name}`] = await engine.zeros(dtype, shape.map(Number));
    }
  } catch (error) {
    disposeBuffers(buffers);
    throw error;
  }
  return { capacity, lengths: new Int32Array(batch), buffers, adapter };
}

/** Gives the state room for `capacity` tokens a row, on the engine. Where it fails the state stays as it was. */
export async function growState(engine: Engine, model: Model, state: State, capacity: number): Promise<void> {
  const larger = await emptyState(engine, model, state.lengths.length, capacity);
  try {
    for (let b = 0; b < state.lengths.length; b++) await copyRow(engine, model, state, b, larger, b);
  } catch (error) {
    disposeBuffers(larger.buffers);
    throw error;
  }
  disposeBuffers(state.buffers);
  state.buffers = larger.buffers;
  state.capacity = capacity;
}

/** The least number of rows that copies take: engines that compile a copy see few sizes. */
const LEAST_ROWS = 64;

/** Makes row `into` of `to` what row `row` of `from` is. `to` has room for it. */
export async function copyRow(
  engine: Engine,
  model: Model,
  from: State,
  row: number,
  to: State,
  into: number,
): Promise<void> {
  const length = from.lengths[row] ?? 0;
  // Rows past the length come along, where that makes a rounder number: nothing reads them.
  const rounded = Math.max(LEAST_ROWS, 2 ** Math.ceil(Math.log2(Math.max(1, length))));
  const rows = Math.min(rounded, from.capacity, to.capacity);
  for (const [name, declaration] of Object.entries(model.states)) {
    const [source, target] = [bufferOf(from.buffers, name), bufferOf(to.buffers, name)];
    const shape = source.shape.map((size, axis) => Math.min(size, target.shape[axis] ?? 0)).with(0, 1);
    if (declaration.kind === 'rows') shape[rowAxis(source)] = rows;
    await engine.copy(source, target, boxAt(shape, row, into));
  }
  to.lengths[into] = length;
}

/** The axis of a buffer of rows that counts tokens. */
export function rowAxis({ shape }: { readonly shape: readonly unknown[] }): number {
  return shape.length - 2;
}

/** A box of one row of the batch, from its front. */
export function boxAt(shape: readonly number[], row: number, into: number): Box {
  const zeros = shape.map(() => 0);
  return { from: zeros.with(0, row), to: zeros.with(0, into), shape };
}

/** The buffer of a state of the model. */
export function bufferOf(buffers: Buffers, name: string): Buffer {
  const buffer = buffers[`state.${name}`];
  if (buffer) return buffer;
  throw new LfmError('no-result', `A state has no buffer for "${name}".`);
}

/** Names of the states that grow by a row a token, and of those that a snapshot must hold. */
export function kindsOf({ states }: { readonly states: Readonly<Record<string, StateDeclaration>> }): {
  readonly growing: readonly string[];
  readonly fixed: readonly string[];
} {
  const names = Object.keys(states);
  return {
    growing: names.filter((name) => states[name]?.kind === 'rows'),
    fixed: names.filter((name) => states[name]?.kind !== 'rows'),
  };
}

export function disposeBuffers(buffers: Buffers): void {
  for (const buffer of Object.values(buffers)) buffer.dispose();
}
