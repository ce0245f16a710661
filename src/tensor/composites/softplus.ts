// softplus: log(1 + exp(x)), without overflow at either end.
import { defineComposite } from '../definition.ts';
import { LfmError } from '../error.ts';
import { abs, add, exp, log1p, logistic, maximum, mul, neg } from '../functions.ts';
import type { Tensor } from '../tracer.ts';
import { emitOne } from '../tracer.ts';

/** softplus(x) -> log(1 + exp(x)). */
defineComposite({
  kind: 'softplus',
  decompose: ([x]) => {
    if (!x) throw new LfmError('shape-mismatch', 'softplus expects one operand.');
    return [add(maximum(x, 0), log1p(exp(neg(abs(x)))))];
  },
  gradient: ({ operands: [x], cotangents: [dy] }) => (x && dy ? [mul(dy, logistic(x))] : []),
});

export function softplus(x: Tensor): Tensor {
  return emitOne('softplus', [x]);
}
