// float32 to GGUF's blocks of 8 and of 4 bits, to the bit what gguf-py's reference quantiser writes.
// Every intermediate is rounded to float32, as there.

import { LfmError } from '../tensor/error.ts';
import { float32ToBfloat16, float32ToFloat16 } from './floats.ts';

/** Types that can be written. */
export type GgufWriteType = 'F32' | 'F16' | 'BF16' | 'Q8_0' | 'Q4_0';

const BLOCK = 32;
const scale = new Float32Array(1);
const scaleBits = new Uint16Array(1);

/** Places the block's scale as float16, and gives the factor that brings its elements to steps. */
function putScale(d: number, out: Uint8Array, at: number): number {
  scale[0] = d;
  const [bits = 0] = float32ToFloat16(scale, scaleBits);
  out[at] = bits & 0xff;
  out[at + 1] = bits >> 8;
  return d === 0 ? 0 : Math.fround(1 / d);
}

/** The element furthest from zero, the first of equals, with its sign. */
function extreme(x: Float32Array, from: number): number {
  let found = x[from] as number;
  for (let i = from + 1; i < from + BLOCK; i++) {
    const value = x[i] as number;
    if (Math.abs(value) > Math.abs(found)) found = value;
  }
  return found;
}

function q8_0(x: Float32Array): Uint8Array {
  const out = new Uint8Array((x.length / BLOCK) * 34);
  for (let from = 0, at = 0; from < x.length; from += BLOCK, at += 34) {
    const inverse = putScale(Math.fround(Math.abs(extreme(x, from)) / 127), out, at);
    for (let i = 0; i < BLOCK; i++) {
      const value = Math.fround((x[from + i] as number) * inverse);
      const size = Math.floor(Math.abs(value));
      // Halves away from zero.
      const rounded = size + Math.floor(2 * (Math.abs(value) - size));
      out[at + 2 + i] = value < 0 ? -rounded : rounded;
    }
  }
  return out;
}

function q4_0(x: Float32Array): Uint8Array {
  const out = new Uint8Array((x.length / BLOCK) * 18);
  for (let from = 0, at = 0; from < x.length; from += BLOCK, at += 18) {
    const inverse = putScale(Math.fround(extreme(x, from) / -8), out, at);
    const step = (i: number) =>
      Math.min(15, Math.trunc(Math.fround(Math.fround((x[from + i] as number) * inverse) + 8.5)));
    for (let i = 0; i < BLOCK / 2; i++) out[at + 2 + i] = step(i) | (step(i + BLOCK / 2) << 4);
  }
  return out;
}

/**
 * The bytes of a float32 tensor in a type; its rows must be a whole number of blocks (32 elements for Q8_0 and Q4_0).
 * Errors: `not-finite` where a block type meets an infinity or NaN, which it cannot hold.
 */
export function quantise(type: GgufWriteType, x: Float32Array): Uint8Array {
  if (type === 'F32') return new Uint8Array(x.buffer, x.byteOffset, x.byteLength);
  if (type === 'F16') return new Uint8Array(float32ToFloat16(x).buffer);
  if (type === 'BF16') return new Uint8Array(float32ToBfloat16(x).buffer);
  const bad = x.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0)
    throw new LfmError('not-finite', `Element ${bad} is ${x[bad]}, which ${type} cannot hold; write F32 or BF16.`);
  return type === 'Q8_0' ? q8_0(x) : q4_0(x);
}
