// Minimums of 4-bit blocks where activations are rounded: a zero point, and the rest of at most half a step as further blocks of the
// matrix, which meet the sums of x over blocks. One kernel call is then the whole product; a small float32 product beside it was a
// fifth of a token's time. Shapes: N rows of G blocks, and E blocks of rests.
import type { Value } from '../../tensor/index.ts';
import type { Lowering } from './lowering.ts';

/** Of several matrices, whose rows stand below one another. */
export interface Affine {
  readonly packed: readonly Value[];
  readonly scales: readonly Value[];
  readonly minimums: readonly Value[];
}

/** What MatMulNBits takes in place of a matrix with minimums, and of x [..., K]. */
export interface Folded {
  readonly x: string;
  readonly levels: string;
  readonly scales: string;
  readonly zeroPoints: string;
  readonly blocks: number;
}

/** A row's zero points [G]; its rests [G] as levels of 8 bits around 128; the rests' steps [E]. */
interface Rests {
  readonly zeros: Uint8Array;
  readonly levels: Uint8Array;
  readonly steps: Float32Array;
}

const MOST = 15;
const [MIDDLE, FARTHEST] = [128, 127];

/** Row `row` of [N, G] scales and minimums, written into `into`. */
function restsOf(scales: Float32Array, minimums: Float32Array, row: number, block: number, into: Rests): void {
  const { zeros, levels, steps } = into;
  const blocks = zeros.length;
  const at = row * blocks;
  const rest = (g: number) => (minimums[at + g] ?? 0) + (zeros[g] ?? 0) * (scales[at + g] ?? 0);
  steps.fill(0);
  for (let g = 0; g < blocks; g++) {
    const scale = scales[at + g] ?? 0;
    zeros[g] = scale === 0 ? 0 : Math.min(MOST, Math.max(0, Math.round(-(minimums[at + g] ?? 0) / scale)));
    const e = Math.floor(g / block);
    steps[e] = Math.max(steps[e] ?? 0, Math.abs(rest(g)) / FARTHEST);
  }
  for (let g = 0; g < blocks; g++) {
    const step = steps[Math.floor(g / block)] ?? 0;
    levels[g] = step === 0 ? MIDDLE : MIDDLE + Math.max(-FARTHEST, Math.min(FARTHEST, Math.round(rest(g) / step)));
  }
}

/** Two blocks' or two elements' halves of a byte, the first in the low one. */
function putHalf(bytes: Uint8Array, index: number, half: number): void {
  const at = index >> 1;
  bytes[at] = (bytes[at] ?? 0) | (index % 2 === 0 ? half : half << 4);
}

const floatsOf = (bytes: Uint8Array) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);

/** `block`: elements of a block; the rests have 8 bits in two blocks of 4, the high halves and the low ones. */
export function foldedMinimums(
  lowering: Lowering,
  x: Value,
  { packed, scales, minimums }: Affine,
  block: number,
): Folded {
  const blocks = Number(scales[0]?.shape[1]);
  const rows = scales.reduce((sum, { shape }) => sum + Number(shape[0]), 0);
  const extra = Math.ceil(blocks / block);
  const all = blocks + 2 * extra;
  const name = packed.map((part) => lowering.name(part)).join(' ');
  /** Calls `write` for each row with its place among the sources' and its rests. */
  const eachRow = (
    given: readonly Uint8Array[],
    write: (row: number, own: number, part: number, rests: Rests) => void,
  ): void => {
    const rests = {
      zeros: new Uint8Array(blocks),
      levels: new Uint8Array(blocks),
      steps: new Float32Array(extra),
    };
    let row = 0;
    for (let part = 0; part < packed.length; part++) {
      const [own, least] = [given[packed.length + part], given[2 * packed.length + part]];
      if (!own || !least) return;
      const [steps, lows] = [floatsOf(own), floatsOf(least)];
      for (let r = 0; r < steps.length / blocks; r++, row++) {
        restsOf(steps, lows, r, block, rests);
        write(row, r, part, rests);
      }
    }
  };
  const from = [...packed, ...scales, ...minimums];
  const bytes = block / 2;
  const zeroBytes = Math.ceil(all / 2);
  return {
    x: withSums(lowering, x, { blocks, block, extra }),
    levels: lowering.derive(`${name} with minimums`, {
      dtype: 'uint8',
      dims: [rows, all, bytes],
      from,
      fill: (into, ...given) =>
        eachRow(given, (row, own, part, { levels }) => {
          const line = into.subarray(row * all * bytes, (row + 1) * all * bytes);
          line.set(given[part]?.subarray(own * blocks * bytes, (own + 1) * blocks * bytes) ?? []);
          const [high, low] = [line.subarray(blocks * bytes), line.subarray((blocks + extra) * bytes)];
          levels.forEach((level, g) => {
            putHalf(high, g, level >> 4);
            putHalf(low, g, level & 15);
          });
        }),
    }),
    scales: lowering.derive(`${name} with minimums, scales`, {
      dtype: 'float32',
      dims: [rows, all],
      from,
      fill: (into, ...given) => {
        const floats = floatsOf(into);
        eachRow(given, (row, own, part, { steps }) => {
          const line = floats.subarray(row * all, (row + 1) * all);
          const source = given[packed.length + part];
          if (source) line.set(floatsOf(source).subarray(own * blocks, (own + 1) * blocks));
          line.set(steps, blocks + extra);
          steps.forEach((step, e) => (line[blocks + e] = 16 * step));
        });
      },
    }),
    zeroPoints: lowering.derive(`${name} with minimums, zero points`, {
      dtype: 'uint8',
      dims: [rows, zeroBytes],
      from,
      fill: (into, ...given) =>
        eachRow(given, (row, _own, _part, { zeros }) => {
          const line = into.subarray(row * zeroBytes, (row + 1) * zeroBytes);
          zeros.forEach((zero, g) => putHalf(line, g, zero));
          for (let e = 0; e < extra; e++) putHalf(line, blocks + e, MIDDLE >> 4);
        }),
    }),
    blocks: all,
  };
}

/** x, its sums over blocks and those again, each in whole blocks. */
function withSums(
  lowering: Lowering,
  x: Value,
  { blocks, block, extra }: { readonly blocks: number; readonly block: number; readonly extra: number },
): string {
  const width = extra * block;
  const members = lowering.filled(
    `members of ${blocks} blocks of ${block}, padded`,
    'float32',
    [blocks * block, width],
    (into) => {
      for (let k = 0; k < blocks * block; k++) into[k * width + Math.floor(k / block)] = 1;
    },
  );
  const given = lowering.name(x);
  const sums = lowering.node('MatMul', [given, members]);
  return lowering.node('Concat', [given, sums, sums], { attributes: { axis: { int: x.shape.length - 1 } } });
}
