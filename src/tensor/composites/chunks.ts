// What recurrences that run by chunks share: cutting time into chunks, decay inside one, borders between documents.
// Shapes: B batch, T tokens, N chunks of C tokens, G and R heads.
import { vectorJacobian } from '../autodiff.ts';
import type { GradientContext } from '../definition.ts';
import type { DType } from '../dtype.ts';
import { LfmError } from '../error.ts';
import {
  add,
  and,
  cast,
  dotGeneral,
  eq,
  exp,
  expandDims,
  full,
  ge,
  iota,
  le,
  mul,
  ne,
  pad,
  reshape,
  select,
  sliceAxis,
  sub,
  transpose,
  zerosLike,
} from '../functions.ts';
import type { Attributes } from '../program.ts';
import type { Dim, Shape } from '../shape.ts';
import type { Tensor } from '../tracer.ts';
import { decompositionOf, emit } from '../tracer.ts';

/** States, decays and sums are never narrower than float32. */
export function wideType(dtype: DType): DType {
  return dtype === 'float64' ? 'float64' : 'float32';
}

/** A transposition, or only a change of shape where nothing but axes of size 1 move. */
export function reordered(x: Tensor, permutation: readonly number[]): Tensor {
  const moving = permutation.filter((axis) => x.shape[axis] !== 1);
  const still = moving.every((axis, i) => i === 0 || axis > (moving[i - 1] ?? 0));
  return still
    ? reshape(
        x,
        permutation.map((axis) => x.dim(axis)),
      )
    : transpose(x, permutation);
}

export interface ChunkSizes {
  readonly count: number;
  readonly size: number;
}

/** T tokens in chunks of at most `chunk`, as even as they can be. */
export function chunkSizes(length: Dim, chunk: number): ChunkSizes {
  if (typeof length !== 'number')
    throw new LfmError('unbound-symbol', `A length of ${length} cannot be cut into chunks; expected a known one.`);
  const count = Math.max(1, Math.ceil(length / chunk));
  return { count, size: Math.ceil(length / count) };
}

/** x [B, T, ...] as [B, N, C, ...], with zeros after the last token. */
export function toChunks(x: Tensor, { count, size }: ChunkSizes): Tensor {
  const [b = 1, t = 1, ...rest] = x.shape;
  const none = x.shape.map(() => 0);
  const whole = pad(x, none, none.with(1, count * size - Number(t)));
  return reshape(whole, [b, count, size, ...rest]);
}

/** y [N, B, G, C, R, V] as [B, T, H, V]. */
export function fromChunks(y: Tensor, shape: Shape): Tensor {
  const [n = 1, b = 1, , c = 1] = y.shape;
  const [, t = 1, h = 1, v = 1] = shape;
  return sliceAxis(reshape(reordered(y, [1, 0, 3, 2, 4, 5]), [b, Number(n) * Number(c), h, v]), 1, 0, t);
}

/** Where a token begins a document that the one before it is not of, bool [B, T]; the first token goes on with the state's. */
export function bordersOf(segments: Tensor): Tensor {
  const before = pad(segments, [0, 1], [0, 0]);
  const length = segments.dim(1);
  const differs = ne(sliceAxis(before, 1, 0, length), segments);
  return select(ge(iota('int32', [1, length], 1), 1), cast(differs, 'int32'), full('int32', [], 0));
}

/** Sums of x [..., C] up to each place, its own included. */
function running(x: Tensor): Tensor {
  const size = x.dim(-1);
  const upTo = cast(le(iota('int32', [size, size], 0), iota('int32', [size, size], 1)), x.dtype);
  return dotGeneral(x, upTo, {
    lhsBatching: [],
    rhsBatching: [],
    lhsContracting: [x.rank - 1],
    rhsContracting: [0],
    preferredType: x.dtype,
  });
}

export interface Decays {
  /** What token i sees of token j of its chunk, 0 for later ones: [N | 1, B | 1, G | 1, R | 1, C, C]. */
  readonly pairs: Tensor;
  /** What token i sees of the state at the chunk's start, [N, B, G | 1, R | 1, C]; undefined: all of it. */
  readonly into: Tensor | undefined;
  /** What the chunk's end keeps of token j. */
  readonly out: Tensor | undefined;
  /** What the chunk's end keeps of its start, [N, B, G | 1, R | 1, 1]. */
  readonly through: Tensor | undefined;
}

/**
 * Decay factors from their logarithms [N, B, G, R, C], none of them above 0: every exponent is a sum of some of these, so
 * nothing overflows. A border between documents stops everything that crosses it.
 */
export function decaysOf(
  logs: Tensor | undefined,
  segments: Tensor | undefined,
  sizes: ChunkSizes,
  wide: DType,
): Decays {
  const { size } = sizes;
  const past = ge(iota('int32', [size, size], 0), iota('int32', [size, size], 1));
  const document = segments && documentsOf(segments, sizes, wide);
  const visible = document ? and(past, eq(expandDims(document, -1), expandDims(document, -2))) : past;
  const last = (x: Tensor) => sliceAxis(x, x.rank - 1, size - 1, size);
  const seen = document && {
    into: cast(eq(document, 0), wide),
    out: cast(eq(document, last(document)), wide),
    through: cast(eq(last(document), 0), wide),
  };
  const shaped = (x: Tensor) => (x.rank === 2 ? reshape(x, [1, 1, 1, 1, size, size]) : x);
  if (!logs)
    return {
      pairs: shaped(cast(visible, wide)),
      into: seen?.into,
      out: seen?.out,
      through: seen?.through,
    };
  const sums = running(logs);
  const hidden = shaped(select(visible, full(wide, [], 0), -1e30));
  const masked = (x: Tensor, by: Tensor | undefined) => (by ? mul(x, by) : x);
  return {
    pairs: exp(add(sub(expandDims(sums, -1), expandDims(sums, -2)), hidden)),
    into: masked(exp(sums), seen?.into),
    out: masked(exp(sub(last(sums), sums)), seen?.out),
    through: masked(exp(last(sums)), seen?.through),
  };
}

/** How many borders of its chunk stand up to each token, [N, B, 1, 1, C]: equal where no border lies between. */
function documentsOf(segments: Tensor, sizes: ChunkSizes, wide: DType): Tensor {
  const borders = reordered(toChunks(bordersOf(segments), sizes), [1, 0, 2]);
  const [n = 1, b = 1, c = 1] = borders.shape;
  return reshape(running(cast(borders, wide)), [n, b, 1, 1, c]);
}

/**
 * The gradient rule of a recurrence KIND -> y, next state, states at the chunks' starts: the composite KIND_grad, which takes
 * the operands, these states, dy and, where `end` says so, d next state.
 */
export function gradientThroughStates<A extends Attributes>(kind: string) {
  return ({ operands, attributes, results: [y, , states], cotangents }: GradientContext<A>) => {
    const [dy, dNext, dStates] = cotangents;
    // The residual is read by a derivative of the derivative.
    if (!y || !states || dStates)
      return vectorJacobian(decompositionOf(kind, operands, attributes), operands, cotangents);
    const given = [...operands, states, dy ?? zerosLike(y), dNext].filter((tensor) => tensor !== undefined);
    return emit(`${kind}_grad`, given, { ...attributes, end: !!dNext });
  };
}

/** What KIND_grad is given, by its parts. Errors: `shape-mismatch`. */
export function givenToGradient(kind: string, given: readonly Tensor[], end: boolean) {
  const operands = given.slice(0, given.length - (end ? 3 : 2));
  const [states, dy, dNext] = given.slice(operands.length);
  if (!states || !dy) throw new LfmError('shape-mismatch', `${kind}_grad expects states and dy.`);
  return { operands, states, dy, dNext };
}
