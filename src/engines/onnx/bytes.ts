// Packed matrices as bytes in wide blocks, where activations are rounded to bytes too. A block has a scale and a sum of its own beside
// its levels, and the kernel stops at each: rows in blocks of 128 are read in two thirds of the time. One scale for so many activations
// would suit those with a few large elements badly, so both sides are turned first: see composites/rounded.ts.
// Shapes: N rows of K columns, in G blocks as they are packed and W as the kernel takes them.
import { turnSize } from '../../tensor/composites/rounded.ts';
import type { Value } from '../../tensor/index.ts';
import type { Lowering } from './lowering.ts';
import { floatsOf } from './packed-forms.ts';

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

/** Multiplies blocks of `size` elements by Sylvester's matrix, in place: sums and differences of pairs, ever further apart. */
function turn(elements: Float32Array, size: number): void {
  let apart = 1;
  // Two rounds at once while pairs are close: every weight of a model passes here.
  if (size >= 4) {
    for (let at = 0; at < elements.length; at += 4) {
      const a = elements[at] as number;
      const b = elements[at + 1] as number;
      const c = elements[at + 2] as number;
      const d = elements[at + 3] as number;
      elements[at] = a + b + (c + d);
      elements[at + 1] = a - b + (c - d);
      elements[at + 2] = a + b - (c + d);
      elements[at + 3] = a - b - (c - d);
    }
    apart = 4;
  }
  for (; apart < size; apart *= 2)
    for (let from = 0; from < elements.length; from += 2 * apart)
      for (let at = from; at < from + apart; at++) {
        const a = elements[at] as number;
        const b = elements[at + apart] as number;
        elements[at] = a + b;
        elements[at + apart] = a - b;
      }
  const root = 1 / Math.sqrt(size);
  for (let at = 0; at < elements.length; at++) elements[at] = (elements[at] as number) * root;
}

/** The levels of row `row` as the numbers that they stand for, G factors and what the level 0 stands for in each block. */
function unpack(
  levels: Uint8Array,
  row: number,
  bits: number,
  factors: Float32Array,
  lows: Float32Array,
  into: Float32Array,
) {
  const block = into.length / factors.length;
  let at = (row * into.length * bits) / 8;
  for (let g = 0, k = 0; g < factors.length; g++) {
    const factor = factors[g] as number;
    const low = lows[g] as number;
    for (const end = k + block; k < end; at++) {
      const byte = levels[at] as number;
      if (bits === 8) into[k++] = low + factor * byte;
      else {
        into[k++] = low + factor * (byte & 15);
        into[k++] = low + factor * (byte >> 4);
      }
    }
  }
}

/** A step a block of `width` elements, by which none is farther from zero than the last level. */
function stepsOf(elements: Float32Array, width: number, into: Float32Array): void {
  for (let w = 0; w < into.length; w++) {
    let most = 0;
    const to = Math.min(elements.length, (w + 1) * width);
    for (let k = w * width; k < to; k++) {
      const far = Math.abs(elements[k] as number);
      if (far > most) most = far;
    }
    into[w] = most / FARTHEST;
  }
}

/** The nearest levels, as bytes about their middle; one that lies between two goes up. */
function round(elements: Float32Array, width: number, steps: Float32Array, into: Uint8Array): void {
  for (let w = 0; w < steps.length; w++) {
    const step = steps[w] as number;
    const inverse = step > 0 ? 1 / step : 0;
    const to = Math.min(elements.length, (w + 1) * width);
    for (let k = w * width; k < to; k++) into[k] = ((elements[k] as number) * inverse + (MIDDLE + 0.5)) | 0;
  }
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
  /** Writes levels and steps of all rows of `given`, which are as `from` names them. */
  const fill = (given: readonly Uint8Array[], into: Uint8Array, steps: Float32Array): void => {
    const elements = new Float32Array(columns);
    const middle = -(2 ** (bits - 1));
    let row = 0;
    for (let part = 0; part < packed.length; part++) {
      const [levels, own, least] = [given[part], given[packed.length + part], given[2 * packed.length + part]];
      if (!levels || !own) return;
      const [factors, lows] = [floatsOf(own), least ? floatsOf(least) : floatsOf(own).map((one) => middle * one)];
      for (let r = 0; r < factors.length / blocks; r++, row++) {
        const [from, to] = [r * blocks, (r + 1) * blocks];
        unpack(levels, r, bits, factors.subarray(from, to), lows.subarray(from, to), elements);
        turn(elements, size);
        const found = steps.subarray(row * wide, (row + 1) * wide);
        stepsOf(elements, width, found);
        round(elements, width, found, into.subarray(row * wide * width, (row + 1) * wide * width));
      }
    }
  };
  /** Found with the levels, which mostly come just before. */
  let known: Float32Array | undefined;
  return {
    block: width,
    levels: lowering.derive(`${name} in bytes`, {
      dtype: 'uint8',
      dims: [rows, wide, width],
      from,
      fill: (into, ...given) => {
        into.fill(MIDDLE);
        known = new Float32Array(rows * wide);
        fill(given, into, known);
      },
    }),
    scales: lowering.derive(`${name} in bytes, scales`, {
      dtype: 'float32',
      dims: [rows, wide],
      from,
      fill: (into, ...given) => {
        const steps = floatsOf(into);
        if (known) steps.set(known);
        else fill(given, new Uint8Array(rows * wide * width), steps);
        known = undefined;
      },
    }),
  };
}
