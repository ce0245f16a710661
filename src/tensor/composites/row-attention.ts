// row_attention: one query a row of the batch over rows of a buffer, in whatever order they stand, as a ring of past rows holds them.
// Shapes: B batch, H query heads, G key/value heads, D width of a head, C rows of the buffers.
import { defineComposite } from '../definition.ts';
import { LfmError } from '../error.ts';
import { iota, lt, reshape } from '../functions.ts';
import type { Tensor } from '../tracer.ts';
import { emit } from '../tracer.ts';
import type { Scoring } from './attention-scores.ts';
import { cappedScores, masked, softmaxOf, swap } from './attention-scores.ts';

defineComposite<Scoring>({
  kind: 'row_attention',
  /** row_attention(q [B, 1, H, D], keys [B, G, C, D], values, counts int32 [B]) -> out [B, 1, H, D] over the first `counts` rows. */
  decompose: ([q_, keys, values, counts], scoring) => {
    if (!q_ || !keys || !values || !counts)
      throw new LfmError('shape-mismatch', 'row_attention is short of an operand.');
    const q = swap(q_);
    const held = lt(iota('int32', [1, 1, 1, keys.dim(2)], 3), reshape(counts, [counts.dim(0), 1, 1, 1]));
    const scores = masked(cappedScores(q, keys, scoring), held);
    return [swap(softmaxOf(scores, values, q.dtype).out)];
  },
});

/** Softmax attention of q [B, 1, H, D] over the first `counts` rows of buffers [B, G, C, D]. */
export function rowAttention(q: Tensor, keys: Tensor, values: Tensor, counts: Tensor, scoring: Scoring): Tensor {
  return emit('row_attention', [q, keys, values, counts], scoring)[0] ?? q;
}
