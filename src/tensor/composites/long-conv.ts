// long_conv: a depthwise convolution whose filter is as long as the sequence, as products with Toeplitz blocks.
// Shapes: B batch, T tokens, D channels, N chunks of C tokens.
import { backward } from '../autodiff.ts';
import { defineComposite } from '../definition.ts';
import { LfmError } from '../error.ts';
import {
  add,
  broadcastTo,
  cast,
  dotGeneral,
  dynamicSlice,
  eq,
  expandDims,
  full,
  iota,
  lt,
  mul,
  pad,
  reshape,
  reverse,
  select,
  sliceAxis,
  sub,
  transpose,
  zeros,
  zerosLike,
} from '../functions.ts';
import { scan } from '../primitives/control.ts';
import type { Dim } from '../shape.ts';
import { multiplyDims } from '../shape.ts';
import type { Tensor } from '../tracer.ts';
import { emit } from '../tracer.ts';
import { causalConv } from './causal-conv.ts';
import type { ChunkSizes } from './chunks.ts';
import { chunkSizes, wideType } from './chunks.ts';

/** Most tokens of a chunk, and whether document segments [B, T] follow h and z. */
export type LongConvAttributes = { readonly chunk: number; readonly segments: boolean };

/** What a lag of whole chunks works on. */
interface Blocks {
  /** [D, C - 1 + N C + 1]: zeros for what lies before the filter's first tap. */
  readonly taps: Tensor;
  /** [D, B, 2 N, C]: the inputs after as many chunks of zeros. */
  readonly inputs: Tensor;
  /** Numbers of the documents that a chunk begins with [B, N], and that the chunk `lag` before it ends with. */
  readonly first: Tensor | undefined;
  readonly last: Tensor | undefined;
  /** 1 where a token is of its chunk's first document, [B, N, C]. */
  readonly into: Tensor | undefined;
}

function operandsOf(
  operands: readonly Tensor[],
  { segments }: LongConvAttributes,
): [Tensor, Tensor, Tensor | undefined] {
  const [h, z] = operands;
  if (h?.rank !== 2 || z?.rank !== 3)
    throw new LfmError('shape-mismatch', 'long_conv expects a filter [T, D] and inputs [B, T, D].');
  return [h, z, segments ? operands[2] : undefined];
}

/** x [B, T] of numbers as [B, N, C], padded with one that no document has. */
function numbered(segments: Tensor, { count, size }: ChunkSizes): Tensor {
  const [b = 1, t = 1] = segments.shape;
  return reshape(pad(segments, [0, 0], [0, count * size - Number(t)], -1), [b, count, size]);
}

function blocksOf(h: Tensor, z: Tensor, segments: Tensor | undefined, sizes: ChunkSizes): Blocks {
  const { count, size } = sizes;
  const [b = 1, t = 1, d = 1] = z.shape;
  const after = count * size - Number(t);
  const numbers = segments && numbered(segments, sizes);
  const edge = (at: number) => numbers && reshape(sliceAxis(numbers, 2, at, at + 1), [b, count]);
  const [first, last] = [edge(0), edge(size - 1)];
  const same = (one: Tensor | undefined) => numbers && one && cast(eq(numbers, expandDims(one, 2)), z.dtype);
  const chunks = reshape(pad(transpose(z, [2, 0, 1]), [0, 0, 0], [0, 0, after]), [d, b, count, size]);
  const out = same(last);
  // With documents, lags within a chunk's length are taken one by one elsewhere: no factors for its rows and columns tell them.
  const far = segments ? select(lt(iota('int32', [t, 1], 0), size), 0, h) : h;
  return {
    taps: pad(transpose(far, [1, 0]), [0, size - 1], [0, after + 1]),
    inputs: pad(out ? mul(chunks, out) : chunks, [0, 0, count, 0], [0, 0, 0, 0]),
    first,
    last: last && pad(last, [0, count], [0, 0], -1),
    into: same(first),
  };
}

/** What inputs `lag` chunks back add to y [D, C, B, N], in the wide type. */
function atLag(lag: Tensor, { taps, inputs, first, last }: Blocks, { count, size }: ChunkSizes): Tensor {
  const [d = 1, b = 1] = inputs.shape;
  const zero = full('int32', [], 0);
  // Rows of one window, each a place further to the right: [j, i] holds tap lag C + i - j.
  const window = dynamicSlice(taps, [zero, mul(lag, size)], [d, 2 * size]);
  const rows = reshape(broadcastTo(expandDims(window, 1), [d, size, 2 * size]), [d, 2 * size * size]);
  const skewed = reshape(sliceAxis(rows, 1, 0, size * (2 * size - 1)), [d, size, 2 * size - 1]);
  const toeplitz = sliceAxis(skewed, 2, size - 1, 2 * size - 1);
  const from = sub(count, lag);
  const y = dotGeneral(toeplitz, dynamicSlice(inputs, [zero, zero, from, zero], [d, b, count, size]), {
    lhsBatching: [0],
    rhsBatching: [0],
    lhsContracting: [1],
    rhsContracting: [3],
    preferredType: wideType(inputs.dtype),
  });
  if (!first || !last) return y;
  const reached = eq(first, dynamicSlice(last, [zero, from], [b, count]));
  return mul(y, reshape(cast(reached, y.dtype), [1, 1, b, count]));
}

/** y [D, C, B, N] as [B, T, D], without what crosses into a chunk's later documents. */
function finished(y: Tensor, { into }: Blocks, length: Dim): Tensor {
  const [d = 1, c = 1, b = 1, n = 1] = y.shape;
  const kept = into ? mul(y, expandDims(transpose(cast(into, y.dtype), [2, 0, 1]), 0)) : y;
  return sliceAxis(reshape(transpose(kept, [2, 3, 1, 0]), [b, multiplyDims(n, c), d]), 1, 0, length);
}

/** Lags below a chunk's length, document by document. */
function near(h: Tensor, z: Tensor, segments: Tensor, size: number): Tensor {
  const taps = transpose(reverse(sliceAxis(h, 0, 0, Math.min(size, Number(h.dim(0)))), [0]), [1, 0]);
  return causalConv(z, expandDims(taps, 1), { segments }).y;
}

/**
 * long_conv(h [T, D], z [B, T, D], segments? [B, T] int32) -> y [B, T, D], y[t] = Σ h[t - s] z[s] over s up to t. T is known.
 * It takes T² D multiplications a row; an engine may put a Fourier transform in its place.
 */
defineComposite<LongConvAttributes>({
  kind: 'long_conv',
  decompose: (operands, attributes) => {
    const [h, z, segments] = operandsOf(operands, attributes);
    const sizes = chunkSizes(z.dim(1), attributes.chunk);
    const blocks = blocksOf(h, z, segments, sizes);
    const start = zeros(wideType(z.dtype), [z.dim(2), sizes.size, z.dim(0), sizes.count]);
    const { carries } = scan(sizes.count, [start], [], (lag, [y = start]) => ({
      carries: [add(y, atLag(lag, blocks, sizes))],
      outputs: [],
    }));
    const far = cast(finished(carries[0] ?? start, blocks, z.dim(1)), z.dtype);
    return [segments ? add(far, near(h, z, segments, sizes.size)) : far];
  },
  gradient: ({ operands, attributes, cotangents: [dy] }) =>
    dy ? emit('long_conv_grad', [...operands, dy], attributes) : [],
});

/** long_conv_grad(operands of long_conv, dy) -> dh, dz. */
defineComposite<LongConvAttributes>({
  kind: 'long_conv_grad',
  decompose: (given, attributes) => {
    const [h, z, segments] = operandsOf(given, attributes);
    const dy = given.at(-1);
    if (!dy) throw new LfmError('shape-mismatch', 'long_conv_grad expects dy.');
    const sizes = chunkSizes(z.dim(1), attributes.chunk);
    const blocks = blocksOf(h, z, segments, sizes);
    const { taps, inputs } = blocks;
    // A cotangent of the sum is one of every lag's share of it.
    const shape = [z.dim(2), sizes.size, z.dim(0), sizes.count];
    const share = zeros(wideType(z.dtype), shape);
    const [dShare = share] = backward([cast(finished(share, blocks, z.dim(1)), z.dtype)], [dy], [share]);
    const { carries } = scan(sizes.count, [zerosLike(taps), zerosLike(inputs)], [], (lag, [dh = taps, dz = inputs]) => {
      const [dTaps = taps, dInputs = inputs] = backward([atLag(lag, blocks, sizes)], [dShare], [taps, inputs]);
      return { carries: [add(dh, dTaps), add(dz, dInputs)], outputs: [] };
    });
    const short = segments && near(h, z, segments, sizes.size);
    const outputs = [taps, inputs, ...(short ? [short] : [])];
    const found = backward(outputs, [...carries, ...(short ? [dy] : [])], [h, z]);
    return [found[0] ?? zerosLike(h), found[1] ?? zerosLike(z)];
  },
});

/** See the composite. `chunk`: most tokens of a chunk, whose square is held for every channel. */
export function longConv(
  h: Tensor,
  z: Tensor,
  { segments, chunk = 32 }: { readonly segments?: Tensor | undefined; readonly chunk?: number } = {},
): Tensor {
  const [y] = emit('long_conv', segments ? [h, z, segments] : [h, z], { chunk, segments: !!segments });
  if (!y) throw new LfmError('no-result', 'long_conv gave no result.');
  return y;
}
