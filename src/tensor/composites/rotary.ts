// rotary: positions as rotations of pairs of features (Su et al. 2021, arXiv 2104.09864), first half with second half.
import { vectorJacobian } from '../autodiff.ts';
import { defineComposite } from '../definition.ts';
import type { DType, HostArray } from '../dtype.ts';
import { LfmError } from '../error.ts';
import { add, cast, chunk, concatenate, constant, cos, expandDims, mul, neg, sin, sub } from '../functions.ts';
import type { Tensor } from '../tracer.ts';
import { decompositionOf, emitOne } from '../tracer.ts';

/** rotary(x [B, T, H, D], cos [B, T, D/2], sin [B, T, D/2]) -> [B, T, H, D]. Its gradient is the opposite rotation. */
defineComposite({
  kind: 'rotary',
  decompose: ([x, cosine, sine]) => {
    if (!x || !cosine || !sine) throw new LfmError('shape-mismatch', 'rotary expects x, cos and sin.');
    const [c, s] = [expandDims(cast(cosine, x.dtype), 2), expandDims(cast(sine, x.dtype), 2)];
    const [a, b] = chunk(x, 2, x.rank - 1);
    if (!a || !b) throw new LfmError('shape-mismatch', 'rotary expects an even number of features.');
    return [concatenate([sub(mul(a, c), mul(b, s)), add(mul(b, c), mul(a, s))], x.rank - 1)];
  },
  gradient: ({ operands, attributes, cotangents, needed }) => {
    // Tables that are learned.
    if (needed[1] || needed[2])
      return vectorJacobian(decompositionOf('rotary', operands, attributes), operands, cotangents);
    const [, cosine, sine] = operands;
    const [dy] = cotangents;
    return cosine && sine && dy ? [emitOne('rotary', [dy, cosine, neg(sine)])] : [];
  },
});

export function rotary(x: Tensor, tables: { readonly cos: Tensor; readonly sin: Tensor }): Tensor {
  return emitOne('rotary', [x, tables.cos, tables.sin]);
}

/**
 * Cosines and sines [B, T, D/2] for int32 positions [B, T]: angle = position * theta^(-2i/D), 0 from pair `pairs` on. `dtype`
 * is float32, or float64 in gradient checks.
 */
export function rotaryTables(
  positions: Tensor,
  width: number,
  theta: number,
  dtype: DType = 'float32',
  pairs = width / 2,
): { cos: Tensor; sin: Tensor } {
  const values = Array.from({ length: width / 2 }, (_, i) => (i < pairs ? theta ** ((-2 * i) / width) : 0));
  return rotaryTablesOf(positions, values, dtype);
}

/** The same for given angles a position, one for each pair of features; `scale` multiplies both tables. */
export function rotaryTablesOf(
  positions: Tensor,
  frequencies: readonly number[],
  dtype: DType = 'float32',
  scale = 1,
): { cos: Tensor; sin: Tensor } {
  const data: HostArray = dtype === 'float64' ? Float64Array.from(frequencies) : Float32Array.from(frequencies);
  const angles = mul(expandDims(cast(positions, dtype), -1), constant(dtype, [frequencies.length], data));
  const scaled = (x: Tensor) => (scale === 1 ? x : mul(x, scale));
  return { cos: scaled(cos(angles)), sin: scaled(sin(angles)) };
}
