// softmax_cross_entropy: from hidden states to a loss without ever holding the whole [tokens, vocabulary] array.
import { vectorJacobian } from '../autodiff.ts';
import { defineComposite } from '../definition.ts';
import { LfmError } from '../error.ts';
import {
  add,
  cast,
  concatenate,
  div,
  dotGeneral,
  eq,
  exp,
  expandDims,
  gatherFrom,
  iota,
  linear,
  log,
  max,
  mul,
  select,
  sliceAxis,
  sub,
  sum,
  tanh,
} from '../functions.ts';
import type { Tensor } from '../tracer.ts';
import { decompositionOf, emit } from '../tracer.ts';

/**
 * Into how many runs of tokens the work is cut (the token count must be a multiple), and c where logits l stand for
 * c tanh(l / c).
 */
export type CrossEntropyAttributes = { readonly chunks: number; readonly softCap?: number };

/** Loss and gradients of some tokens. */
export interface CrossEntropyPart {
  loss: Tensor;
  dx: Tensor;
  dw: Tensor;
}

/**
 * Loss of some tokens, with what its gradients are made of: exp(logits - largest) [N, V] and their sums [N], and, with a
 * cap, tanh(l / c) [N, V].
 */
export function lossOfTokens(
  x: Tensor,
  w: Tensor,
  labels: Tensor,
  weights: Tensor,
  softCap?: number,
): { loss: Tensor; powers: Tensor; total: Tensor; bent: Tensor | undefined } {
  const product = linear(x, w);
  const raw = x.dtype === 'float64' ? product : cast(product, 'float32');
  const bent = softCap === undefined ? undefined : tanh(mul(raw, 1 / softCap));
  const wide = bent && softCap !== undefined ? mul(bent, softCap) : raw;
  const top = max(wide, [-1]);
  const powers = exp(sub(wide, expandDims(top, -1)));
  const total = sum(powers, [-1]);
  const picked = gatherFrom(wide, labels, { axis: 1, batchDims: 1 });
  return { loss: sum(mul(weights, sub(add(top, log(total)), picked)), [0]), powers, total, bent };
}

/** Loss of some tokens, and its gradients: both are known while the logits are at hand, so nothing is kept or recomputed. */
function chunkLoss(x: Tensor, w: Tensor, labels: Tensor, weights: Tensor, softCap?: number): CrossEntropyPart {
  const { loss, powers, total, bent } = lossOfTokens(x, w, labels, weights, softCap);
  const share = mul(powers, expandDims(div(weights, total), -1));
  const isLabel = eq(iota('int32', powers.shape, 1), expandDims(labels, -1));
  const slope = select(isLabel, sub(share, expandDims(weights, -1)), share);
  const dLogits = cast(bent ? mul(slope, sub(1, mul(bent, bent))) : slope, x.dtype);
  const plain = { lhsBatching: [], rhsBatching: [], preferredType: x.dtype };
  return {
    loss,
    dx: dotGeneral(dLogits, w, { ...plain, lhsContracting: [1], rhsContracting: [0] }),
    dw: dotGeneral(dLogits, x, { ...plain, lhsContracting: [0], rhsContracting: [0] }),
  };
}

/**
 * The results of a composite from those of equal runs of tokens, each made by `part` of its rows of `perToken`: `joins` says
 * of each result whether the runs' are summed or stand one after the other. Errors: `indivisible`.
 */
export function inRuns(
  kind: string,
  perToken: readonly Tensor[],
  chunks: number,
  part: (perToken: readonly Tensor[]) => readonly Tensor[],
  joins: readonly ('sum' | 'rows')[],
): Tensor[] {
  if (chunks === 1) return [...part(perToken)];
  const [tokens] = perToken.map((tensor) => tensor.dim(0));
  if (typeof tokens !== 'number' || tokens % chunks !== 0)
    throw new LfmError('indivisible', `${kind} cannot cut ${tokens} tokens into ${chunks} equal runs.`);
  const size = tokens / chunks;
  const parts = Array.from({ length: chunks }, (_, i) =>
    part(perToken.map((tensor) => sliceAxis(tensor, 0, i * size, (i + 1) * size))),
  );
  return joins.map((join, index) => {
    const found = parts.flatMap((results) => results[index] ?? []);
    return join === 'rows' ? concatenate(found, 0) : found.reduce((a, b) => add(a, b));
  });
}

/** The composite's results from those of equal runs of tokens, each made by `part`. */
export function crossEntropyByParts(
  [x, w, labels, weights]: readonly Tensor[],
  chunks: number,
  part: (x: Tensor, w: Tensor, labels: Tensor, weights: Tensor) => CrossEntropyPart,
): Tensor[] {
  if (!x || !w || !labels || !weights)
    throw new LfmError('shape-mismatch', 'softmax_cross_entropy expects x, w, labels and weights.');
  const each = ([rows = x, own = labels, counts = weights]: readonly Tensor[]): Tensor[] => {
    const { loss, dx, dw } = part(rows, w, own, counts);
    return [loss, dx, dw];
  };
  return inRuns('softmax_cross_entropy', [x, labels, weights], chunks, each, ['sum', 'rows', 'sum']);
}

/**
 * softmax_cross_entropy(x [N, D], w [V, D], labels [N] int32, weights [N]) -> loss, dx [N, D], dw [V, D].
 * loss = sum over n of weights[n] * (logsumexp(x[n] wᵀ) - x[n]·w[labels[n]]), in nats. The gradients are residuals.
 */
defineComposite<CrossEntropyAttributes>({
  kind: 'softmax_cross_entropy',
  decompose: (operands, { chunks, softCap }) =>
    crossEntropyByParts(operands, chunks, (...part) => chunkLoss(...part, softCap)),
  gradient: ({ operands, attributes, results: [, dx, dw], cotangents, needed }) => {
    const [dLoss, ddx, ddw] = cotangents;
    // A derivative of the derivative, or of the weights: the logits are held.
    if (ddx || ddw || needed[3]) {
      return vectorJacobian(decompositionOf('softmax_cross_entropy', operands, attributes), operands, cotangents);
    }
    const [x, w] = operands;
    if (!x || !w || !dx || !dw || !dLoss) return [];
    return [mul(dx, cast(dLoss, x.dtype)), mul(dw, cast(dLoss, w.dtype))];
  },
});

/** Weighted sum of the tokens' losses, in nats. `chunks` bounds what is held: tokens / chunks rows of logits. */
export function softmaxCrossEntropy(
  x: Tensor,
  w: Tensor,
  labels: Tensor,
  weights: Tensor,
  { chunks, softCap }: { readonly chunks: number; readonly softCap?: number | undefined },
): Tensor {
  const attributes: CrossEntropyAttributes = { chunks, ...(softCap !== undefined && { softCap }) };
  const [loss] = emit('softmax_cross_entropy', [x, w, labels, weights], attributes);
  if (!loss) throw new LfmError('no-result', 'softmax_cross_entropy gave no result.');
  return loss;
}
