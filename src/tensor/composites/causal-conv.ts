// causal_conv: a depthwise convolution over time that sees only the present and the past, with its state.
import { vectorJacobian } from '../autodiff.ts';
import { defineComposite } from '../definition.ts';
import { LfmError } from '../error.ts';
import {
  add,
  cast,
  concatenate,
  eq,
  expandDims,
  gatherFrom,
  iota,
  mul,
  pad,
  reshape,
  sliceAxis,
  sum,
} from '../functions.ts';
import type { Dim } from '../shape.ts';
import { addDims, subtractDims } from '../shape.ts';
import type { Tensor } from '../tracer.ts';
import { decompositionOf, emit } from '../tracer.ts';

/** Which optional operands follow u and w, in this order. */
export type CausalConvAttributes = { readonly tail: boolean; readonly lengths: boolean; readonly segments: boolean };

interface Parts {
  u: Tensor;
  w: Tensor;
  tail: Tensor | undefined;
  lengths: Tensor | undefined;
  segments: Tensor | undefined;
  kernel: number;
}

function partsOf(operands: readonly Tensor[], attributes: CausalConvAttributes): Parts {
  const [u, w, ...rest] = operands;
  const kernel = w?.shape[2];
  if (!u || !w || typeof kernel !== 'number')
    throw new LfmError('shape-mismatch', 'causal_conv expects u [B, T, D] and weight [D, 1, K].');
  const take = (present: boolean) => (present ? rest.shift() : undefined);
  return {
    u,
    w,
    tail: take(attributes.tail),
    lengths: take(attributes.lengths),
    segments: take(attributes.segments),
    kernel,
  };
}

/** u with the K-1 rows before it: the state, or zeros. */
function extended({ u, tail, kernel }: Parts): Tensor {
  return tail ? concatenate([tail, u], 1) : pad(u, [0, kernel - 1, 0], [0, 0, 0]);
}

/** x with row t holding what stood at row t - steps; zeros come in at the end that is left. */
function shifted(x: Tensor, steps: Dim): Tensor {
  const back = subtractDims(0, steps);
  return pad(x, [0, steps, 0], [0, back, 0]);
}

/** Weight of tap j as a row [D]. */
function tap(w: Tensor, j: number): Tensor {
  return reshape(sliceAxis(w, 2, j, j + 1), [w.dim(0)]);
}

/** 1 where row t and the row `back` before it belong to one document, else 0: [B, T, 1]. */
function sameDocument(segments: Tensor, back: number, like: Tensor): Tensor {
  const length = segments.dim(1);
  const before = sliceAxis(pad(segments, [0, back], [0, 0], -1), 1, 0, length);
  return expandDims(cast(eq(before, segments), like.dtype), -1);
}

/**
 * causal_conv(u [B, T, D], weight [D, 1, K], tail? [B, K-1, D], lengths? [B] int32, segments? [B, T] int32)
 * -> y [B, T, D], next tail [B, K-1, D]. y[t] = sum over j of weight[:, 0, j] * u[t - (K-1) + j]. The next tail is taken
 * after `lengths` rows of each row of the batch (all T without it), so that padding never enters the state. Taps that reach
 * into another segment count as zero.
 */
defineComposite<CausalConvAttributes>({
  kind: 'causal_conv',
  decompose: (operands, attributes) => {
    const parts = partsOf(operands, attributes);
    const { u, w, lengths, segments, kernel } = parts;
    const length = u.dim(1);
    const rows = extended(parts);
    const plain = !parts.tail && !segments && (typeof length !== 'number' || length >= kernel - 1);
    let y: Tensor | undefined;
    for (let j = 0; j < kernel; j++) {
      if (plain) {
        // Horner's scheme in the shift: no padded copy of u.
        const term = mul(u, tap(w, j));
        y = y ? add(shifted(y, 1), term) : term;
        continue;
      }
      const back = kernel - 1 - j;
      const past = sliceAxis(rows, 1, j, addDims(j, length));
      const term = mul(segments && back ? mul(past, sameDocument(segments, back, u)) : past, tap(w, j));
      y = y ? add(y, term) : term;
    }
    const next = lengths
      ? gatherFrom(rows, add(expandDims(lengths, 1), iota('int32', [1, kernel - 1], 1)), { axis: 1, batchDims: 1 })
      : sliceAxis(rows, 1, length, addDims(length, kernel - 1));
    return y ? [y, next] : [];
  },
  gradient: ({ operands, attributes, cotangents }) => {
    const [dy, dNext] = cotangents;
    if (attributes.tail || attributes.segments || dNext || !dy) {
      return vectorJacobian(decompositionOf('causal_conv', operands, attributes), operands, cotangents);
    }
    const { u, w } = partsOf(operands, attributes);
    return emit('causal_conv_grad', [u, w, dy]);
  },
});

/** causal_conv_grad(u, weight, dy) -> du, dweight, for a convolution that begins from nothing. */
defineComposite({
  kind: 'causal_conv_grad',
  decompose: (operands) => {
    const parts = partsOf(operands, { tail: false, lengths: false, segments: false });
    const dy = operands[2];
    if (!dy) throw new LfmError('shape-mismatch', 'causal_conv_grad expects u, weight and dy.');
    const { u, w, kernel } = parts;
    const taps: Tensor[] = [];
    let du: Tensor | undefined;
    for (let j = 0; j < kernel; j++) {
      const later = shifted(dy, j - (kernel - 1));
      const term = mul(later, tap(w, j));
      du = du ? add(du, term) : term;
      taps.push(sum(mul(u, later), [0, 1]));
    }
    return du
      ? [
          du,
          expandDims(
            concatenate(
              taps.map((t) => expandDims(t, -1)),
              1,
            ),
            1,
          ),
        ]
      : [];
  },
});

/** Programs hold each tap, and kernels may come from a hostile file. */
const MOST_TAPS = 4096;

/** See the composite. `next` is the state after the last valid row. Errors: `bad-kernel` over 4096 taps. */
export function causalConv(
  u: Tensor,
  w: Tensor,
  options: { tail?: Tensor | undefined; lengths?: Tensor | undefined; segments?: Tensor | undefined } = {},
): { y: Tensor; next: Tensor } {
  const { tail, lengths, segments } = options;
  if (Number(w.shape[2]) > MOST_TAPS)
    throw new LfmError(
      'bad-kernel',
      `causal_conv: expected a kernel of at most ${MOST_TAPS} taps; found ${w.shape[2]}. A longer filter wants another operator.`,
    );
  const operands = [u, w, tail, lengths, segments].filter((tensor) => tensor !== undefined);
  const attributes: CausalConvAttributes = { tail: !!tail, lengths: !!lengths, segments: !!segments };
  const [y, next] = emit('causal_conv', operands, attributes);
  if (!y || !next) throw new LfmError('no-result', 'causal_conv gave no result.');
  return { y, next };
}
