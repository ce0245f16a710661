// rms_norm: x / sqrt(mean(x²) + eps) * weight, computed in float32 and rounded before the weight, as LFM2 does.
import { vectorJacobian } from '../autodiff.ts';
import { defineComposite } from '../definition.ts';
import { LfmError } from '../error.ts';
import { add, cast, dotGeneral, expandDims, mean, mul, reshape, rsqrt, sub } from '../functions.ts';
import { sizeOf } from '../shape.ts';
import type { Tensor } from '../tracer.ts';
import { decompositionOf, emit } from '../tracer.ts';

export type RmsNormAttributes = { readonly eps: number };

function wide(x: Tensor): Tensor {
  return x.dtype === 'float64' ? x : cast(x, 'float32');
}

function pair(operands: readonly Tensor[]): [Tensor, Tensor] {
  const [x, w] = operands;
  if (!x || !w) throw new LfmError('shape-mismatch', 'rms_norm expects x and weight.');
  return [x, w];
}

/** rms_norm(x [..., D], weight [D]) -> y [..., D] and, as residual, 1 / rms [...]. */
defineComposite<RmsNormAttributes>({
  kind: 'rms_norm',
  decompose: (operands, { eps }) => {
    const [x, w] = pair(operands);
    const x32 = wide(x);
    const inverse = rsqrt(add(mean(mul(x32, x32), [-1]), eps));
    return [mul(cast(mul(x32, expandDims(inverse, -1)), x.dtype), w), inverse];
  },
  gradient: ({ operands, attributes, results: [, inverse], cotangents }) => {
    const [dy, dInverse] = cotangents;
    // The residual is read by a derivative of the derivative.
    if (dInverse) return vectorJacobian(decompositionOf('rms_norm', operands, attributes), operands, cotangents);
    const [x, w] = pair(operands);
    return inverse && dy ? emit('rms_norm_grad', [x, w, inverse, dy]) : [];
  },
});

/** rms_norm_grad(x, weight, 1 / rms, dy) -> dx, dweight. */
defineComposite({
  kind: 'rms_norm_grad',
  decompose: ([x, w, inverse, dy]) => {
    if (!x || !w || !inverse || !dy)
      throw new LfmError('shape-mismatch', 'rms_norm_grad expects x, weight, 1 / rms and dy.');
    // dx = r w dy - x r³ mean(x w dy), with r = 1 / rms; the sums over a row and over the rows are products with x dy, which
    // is walked twice instead of being made into three more arrays.
    const rows = sizeOf(x.shape.slice(0, -1));
    const size = x.dim(-1);
    const products = reshape(wide(mul(x, dy)), [rows, size]);
    const r = reshape(inverse, [rows]);
    const weight = wide(w);
    const vector = { lhsBatching: [], rhsBatching: [], preferredType: products.dtype };
    const across = dotGeneral(products, weight, { ...vector, lhsContracting: [1], rhsContracting: [0] });
    const dw = dotGeneral(r, products, { ...vector, lhsContracting: [0], rhsContracting: [0] });
    const pull = mul(mul(across, mul(r, mul(r, r))), 1 / Number(size));
    const dx = sub(
      mul(wide(mul(dy, w)), expandDims(inverse, -1)),
      mul(wide(x), expandDims(reshape(pull, inverse.shape), -1)),
    );
    return [cast(dx, x.dtype), cast(dw, w.dtype)];
  },
});

/** y = x / sqrt(mean(x²) + eps) * weight over the last axis (Zhang and Sennrich 2019, arXiv 1910.07467). */
export function rmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor {
  return emit('rms_norm', [x, weight], { eps })[0] ?? x;
}

/**
 * y = (x - mean) / sqrt(variance + eps) * weight + bias over the last axis (Ba et al. 2016, arXiv 1607.06450), computed in
 * float32 and rounded before the weight.
 */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor, eps: number): Tensor {
  const x32 = wide(x);
  const centred = sub(x32, expandDims(mean(x32, [-1]), -1));
  const inverse = rsqrt(add(mean(mul(centred, centred), [-1]), eps));
  return add(mul(cast(mul(centred, expandDims(inverse, -1)), x.dtype), weight), bias);
}
