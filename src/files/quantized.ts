// Packed matrices in host memory: made of floats by rounding to the nearest level, and made floats again.
// Layout as tensor/quantized.ts says: packed [N, G, block * bits / 8], scales and minimums [N, G], row-major.
import type { QuantizedForm } from '../tensor/index.ts';
import { LfmError, quantizedTypes } from '../tensor/index.ts';
import { float16ToFloat32, float32ToFloat16 } from './floats.ts';

export interface QuantizedMatrix {
  readonly packed: Uint8Array;
  readonly scales: Float32Array;
  /** Of an affine matrix. */
  readonly minimums?: Float32Array;
}

/** The element furthest from zero of a block, with its sign. */
function extreme(x: Float32Array, from: number, block: number): number {
  let found = 0;
  for (let i = from; i < from + block; i++) {
    const value = x[i] ?? 0;
    if (Math.abs(value) > Math.abs(found)) found = value;
  }
  return found;
}

/**
 * A symmetric matrix of x [N, K]: each block's scale takes its furthest element to the furthest level, -2^(bits - 1) for 4 bits
 * (as ggml's Q4_0), ±127 for 8 (as its Q8_0), and is rounded to float16 before the levels are.
 * Errors: `indivisible`, `not-finite`, `out-of-range` where a scale is beyond float16.
 */
export function quantizeMatrix(
  x: Float32Array,
  shape: readonly number[],
  { bits, block }: Pick<QuantizedForm, 'bits' | 'block'>,
): QuantizedMatrix {
  quantizedTypes(shape, { bits, block, affine: false });
  const bad = x.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new LfmError('not-finite', `Element ${bad} is ${x[bad]}, which no packed matrix can hold.`);
  const centre = 2 ** (bits - 1);
  const exact = new Float32Array(x.length / block);
  for (let at = 0; at < exact.length; at++) {
    const far = extreme(x, at * block, block);
    exact[at] = bits === 8 ? Math.abs(far) / (centre - 1) : far === 0 ? 0 : far / -centre;
  }
  const scales = float16ToFloat32(float32ToFloat16(exact));
  const wide = scales.findIndex((scale) => !Number.isFinite(scale));
  if (wide >= 0)
    throw new LfmError('out-of-range', `Block ${wide} would need a scale of ${exact[wide]}, beyond float16.`);
  const packed = new Uint8Array((x.length * bits) / 8);
  for (let i = 0; i < x.length; i++) {
    const scale = scales[Math.floor(i / block)] ?? 0;
    const step = scale === 0 ? 0 : Math.round((x[i] ?? 0) / scale);
    const level = Math.max(0, Math.min(2 * centre - 1, step + centre));
    if (bits === 8) packed[i] = level;
    else packed[i >> 1] = (packed[i >> 1] ?? 0) | (level << (4 * (i & 1)));
  }
  return { packed, scales };
}

/** The floats that a packed matrix stands for, row-major. */
export function dequantizeMatrix(
  { packed, scales, minimums }: QuantizedMatrix,
  { bits, block }: QuantizedForm,
): Float32Array {
  const out = new Float32Array(scales.length * block);
  const centre = minimums ? 0 : 2 ** (bits - 1);
  for (let i = 0; i < out.length; i++) {
    const at = Math.floor(i / block);
    const level = bits === 8 ? (packed[i] ?? 0) : ((packed[i >> 1] ?? 0) >> (4 * (i & 1))) & 15;
    // Products are exact in float64; ggml rounds the sum once, and so is it here, on storing. -0 changes no sum.
    out[i] = (scales[at] ?? 0) * (level - centre) + (minimums?.[at] ?? -0);
  }
  return out;
}

/** What is stored must be numbers. Errors: `quantized-scale`, naming the tensor and the block. */
export function requireFinite(name: string, matrix: QuantizedMatrix): void {
  for (const values of [matrix.scales, ...(matrix.minimums ? [matrix.minimums] : [])]) {
    let bad = 0;
    // The difference of a number and itself is 0. (A model has millions: a callback for each would be slow.)
    while (bad < values.length && (values[bad] as number) - (values[bad] as number) === 0) bad++;
    if (bad === values.length) continue;
    const what = values === matrix.scales ? 'scale' : 'minimum';
    throw new LfmError(
      'quantized-scale',
      `The tensor ${name} is damaged: expected a finite ${what} for each block; that of block ${bad} is ${values[bad]}.`,
    );
  }
}
