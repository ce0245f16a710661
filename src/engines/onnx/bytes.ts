// Packed matrices as bytes in wide blocks, where activations are rounded to bytes too. A block has a scale and a sum of its own beside
// its levels, and the kernel stops at each: rows in blocks of 128 are read in two thirds of the time. One scale for so many activations
// would suit those with a few large elements badly, so both sides are turned first: see composites/rounded.ts.
// Shapes: N rows of K columns, in G blocks as they are packed and W as the kernel takes them.
import { turnSize } from '../../tensor/composites/rounded.ts';
import type { Value } from '../../tensor/index.ts';
import type { Lowering } from './lowering.ts';

/** Of several matrices, whose rows stand below one another. */
export interface Packed {
  readonly packed: readonly Value[];
  readonly scales: readonly Value[];
  /** None: levels are symmetric. */
  readonly minimums: readonly Value[];
}

export interface Bytes {
  readonly levels: string;
  readonly scales: string;
  readonly block: number;
}

/** Rows of so many columns take the widest blocks even where the last one is part empty. */
const [WIDEST, LONG] = [128, 512];
const [MIDDLE, FARTHEST] = [128, 127];

function widthOf(columns: number, block: number): number {
  if (columns >= LONG || columns % WIDEST === 0) return Math.max(block, WIDEST);
  return columns % (2 * block) === 0 ? 2 * block : block;
}

const floatsOf = (bytes: Uint8Array) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);

/** Multiplies blocks of `size` elements by Sylvester's matrix, in place: sums and differences of pairs, ever further apart. */
function turn(elements: Float32Array, size: number): void {
  const root = 1 / Math.sqrt(size);
  for (let apart = 1; apart < size; apart *= 2)
    for (let from = 0; from < elements.length; from += 2 * apart)
      for (let at = from; at < from + apart; at++) {
        const [a, b] = [elements[at] as number, elements[at + apart] as number];
        elements[at] = a + b;
        elements[at + apart] = a - b;
      }
  for (let at = 0; at < elements.length; at++) elements[at] = (elements[at] as number) * root;
}

/** `bits`, `block`: as the matrices are packed. */
export function inBytes(
  lowering: Lowering,
  { packed, scales, minimums }: Packed,
  { bits, block }: { readonly bits: number; readonly block: number },
): Bytes {
  const blocks = Number(scales[0]?.shape[1]);
  const columns = blocks * block;
  const width = widthOf(columns, block);
  const wide = Math.ceil(columns / width);
  const size = turnSize(columns);
  const rows = scales.reduce((sum, { shape }) => sum + Number(shape[0]), 0);
  const name = packed.map((part) => lowering.name(part)).join(' ');
  const from = [...packed, ...scales, ...minimums];
  /** Calls `write` for each row of `given`, as `from` names them, with its elements, turned, and the scales of its wide blocks. */
  const eachRow = (
    given: readonly Uint8Array[],
    write: (row: number, elements: Float32Array, steps: Float32Array) => void,
  ): void => {
    const [elements, steps] = [new Float32Array(columns), new Float32Array(wide)];
    let row = 0;
    for (let part = 0; part < packed.length; part++) {
      const [levels, own, least] = [given[part], given[packed.length + part], given[2 * packed.length + part]];
      if (!levels || !own) return;
      const [factors, lows] = [floatsOf(own), least && floatsOf(least)];
      for (let at = 0; at < factors.length; at += blocks, row++) {
        for (let g = 0; g < blocks; g++) {
          const factor = factors[at + g] ?? 0;
          unpack(levels, (at + g) * block, bits, elements.subarray(g * block, (g + 1) * block));
          const low = lows?.[at + g] ?? -(2 ** (bits - 1)) * factor;
          for (let k = g * block; k < (g + 1) * block; k++) elements[k] = low + factor * (elements[k] as number);
        }
        turn(elements, size);
        steps.fill(0);
        for (let k = 0; k < columns; k++) {
          const far = Math.abs(elements[k] as number) / FARTHEST;
          const w = Math.floor(k / width);
          if (far > (steps[w] as number)) steps[w] = far;
        }
        write(row, elements, steps);
      }
    }
  };
  return {
    block: width,
    levels: lowering.derive(`${name} in bytes`, {
      dtype: 'uint8',
      dims: [rows, wide, width],
      from,
      fill: (into, ...given) => {
        into.fill(MIDDLE);
        eachRow(given, (row, elements, steps) => {
          const line = row * wide * width;
          for (let k = 0; k < columns; k++) {
            const step = steps[Math.floor(k / width)] as number;
            if (step > 0) into[line + k] = MIDDLE + Math.round((elements[k] as number) / step);
          }
        });
      },
    }),
    scales: lowering.derive(`${name} in bytes, scales`, {
      dtype: 'float32',
      dims: [rows, wide],
      from,
      fill: (into, ...given) => {
        const floats = floatsOf(into);
        eachRow(given, (row, _elements, steps) => floats.set(steps, row * wide));
      },
    }),
  };
}

/** Levels from the one at `at` on, as whole numbers. */
function unpack(levels: Uint8Array, at: number, bits: number, into: Float32Array): void {
  if (bits === 8) return into.set(levels.subarray(at, at + into.length));
  for (let k = 0; k < into.length; k += 2) {
    const byte = levels[(at + k) >> 1] as number;
    into[k] = byte & 15;
    into[k + 1] = byte >> 4;
  }
}
