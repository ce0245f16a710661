// Training for few bits: the forward pass sees matrices as they will be packed, and gradients go to the floats behind them as if
// nothing had been rounded (straight-through: Bengio et al. 2013, arXiv 1308.3432).
// Legend: N rows of K columns, in G = K / S blocks of S.
import type { QuantizedForm, Tensor } from '../tensor/index.ts';
import {
  abs,
  add,
  cast,
  div,
  eq,
  expandDims,
  floor,
  ge,
  iota,
  lt,
  max,
  maximum,
  min,
  minimum,
  mul,
  neg,
  optimizationBarrier,
  reshape,
  select,
  sub,
  sum,
} from '../tensor/index.ts';
import type { Model } from './model.ts';
import type { Tensors } from './parameter.ts';
import { take } from './parameter.ts';

export type Rounding = Pick<QuantizedForm, 'bits' | 'block'>;

/** A program's inputs with those parameters rounded that are to be. Gradients with respect to these are the straight-through ones. */
export function roundedInputs({ parameters }: Model, inputs: Tensors): Tensors {
  const rounded = Object.entries(parameters).flatMap(([name, { rounding }]) =>
    rounding ? [[name, roundedAs(take(inputs, name), rounding)] as const] : [],
  );
  return { ...inputs, ...Object.fromEntries(rounded) };
}

/**
 * x [N, K] as floats of the packed matrix that `quantizeMatrix` makes of it, to the last bit: the scale goes through float16, ties
 * between elements go to the first, and halves between levels upwards.
 */
export function roundedAs(x: Tensor, { bits, block }: Rounding): Tensor {
  const [rows = 0, columns = 0] = x.shape.map(Number);
  const shape = [rows, columns / block, block];
  const x_NGS = reshape(cast(x, 'float32'), shape);
  const centre = 2 ** (bits - 1);
  const size_NGS = abs(x_NGS);
  const most_NG1 = expandDims(max(size_NGS, [2]), 2);
  const exact_NG1 =
    bits === 8 ? div(most_NG1, centre - 1) : div(expandDims(furthest(x_NGS, size_NGS, most_NG1, block), 2), -centre);
  // A compiler that is free to keep precision would leave out both conversions.
  const [half_NG1 = exact_NG1] = optimizationBarrier([cast(exact_NG1, 'float16')]);
  const scale_NG1 = cast(half_NG1, 'float32');
  const step_NG1 = abs(scale_NG1);
  const y_NGS = select(lt(scale_NG1, 0), neg(x_NGS), x_NGS);
  const near_NGS = floor(add(div(y_NGS, select(eq(step_NG1, 0), 1, step_NG1)), 0.5));
  // The quotient was rounded; edges between levels are exact products of 11 and 9 bits, so comparing with them is exact.
  const down_NGS = select(lt(y_NGS, mul(sub(near_NGS, 0.5), step_NG1)), sub(near_NGS, 1), near_NGS);
  const level_NGS = select(ge(y_NGS, mul(add(near_NGS, 0.5), step_NG1)), add(near_NGS, 1), down_NGS);
  return reshape(mul(maximum(minimum(level_NGS, centre - 1), -centre), scale_NG1), [rows, columns]);
}

/** Of each block the element furthest from zero, with its sign; of several the first. */
function furthest(x_NGS: Tensor, size_NGS: Tensor, most_NG1: Tensor, block: number): Tensor {
  const at_NGS = iota('int32', x_NGS.shape, 2);
  const first_NG = min(select(eq(size_NGS, most_NG1), at_NGS, block), [2]);
  return sum(select(eq(at_NGS, expandDims(first_NG, 2)), x_NGS, 0), [2]);
}
