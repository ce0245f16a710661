// matmul_rows as com.microsoft.MatMulIntegerToFloat. The kernel knows one scale and one zero point for all of x: so x comes to it in
// steps of 1, unsigned with 128 for zero (its fast form), and each row of the product meets its scale afterwards.
import type { Operation, Value } from '../../tensor/index.ts';
import { hadamard, turnSize } from '../../tensor/composites/rounded.ts';
import type { Lowering, Rule } from './lowering.ts';

/** x [..., K] with blocks of columns turned, as the composite does. */
export function turned(lowering: Lowering, x: Value): string {
  const columns = Number(x.shape.at(-1));
  const size = turnSize(columns);
  if (size === 1) return lowering.name(x);
  const split = [...x.shape.slice(0, -1), columns / size, size];
  const blocks = lowering.reshaped(lowering.name(x), x.shape, split);
  const matrix = lowering.filled(`turn ${size}`, 'float32', [size, size], (into) => {
    for (const [at, value] of hadamard(size).entries()) into[at] = value;
  });
  return lowering.reshaped(lowering.node('MatMul', [blocks, matrix]), split, x.shape);
}

/** For weights that are bound, which are laid out anew when the session is made. */
export const wholeRows: {
  fits: (operation: Operation, isBound: (value: Value) => boolean) => boolean;
  rule: Rule;
} = {
  fits: ({ operands: [x, ...parts] }, isBound) =>
    x?.dtype === 'float32' && !x.shape.includes(0) && parts.every((part) => part.dtype !== 'float64' && isBound(part)),
  rule: (lowering, { operands: [x, levels, weightScales], results: [y] }) => {
    if (!x || !levels || !weightScales || !y) return;
    const rows = turned(lowering, x);
    const largest = lowering.node('ReduceMax', [lowering.node('Abs', [rows]), lowering.integers([-1])], {
      attributes: { keepdims: { int: 1 } },
    });
    const one = lowering.constant('float32', [], [1]);
    const scales = lowering.node('Div', [largest, lowering.constant('float32', [], [127])]);
    const isZero = lowering.node('Equal', [scales, lowering.constant('float32', [], [0])]);
    // Not 1 / scale, which the runtime would make a division of the rows: ties would fall otherwise than they should.
    const inverse = lowering.node('Reciprocal', [lowering.node('Where', [isZero, one, scales])]);
    const middle = lowering.constant('uint8', [], [128]);
    const bytes = lowering.node('QuantizeLinear', [lowering.node('Mul', [rows, inverse]), one, middle]);
    const inputs = [bytes, lowering.name(levels), one, lowering.name(weightScales), middle];
    const product = lowering.node('MatMulIntegerToFloat', inputs, { domain: 'com.microsoft' });
    lowering.define(y, 'Mul', [product, scales]);
  },
};
