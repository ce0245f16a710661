// unit_lower_inverse: (I + strictly lower part)⁻¹ of many small matrices, by halves, as matrix products alone.
import { defineComposite } from '../definition.ts';
import { LfmError } from '../error.ts';
import {
  add,
  cast,
  concatenate,
  eq,
  gt,
  iota,
  matmul,
  mul,
  neg,
  pad,
  reshape,
  sliceAxis,
  sub,
  transpose,
} from '../functions.ts';
import { multiplyDims, sizeOf } from '../shape.ts';
import type { Tensor } from '../tracer.ts';
import { emitOne } from '../tracer.ts';

/** Up to this size the inverse is a product of powers: larger ones would lose digits to cancellation between them. */
const BASE = 8;

function strictlyLower(a: Tensor): Tensor {
  const size = a.dim(-1);
  return mul(a, cast(gt(iota('int32', [size, size], 0), iota('int32', [size, size], 1)), a.dtype));
}

/** Sum over i of (-a)^i, which ends: a [M, S, S] is strictly lower. */
function byPowers(a: Tensor, size: number): Tensor {
  const identity = cast(eq(iota('int32', [size, size], 0), iota('int32', [size, size], 1)), a.dtype);
  let power = a;
  let inverse = sub(identity, a);
  for (let reach = 2; reach < size; reach *= 2) {
    power = matmul(power, power);
    inverse = add(inverse, matmul(inverse, power));
  }
  return inverse;
}

/** [[P, 0], [Q, R]]⁻¹ = [[P⁻¹, 0], [-R⁻¹ Q P⁻¹, R⁻¹]]; P and R are inverted together. */
function byHalves(a: Tensor, size: number): Tensor {
  if (size <= BASE) return byPowers(a, size);
  const [count, half] = [a.dim(0), size / 2];
  const block = (row: number, column: number) =>
    sliceAxis(sliceAxis(a, 1, row * half, (row + 1) * half), 2, column * half, (column + 1) * half);
  const both = byHalves(concatenate([block(0, 0), block(1, 1)], 0), half);
  const [p, r] = [sliceAxis(both, 0, 0, count), sliceAxis(both, 0, count, multiplyDims(2, count))];
  const q = neg(matmul(matmul(r, block(1, 0)), p));
  return concatenate([pad(p, [0, 0, 0], [0, 0, half]), concatenate([q, r], 2)], 1);
}

/** unit_lower_inverse(a [..., S, S]) -> (I + strictly lower part of a)⁻¹ [..., S, S]. */
defineComposite({
  kind: 'unit_lower_inverse',
  decompose: ([a]) => {
    const size = a?.shape.at(-1);
    if (!a || typeof size !== 'number' || a.shape.at(-2) !== size)
      throw new LfmError('shape-mismatch', 'unit_lower_inverse expects square matrices of a known size.');
    let whole = BASE;
    while (whole < size) whole *= 2;
    const side = size <= BASE ? size : whole;
    const flat = reshape(strictlyLower(a), [sizeOf(a.shape.slice(0, -2)), size, size]);
    const inverse = byHalves(pad(flat, [0, 0, 0], [0, side - size, side - size]), side);
    return [reshape(sliceAxis(sliceAxis(inverse, 1, 0, size), 2, 0, size), a.shape)];
  },
  gradient: ({ results: [x], cotangents: [dx] }) => {
    if (!x || !dx) return [];
    const axes = x.shape.map((_, axis) => axis);
    const turned = transpose(x, [...axes.slice(0, -2), x.rank - 1, x.rank - 2]);
    return [neg(strictlyLower(matmul(matmul(turned, dx), turned)))];
  },
});

/** See the composite. */
export function unitLowerInverse(a: Tensor): Tensor {
  return emitOne('unit_lower_inverse', [a]);
}
