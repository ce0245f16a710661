// Packed matrices: GGUF's blocks lose nothing on the way, floats lose what rounding to the nearest level must.
import { describe, expect, it } from 'vitest';
import { Random } from '../tensor/index.ts';
import { float16ToFloat32, float32ToFloat16 } from './floats.ts';
import { dequantisers } from './gguf-dequantise.ts';
import { emptyMatrix, packBlocks, packedForms } from './gguf-pack.ts';
import { quantise } from './gguf-quantise.ts';
import { dequantizeMatrix, quantizeMatrix, requireFinite } from './quantized.ts';

const random = new Random(3);
const normal = (count: number) =>
  Float32Array.from({ length: count }, () => random.uniform() + random.uniform() + random.uniform() - 1.5);

describe.each([...packedForms])('%s', (name, form) => {
  it('stands for the same floats, to the bit, once it is packed', () => {
    const bytes = Uint8Array.from({ length: 20 * (form.bits * 4 + (form.affine ? 4 : 2)) }, () => random.bits() & 255);
    // The scale and the minimum: float16 that are numbers.
    const header = form.affine ? 2 : 1;
    for (let block = 0; block < 20; block++) {
      const at = block * (form.bits * 4 + 2 * header);
      bytes.set(new Uint8Array(float32ToFloat16(normal(header)).buffer), at);
    }
    const wanted = new Float32Array(20 * 32);
    dequantisers.get(name)?.(bytes, wanted);
    const packed = emptyMatrix(20, form);
    // In two pieces, as a file is read.
    const cut = (bytes.length / 20) * 7;
    packBlocks(bytes.slice(0, cut), form, packed);
    packBlocks(bytes.slice(cut), form, packed, 7);
    expect(packed.packed.length).toBe(20 * form.bits * 4);
    expect(dequantizeMatrix(packed, form)).toEqual(wanted);
  });
});

describe('quantizeMatrix', () => {
  it.each([
    [4, 32],
    [4, 128],
    [8, 32],
    [8, 128],
  ] as const)('rounds to %i bits in blocks of %i within half a step', (bits, block) => {
    const x = normal(6 * 128);
    const form = { bits, block, affine: false };
    const matrix = quantizeMatrix(x, [6, 128], form);
    expect(matrix.packed.length).toBe((x.length * bits) / 8);
    expect(float16ToFloat32(float32ToFloat16(matrix.scales))).toEqual(matrix.scales);
    const back = dequantizeMatrix(matrix, form);
    x.forEach((value, i) => {
      const scale = Math.abs(matrix.scales[Math.floor(i / block)] ?? 0);
      // The end of the range that the furthest element is not at is one step short for 4 bits.
      const bound = bits === 4 ? 1.01 * scale : 0.51 * scale;
      expect(Math.abs(value - (back[i] ?? NaN))).toBeLessThanOrEqual(bound);
    });
  });

  it('gives what ggml gives for 4 bits, but for ties and the rounding of its scale', () => {
    const x = normal(64 * 32);
    const wanted = new Float32Array(x.length);
    dequantisers.get('Q4_0')?.(quantise('Q4_0', x), wanted);
    const form = { bits: 4, block: 32, affine: false } as const;
    const found = dequantizeMatrix(quantizeMatrix(x, [64, 32], form), form);
    const same = found.filter((value, i) => Object.is(value, wanted[i])).length;
    expect(same / x.length).toBeGreaterThan(0.99);
  });

  it('leaves zeros zeros', () => {
    const form = { bits: 4, block: 32, affine: false } as const;
    expect(dequantizeMatrix(quantizeMatrix(new Float32Array(32), [1, 32], form), form)).toEqual(new Float32Array(32));
  });

  it('refuses what it cannot hold', () => {
    const form = { bits: 4, block: 32 } as const;
    expect(() => quantizeMatrix(normal(48), [1, 48], form)).toThrow(/whole blocks/);
    expect(() => quantizeMatrix(normal(32).fill(NaN, 7, 8), [1, 32], form)).toThrow(/Element 7 is NaN/);
    expect(() => quantizeMatrix(normal(32).fill(1e7, 0, 1), [1, 32], form)).toThrow(/beyond float16/);
  });
});

it('a scale that is no number is found', () => {
  const packed = new Uint8Array(32);
  const bad = { packed, scales: Float32Array.of(1, NaN) };
  expect(() => requireFinite('w', bad)).toThrow(/scale.*block 1 is NaN/);
  const minimums = Float32Array.of(-Infinity, 1);
  expect(() => requireFinite('w', { packed, scales: Float32Array.of(1, 1), minimums })).toThrow(/minimum.*-Infinity/);
});
