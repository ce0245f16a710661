// Blocks of row-major arrays: where two of them meet, and copying between an array and a block of it.
import { countOf } from './shape.ts';

/** A block of an array: where it begins along each dimension, and its size there. */
export interface Part {
  readonly starts: readonly number[];
  readonly sizes: readonly number[];
}

export function samePart(a: Part, b: Part): boolean {
  return a.starts.every((start, i) => start === b.starts[i]) && a.sizes.every((size, i) => size === b.sizes[i]);
}

/** What two blocks of one array share; undefined where that is nothing. */
export function overlapOf(a: Part, b: Part): Part | undefined {
  const starts = a.starts.map((start, i) => Math.max(start, b.starts[i] ?? 0));
  const sizes = starts.map(
    (start, i) => Math.min((a.starts[i] ?? 0) + (a.sizes[i] ?? 0), (b.starts[i] ?? 0) + (b.sizes[i] ?? 0)) - start,
  );
  return sizes.every((size) => size > 0) ? { starts, sizes } : undefined;
}

/** A block as a block of `outer`, which holds it. */
export function within({ starts, sizes }: Part, outer: Part): Part {
  return { starts: starts.map((start, i) => start - (outer.starts[i] ?? 0)), sizes };
}

/** Copies a block's elements out of a whole array: bytes in row-major order, `width` an element. */
export function cutPart(
  whole: Uint8Array,
  shape: readonly number[],
  part: Part,
  width: number,
): Uint8Array<ArrayBuffer> {
  const cut = new Uint8Array(countOf(part.sizes) * width);
  for (const { from, to, bytes } of partRuns(shape, part, width)) cut.set(whole.subarray(from, from + bytes), to);
  return cut;
}

/** The same of float32 values; without a part all of them, uncopied. */
export function cutFloats(values: Float32Array, shape: readonly number[], part: Part | undefined): Float32Array {
  if (!part) return values;
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return new Float32Array(cutPart(bytes, shape, part, values.BYTES_PER_ELEMENT).buffer);
}

/** Copies a block's elements into their places in a whole array. */
export function joinPart(
  whole: Uint8Array,
  shape: readonly number[],
  part: Part,
  width: number,
  cut: Uint8Array,
): void {
  for (const { from, to, bytes } of partRuns(shape, part, width)) whole.set(cut.subarray(to, to + bytes), from);
}

/** The unbroken runs of a block, ascending: where each begins in the whole (`from`) and in the block (`to`). */
export function* partRuns(shape: readonly number[], { starts, sizes }: Part, width: number) {
  // Dimensions after the last one that is cut belong to a run.
  let inner = shape.length;
  while (inner > 0 && sizes[inner - 1] === shape[inner - 1]) inner--;
  const split = Math.max(0, inner - 1);
  const bytes = countOf(sizes.slice(split)) * width;
  const count = bytes === 0 ? 0 : countOf(sizes.slice(0, split));
  for (let run = 0; run < count; run++) {
    let rest = run;
    let [from, stride] = [0, width];
    for (let dimension = shape.length - 1; dimension >= 0; dimension--) {
      const size = sizes[dimension] ?? 1;
      let at = starts[dimension] ?? 0;
      if (dimension < split) {
        at += rest % size;
        rest = Math.floor(rest / size);
      }
      from += at * stride;
      stride *= shape[dimension] ?? 1;
    }
    yield { from, to: run * bytes, bytes };
  }
}
