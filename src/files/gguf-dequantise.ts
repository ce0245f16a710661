// GGUF's blocks as float32, to the bit what ggml and gguf-py compute. Layouts: ggml-common.h, ggml-quants.c.
// Sums and products are made in float64, where they are exact, and rounded once on storing: float32's own result.

import { bfloat16ToFloat32, float16ToFloat32 } from './floats.ts';

/** Decodes whole blocks of `bytes` into `out`, which holds exactly their elements. */
type Decode = (bytes: Uint8Array, out: Float32Array) => void;

const half = new Uint16Array(1);
const wide = new Float32Array(1);

function float16At(bytes: Uint8Array, at: number): number {
  half[0] = byte(bytes, at) | (byte(bytes, at + 1) << 8);
  return float16ToFloat32(half, wide)[0] as number;
}

function byte(bytes: Uint8Array, at: number): number {
  return bytes[at] as number;
}

function signed(bytes: Uint8Array, at: number): number {
  return (byte(bytes, at) << 24) >> 24;
}

/** Calls `each` with where a block's bytes and its elements begin. */
function forBlocks(bytes: Uint8Array, blockBytes: number, size: number, each: (at: number, to: number) => void): void {
  for (let at = 0, to = 0; at < bytes.length; at += blockBytes, to += size) each(at, to);
}

/** Q4_0 and Q4_1, and with a fifth bit Q5_0 and Q5_1: element i in the low half of byte i, element i + 16 in the high. */
function nibbles({ fifth, minimum }: { fifth: boolean; minimum: boolean }): Decode {
  const high = minimum ? 4 : 2;
  const low = fifth ? high + 4 : high;
  const centre = minimum ? 0 : fifth ? 16 : 8;
  return (bytes, out) =>
    forBlocks(bytes, low + 16, 32, (at, to) => {
      const scale = float16At(bytes, at);
      // A sum with -0 changes nothing, a zero's sign included.
      const least = minimum ? float16At(bytes, at + 2) : -0;
      for (let i = 0; i < 16; i++) {
        const pair = byte(bytes, at + low + i);
        let first = pair & 15;
        let second = pair >> 4;
        if (fifth) {
          first |= bitOf(bytes, at + high, i) << 4;
          second |= bitOf(bytes, at + high, i + 16) << 4;
        }
        out[to + i] = scale * (first - centre) + least;
        out[to + i + 16] = scale * (second - centre) + least;
      }
    });
}

function bitOf(bytes: Uint8Array, at: number, index: number): number {
  return (byte(bytes, at + (index >> 3)) >> (index & 7)) & 1;
}

const q8_0: Decode = (bytes, out) =>
  forBlocks(bytes, 34, 32, (at, to) => {
    const scale = float16At(bytes, at);
    for (let i = 0; i < 32; i++) out[to + i] = scale * signed(bytes, at + 2 + i);
  });

/** 16 groups of 16; a scale and a minimum of 4 bits each; elements of 2 bits, 32 to a plane of a half's bytes. */
const q2K: Decode = (bytes, out) =>
  forBlocks(bytes, 84, 256, (at, to) => {
    const [scale, least] = [float16At(bytes, at + 80), float16At(bytes, at + 82)];
    for (let i = 0; i < 256; i++) {
      const packed = byte(bytes, at + (i >> 4));
      const value = (byte(bytes, at + 16 + 32 * (i >> 7) + (i & 31)) >> (2 * ((i >> 5) & 3))) & 3;
      out[to + i] = scale * (packed & 15) * value - least * (packed >> 4);
    }
  });

/** 16 groups of 16 with scales of 6 bits; a third bit in a mask of its own, which subtracts 4 where it is not set. */
const q3K: Decode = (bytes, out) =>
  forBlocks(bytes, 110, 256, (at, to) => {
    const scale = float16At(bytes, at + 108);
    for (let i = 0; i < 256; i++) {
      const group = i >> 4;
      const low = (byte(bytes, at + 96 + (group & 7)) >> (4 * (group >> 3))) & 15;
      const high = (byte(bytes, at + 104 + (group & 3)) >> (2 * (group >> 2))) & 3;
      const value = (byte(bytes, at + 32 + 32 * (i >> 7) + (i & 31)) >> (2 * ((i >> 5) & 3))) & 3;
      const third = (byte(bytes, at + (i & 31)) >> (i >> 5)) & 1;
      out[to + i] = scale * ((low | (high << 4)) - 32) * (value - (third ? 0 : 4));
    }
  });

/** The 6-bit scale and minimum of one of the 8 groups of a Q4_K or Q5_K block. */
function scaleAndMinimum(bytes: Uint8Array, at: number, group: number): readonly [number, number] {
  const [d, m] = [byte(bytes, at + (group & 3)), byte(bytes, at + 4 + (group & 3))];
  if (group < 4) return [d & 63, m & 63];
  const rest = byte(bytes, at + 4 + group);
  return [(rest & 15) | ((d >> 2) & 48), (rest >> 4) | ((m >> 2) & 48)];
}

/** Q4_K, and with a fifth bit Q5_K: 8 groups of 32; two groups share 32 bytes, one in the low halves, one in the high. */
function superBlocks(fifth: boolean): Decode {
  const low = fifth ? 48 : 16;
  return (bytes, out) =>
    forBlocks(bytes, low + 128, 256, (at, to) => {
      const [scale, least] = [float16At(bytes, at), float16At(bytes, at + 2)];
      for (let group = 0; group < 8; group++) {
        const [factor, offset] = scaleAndMinimum(bytes, at + 4, group);
        for (let i = 0; i < 32; i++) {
          let value = (byte(bytes, at + low + 32 * (group >> 1) + i) >> (4 * (group & 1))) & 15;
          if (fifth) value |= ((byte(bytes, at + 16 + i) >> group) & 1) << 4;
          out[to + 32 * group + i] = scale * factor * value - least * offset;
        }
      }
    });
}

/** 16 groups of 16 with 8-bit scales; 4 low bits and 2 high bits of each element apart. */
const q6K: Decode = (bytes, out) =>
  forBlocks(bytes, 210, 256, (at, to) => {
    const scale = float16At(bytes, at + 208);
    for (let i = 0; i < 256; i++) {
      const [half128, within] = [i >> 7, i & 127];
      const low = (byte(bytes, at + 64 * half128 + (within & 63)) >> (4 * (within >> 6))) & 15;
      const high = (byte(bytes, at + 128 + 32 * half128 + (within & 31)) >> (2 * (within >> 5))) & 3;
      out[to + i] = scale * signed(bytes, at + 192 + (i >> 4)) * ((low | (high << 4)) - 32);
    }
  });

/** A copy, since a tensor's bytes need not be aligned. */
function aligned(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}

/** How each type is read as float32. Types that are not here are refused. */
export const dequantisers: ReadonlyMap<string, Decode> = new Map<string, Decode>([
  ['F32', (bytes, out) => out.set(new Float32Array(aligned(bytes)))],
  ['F16', (bytes, out) => void float16ToFloat32(new Uint16Array(aligned(bytes)), out)],
  ['BF16', (bytes, out) => void bfloat16ToFloat32(new Uint16Array(aligned(bytes)), out)],
  ['Q4_0', nibbles({ fifth: false, minimum: false })],
  ['Q4_1', nibbles({ fifth: false, minimum: true })],
  ['Q5_0', nibbles({ fifth: true, minimum: false })],
  ['Q5_1', nibbles({ fifth: true, minimum: true })],
  ['Q8_0', q8_0],
  ['Q2_K', q2K],
  ['Q3_K', q3K],
  ['Q4_K', superBlocks(false)],
  ['Q5_K', superBlocks(true)],
  ['Q6_K', q6K],
]);
