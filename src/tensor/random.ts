// Counter-based random numbers: Threefry-2x32 with 20 rounds (Salmon et al. 2011). Same key and counter, same numbers,
// on the host and on every engine.
import { defineComposite } from './definition.ts';
import { LfmError } from './error.ts';
import { add, broadcastTo, cast, iota, mul, or, reshape, shiftLeft, shiftRight, sliceAxis, xor } from './functions.ts';
import { countOf } from './shape.ts';
import type { Tensor } from './tracer.ts';
import { emitOne } from './tracer.ts';

const rotations = [13, 15, 26, 6, 17, 29, 16, 24] as const;
const parity = 0x1bd11bda;

function mixed(a: number, b: number, bits: number): number {
  return ((b << bits) | (b >>> (32 - bits))) ^ a;
}

/** One block into `out`, as signed words. Four rounds a turn, and no lists: initialising a model runs this millions of times. */
function fillBlock(key0: number, key1: number, counter0: number, counter1: number, out: Int32Array): void {
  let x = key0 | 0;
  let y = key1 | 0;
  let z = key0 ^ key1 ^ parity;
  let a = (counter0 + x) | 0;
  let b = (counter1 + y) | 0;
  for (let turn = 1; turn <= 5; turn++) {
    const odd = turn % 2 === 1;
    a = (a + b) | 0;
    b = mixed(a, b, odd ? 13 : 17);
    a = (a + b) | 0;
    b = mixed(a, b, odd ? 15 : 29);
    a = (a + b) | 0;
    b = mixed(a, b, odd ? 26 : 16);
    a = (a + b) | 0;
    b = mixed(a, b, odd ? 6 : 24);
    a = (a + y) | 0;
    b = (b + z + turn) | 0;
    const first = x;
    x = y;
    y = z;
    z = first;
  }
  out[0] = a;
  out[1] = b;
}

/** One block: two 32-bit words from a key of two and a counter of two. */
export function threefry(key: readonly [number, number], counter: readonly [number, number]): [number, number] {
  const words = new Int32Array(2);
  fillBlock(...key, ...counter, words);
  return [(words[0] ?? 0) >>> 0, (words[1] ?? 0) >>> 0];
}

/** Uniform in [0, 1) from the upper 24 bits of a word. */
function unit(word: number): number {
  return (word >>> 8) * 2 ** -24;
}

/** A stream of host numbers: `seed` and `stream` are the key. */
export class Random {
  private readonly key: readonly [number, number];
  private readonly block = new Int32Array(2);
  private counter = 0;
  private spare: number | undefined;
  private normalSpare: number | undefined;

  constructor(seed: number, stream = 0) {
    this.key = [seed >>> 0, stream >>> 0];
  }

  /** Gives the same numbers from here on. */
  copy(): Random {
    const copy = new Random(...this.key);
    copy.counter = this.counter;
    copy.spare = this.spare;
    copy.normalSpare = this.normalSpare;
    return copy;
  }

  private next(): void {
    fillBlock(this.key[0], this.key[1], this.counter >>> 0, Math.floor(this.counter / 2 ** 32), this.block);
    this.counter++;
  }

  /** 32 random bits. */
  bits(): number {
    if (this.spare !== undefined) {
      const value = this.spare;
      this.spare = undefined;
      return value;
    }
    this.next();
    this.spare = (this.block[1] ?? 0) >>> 0;
    return (this.block[0] ?? 0) >>> 0;
  }

  /** Uniform in [0, 1), 24 bits. */
  uniform(): number {
    return unit(this.bits());
  }

  /** Standard normal (Box and Muller 1958). */
  normal(): number {
    if (this.normalSpare !== undefined) {
      const value = this.normalSpare;
      this.normalSpare = undefined;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.normalSpare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** The numbers that calls of `normal` would give, times `std`: some ten million a second. */
  fillNormal(out: Float32Array, std: number): void {
    let at = 0;
    while (at < out.length && (this.spare ?? this.normalSpare) !== undefined) out[at++] = std * this.normal();
    const { block } = this;
    for (; at + 1 < out.length; at += 2) {
      this.next();
      const radius = Math.sqrt(-2 * Math.log(1 - unit(block[0] ?? 0)));
      const angle = 2 * Math.PI * unit(block[1] ?? 0);
      out[at] = std * (radius * Math.cos(angle));
      out[at + 1] = std * (radius * Math.sin(angle));
    }
    if (at < out.length) out[at] = std * this.normal();
  }
}

/** A 32-bit stream number for a name: FNV-1a. */
export function streamOf(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

function rotateLeft(x: Tensor, bits: number): Tensor {
  return or(shiftLeft(x, bits), shiftRight(x, 32 - bits));
}

/** random_bits(key [2] uint32) -> uint32 of `shape`: element i is word 0 of block i. */
defineComposite<{ shape: readonly number[] }>({
  kind: 'random_bits',
  decompose: ([key], { shape }) => {
    if (!key) throw new LfmError('shape-mismatch', 'random_bits expects a key of two uint32.');
    const count = countOf(shape);
    const word = (at: number) => broadcastTo(sliceAxis(key, 0, at, at + 1), [count]);
    const first = word(0);
    const second = word(1);
    const keys = [first, second, xor(xor(first, second), parity)];
    let a = add(iota('uint32', [count], 0), first);
    let b: Tensor = second;
    for (let round = 0; round < 20; round++) {
      a = add(a, b);
      b = xor(rotateLeft(b, rotations[round % 8] ?? 0), a);
      if (round % 4 === 3) {
        const step = (round + 1) / 4;
        a = add(a, keys[step % 3] ?? first);
        b = add(add(b, keys[(step + 1) % 3] ?? first), step);
      }
    }
    return [reshape(a, shape)];
  },
  gradient: () => [],
});

/** Uniform float32 in [0, 1) of `shape` from a key of two uint32. */
export function randomUniform(key: Tensor, shape: readonly number[]): Tensor {
  const bits = emitOne('random_bits', [key], { shape });
  return mul(cast(shiftRight(bits, 8), 'float32'), 2 ** -24);
}
