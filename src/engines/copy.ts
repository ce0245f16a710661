// Copies of boxes between arrays in host memory, run by run: what engines whose buffers lie there do for `Engine.copy`.
import { LfmError } from '../tensor/error.ts';
import { countOf } from '../tensor/shape.ts';
import type { Box, Buffer } from './engine.ts';

/** Memory of any element type; offsets and counts are in its elements. */
interface Memory {
  readonly length: number;
  subarray(from: number, to: number): Memory & ArrayLike<number>;
  set(values: ArrayLike<number>, at: number): void;
}

/** Errors: `bad-box` where the buffers do not both hold the box, or are one; `bad-input` where their types differ. */
export function checkBox(from: Buffer, to: Buffer, box: Box): void {
  if (from.dtype !== to.dtype)
    throw new LfmError('bad-input', `copy: expected buffers of one type; found ${from.dtype} and ${to.dtype}.`);
  const held = (shape: readonly number[], starts: readonly number[]) =>
    shape.length === box.shape.length &&
    shape.length === starts.length &&
    shape.every((size, axis) => {
      const [start = 0, extent = 0] = [starts[axis], box.shape[axis]];
      return start >= 0 && extent >= 0 && start + extent <= size;
    });
  if (from !== to && held(from.shape, box.from) && held(to.shape, box.to)) return;
  throw new LfmError(
    'bad-box',
    `copy: a box of [${box.shape.join(', ')}] from [${box.from.join(', ')}] of [${from.shape.join(', ')}] ` +
      `does not fit at [${box.to.join(', ')}] of [${to.shape.join(', ')}] of another buffer.`,
  );
}

/** `width`: elements of the memory to an element of the array, such as bytes. The box has been checked. */
export function copyBox(
  source: Memory,
  sourceShape: readonly number[],
  target: Memory,
  targetShape: readonly number[],
  box: Box,
  width = 1,
): void {
  copyRuns(sourceShape, targetShape, box, width, (from, to, run) => target.set(source.subarray(from, from + run), to));
}

/** Calls `copy` for each run of elements that lie side by side in both arrays: where it begins in each, and its length. */
export function copyRuns(
  sourceShape: readonly number[],
  targetShape: readonly number[],
  box: Box,
  width: number,
  copy: (from: number, to: number, run: number) => void,
): void {
  const { shape } = box;
  // The axis from which on both arrays are taken whole: what lies under one index of it is one run.
  let last = Math.max(0, shape.length - 1);
  while (last > 0 && shape[last] === sourceShape[last] && shape[last] === targetShape[last]) last--;
  const run = width * countOf(shape.slice(last));
  if (run === 0) return;
  const strideOf = (sizes: readonly number[], axis: number) => width * countOf(sizes.slice(axis + 1));
  const walk = (axis: number, from: number, to: number): void => {
    const [down, across] = [strideOf(sourceShape, axis), strideOf(targetShape, axis)];
    const [first, second] = [from + (box.from[axis] ?? 0) * down, to + (box.to[axis] ?? 0) * across];
    if (axis >= last) return copy(first, second, run);
    for (let i = 0; i < (shape[axis] ?? 0); i++) walk(axis + 1, first + i * down, second + i * across);
  };
  walk(0, 0, 0);
}
