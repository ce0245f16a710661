// Forms of composites that suit ONNX Runtime, which runs one operation after another over whole arrays: fewer walks over the
// large ones. Tested like every composite, against the reference.
import type { Tensor } from '../../tensor/index.ts';
import { div, dotGeneral, embed, expandDims, mul, neg, scatterInto, sub } from '../../tensor/index.ts';
import type { CrossEntropyPart } from '../../tensor/composites/cross-entropy.ts';
import { crossEntropyByParts, lossOfTokens } from '../../tensor/composites/cross-entropy.ts';
import type { Variants } from '../../tensor/passes.ts';

/**
 * d logits = weight * (softmax - one at the label). The first part is powers, scaled by row on the narrow side of each
 * product; the second touches one row of w a token. So the array of logits is walked no more than the loss needs. The parts
 * cancel: float32 has the digits for that, bfloat16 has not.
 */
function narrowCrossEntropy(x: Tensor, w: Tensor, labels: Tensor, weights: Tensor): CrossEntropyPart {
  const { loss, powers, total } = lossOfTokens(x, w, labels, weights);
  const scale = expandDims(div(weights, total), -1);
  const narrow = expandDims(weights, -1);
  const plain = { lhsBatching: [], rhsBatching: [], preferredType: x.dtype };
  const toward = dotGeneral(powers, w, { ...plain, lhsContracting: [1], rhsContracting: [0] });
  const spread = dotGeneral(powers, mul(x, scale), { ...plain, lhsContracting: [0], rhsContracting: [0] });
  return {
    loss,
    dx: sub(mul(toward, scale), mul(embed(labels, w), narrow)),
    dw: scatterInto(spread, labels, neg(mul(x, narrow)), { axis: 0, batchDims: 0, reducer: 'add' }),
  };
}

export const variants: Variants = {
  softmax_cross_entropy: (operands, { chunks, softCap }) =>
    operands[0]?.dtype === 'float32' && softCap === undefined
      ? crossEntropyByParts(operands, Number(chunks), narrowCrossEntropy)
      : undefined,
};
