// selective_scan: a state of numbers that each decay at a rate of their own (Mamba, Gu and Dao 2023, arXiv 2312.00752, 3.2).
// Shapes: B batch, T tokens, D channels, N numbers of state a channel, M chunks of C tokens.
import { backward } from '../autodiff.ts';
import { defineComposite } from '../definition.ts';
import { LfmError } from '../error.ts';
import {
  add,
  cast,
  concatenate,
  dotGeneral,
  exp,
  expandDims,
  iota,
  lt,
  mul,
  pad,
  reshape,
  select,
  sliceAxis,
  sub,
  zeros,
  zerosLike,
} from '../functions.ts';
import { scan } from '../primitives/control.ts';
import type { Dim } from '../shape.ts';
import { multiplyDims, subtractDims } from '../shape.ts';
import type { Tensor } from '../tracer.ts';
import { emit } from '../tracer.ts';
import { bordersOf, chunkSizes, reordered, gradientThroughStates, givenToGradient, wideType } from './chunks.ts';

/** Most tokens of a chunk, and which optional operands follow x, dt, a, b, c, in this order. */
export type SelectiveScanAttributes = {
  readonly chunk: number;
  readonly state: boolean;
  readonly lengths: boolean;
  readonly segments: boolean;
};

/** Some tokens, time first: x, dt [C, B, D], b, c [C, B, N], and 0 where a document begins, else 1: keep [C, B, 1, 1]. */
interface Tokens {
  readonly x: Tensor;
  readonly dt: Tensor;
  readonly b: Tensor;
  readonly c: Tensor;
  readonly keep: Tensor | undefined;
}

interface Parts extends Tokens {
  readonly a: Tensor;
  /** [B, D, N], in float32 or wider. */
  readonly state: Tensor;
}

/** [B, T, X] as [T, B, X], and back. */
function swapped(x: Tensor): Tensor {
  return reordered(x, [1, 0, 2]);
}

function partsOf(operands: readonly Tensor[], attributes: SelectiveScanAttributes): Parts {
  const [x, dt, a, b, c, ...rest] = operands;
  if (!x || !dt || !a || !b || !c || x.rank !== 3 || a.rank !== 2)
    throw new LfmError('shape-mismatch', 'selective_scan expects x and dt [B, T, D], a [D, N], b and c [B, T, N].');
  const take = (present: boolean) => (present ? rest.shift() : undefined);
  const [state, lengths, segments] = [take(attributes.state), take(attributes.lengths), take(attributes.segments)];
  const wide = wideType(x.dtype);
  const [batch = 1, length = 1] = x.shape;
  const steps = cast(dt, wide);
  // No time passes in padding: it leaves the state as it was.
  const valid = lengths && expandDims(lt(iota('int32', [1, length], 1), expandDims(lengths, 1)), 2);
  const borders = segments && sub(1, cast(bordersOf(segments), wide));
  return {
    x: swapped(x),
    dt: swapped(valid ? select(valid, steps, 0) : steps),
    a: cast(a, wide),
    b: swapped(b),
    c: swapped(c),
    keep: borders && reshape(reordered(borders, [1, 0]), [length, batch, 1, 1]),
    state: state ? cast(state, wide) : zeros(wide, [batch, x.dim(2), a.dim(1)]),
  };
}

/** Every token's state [C, B, D, N] is held here, and nowhere else: [y [C, B, D], the last state]. */
function through({ x, dt, b, c, keep }: Tokens, a: Tensor, before: Tensor): [Tensor, Tensor] {
  const wide = before.dtype;
  const column = expandDims(dt, 3);
  const decays = exp(mul(column, a));
  const kept = keep ? mul(decays, keep) : decays;
  const taken = mul(mul(column, expandDims(cast(x, wide), 3)), expandDims(cast(b, wide), 2));
  const size = Number(x.dim(0));
  const at = (stack: Tensor, t: number) => reshape(sliceAxis(stack, 0, t, t + 1), before.shape);
  const states: Tensor[] = [];
  let state = before;
  for (let t = 0; t < size; t++) {
    state = add(mul(at(kept, t), state), at(taken, t));
    states.push(expandDims(state, 0));
  }
  const y = dotGeneral(concatenate(states, 0), cast(c, wide), {
    lhsBatching: [0, 1],
    rhsBatching: [0, 1],
    lhsContracting: [3],
    rhsContracting: [2],
    preferredType: wide,
  });
  return [cast(y, x.dtype), state];
}

/** [T, ...] as [M, C, ...], with zeros after the last token: time stands still there. */
function chunked(x: Tensor, { count, size }: Chunks): Tensor {
  const none = x.shape.map(() => 0);
  const after = subtractDims(multiplyDims(count, size), x.dim(0));
  return reshape(pad(x, none, x.shape.map((): Dim => 0).with(0, after)), [count, size, ...x.shape.slice(1)]);
}

/** y [M, C, B, D] as [T, B, D]. */
function joined(y: Tensor, length: Dim): Tensor {
  const [count = 1, size = 1, ...rest] = y.shape;
  return sliceAxis(reshape(y, [multiplyDims(count, size), ...rest]), 0, 0, length);
}

interface Chunks {
  readonly count: Dim;
  readonly size: number;
}

/** A length that is not known is walked token by token. */
function chunksOf(length: Dim, chunk: number): Chunks {
  return typeof length === 'number' ? chunkSizes(length, chunk) : { count: length, size: 1 };
}

/** What a scan over chunks is given, and how its body reads that. */
function slicesOf({ x, dt, b, c, keep }: Parts, chunks: Chunks) {
  const slices = [x, dt, b, c, ...(keep ? [keep] : [])].map((one) => chunked(one, chunks));
  const tokens = ([x_ = x, dt_ = dt, b_ = b, c_ = c, keep_]: readonly Tensor[]): Tokens => ({
    x: x_,
    dt: dt_,
    b: b_,
    c: c_,
    keep: keep && keep_,
  });
  return { slices, tokens };
}

/**
 * selective_scan(x [B, T, D], dt [B, T, D], a [D, N], b [B, T, N], c [B, T, N], state? [B, D, N], lengths? [B] int32,
 * segments? [B, T] int32) -> y [B, T, D], next state [B, D, N] and, where T is above 1, as residual the states at the
 * chunks' starts [M, B, D, N]. With h the state: h[t] = exp(dt[t] a) h[t-1] + dt[t] x[t] ⊗ b[t], y[t] = h[t] c[t].
 * No more than one chunk's states are held at a time.
 */
defineComposite<SelectiveScanAttributes>({
  kind: 'selective_scan',
  decompose: (operands, attributes) => {
    const parts = partsOf(operands, attributes);
    const { x, a, state } = parts;
    const length = x.dim(0);
    if (length === 1) {
      const [y, next] = through(parts, a, state);
      return [swapped(y), next];
    }
    const chunks = chunksOf(length, attributes.chunk);
    const { slices, tokens } = slicesOf(parts, chunks);
    const { carries, outputs } = scan(chunks.count, [state], slices, (_index, [before = state], given) => {
      const [y, after] = through(tokens(given), a, before);
      return { carries: [after], outputs: [y, before] };
    });
    const [next = state] = carries;
    const [y = x, states = state] = outputs;
    return [swapped(joined(y, length)), next, states];
  },
  gradient: gradientThroughStates('selective_scan'),
});

/** selective_scan_grad(operands of selective_scan, states, dy, d next state?) -> d of its float operands, in order. */
defineComposite<SelectiveScanAttributes & { readonly end: boolean }>({
  kind: 'selective_scan_grad',
  decompose: (given, attributes) => {
    const { operands, states, dy, dNext } = givenToGradient('selective_scan', given, attributes.end);
    const parts = partsOf(operands, attributes);
    const { a, state } = parts;
    const length = parts.x.dim(0);
    const chunks = chunksOf(length, attributes.chunk);
    const { slices, tokens } = slicesOf(parts, chunks);
    const starts = [dNext ? cast(dNext, state.dtype) : zerosLike(state), zerosLike(a)];
    // From the last chunk to the first, each computed again from the state it began with.
    const { carries, outputs } = scan(
      chunks.count,
      starts,
      [states, chunked(swapped(dy), chunks), ...slices],
      (_index, [dAfter = state, total = a], [before = state, dy_ = dy, ...rest]) => {
        const some = tokens(rest);
        const [y, after] = through(some, a, before);
        const wrt = [before, a, some.x, some.dt, some.b, some.c];
        const found = backward([y, after], [dy_, dAfter], wrt).map((d, i) => d ?? zerosLike(wrt[i] ?? dy));
        const [dBefore = before, da = a, ...others] = found;
        return { carries: [dBefore, add(total, da)], outputs: others };
      },
      { reverse: true },
    );
    const [dStart = state, da = a] = carries;
    // Back through what was done to the operands before they were cut: types, padding, the order of axes.
    const inside = [parts.x, parts.dt, parts.b, parts.c];
    const floats = operands.slice(0, 5);
    const arrived = outputs.map((one) => joined(one, length));
    const back = backward([...inside, parts.a], [...arrived, da], floats);
    const found = floats.map((one, i) => back[i] ?? zerosLike(one));
    const first = attributes.state ? operands[5] : undefined;
    return first ? [...found, cast(dStart, first.dtype)] : found;
  },
});

export interface SelectiveScanOptions {
  /** What came before, [B, D, N]; absent: nothing. */
  readonly state?: Tensor | undefined;
  /** How many tokens of each row count, from the front, [B] int32. */
  readonly lengths?: Tensor | undefined;
  /** [B, T] int32: the state begins anew where the number changes. */
  readonly segments?: Tensor | undefined;
  /** Most tokens of a chunk. */
  readonly chunk?: number;
}

/** See the composite; a is below 0. `next` is the state after the last valid token. */
export function selectiveScan(
  x: Tensor,
  dt: Tensor,
  a: Tensor,
  { b, c }: { readonly b: Tensor; readonly c: Tensor },
  { state, lengths, segments, chunk = 16 }: SelectiveScanOptions = {},
): { y: Tensor; next: Tensor } {
  const operands = [x, dt, a, b, c, state, lengths, segments].filter((tensor) => tensor !== undefined);
  const attributes: SelectiveScanAttributes = {
    chunk,
    state: !!state,
    lengths: !!lengths,
    segments: !!segments,
  };
  const [y, next] = emit('selective_scan', operands, attributes);
  if (!y || !next) throw new LfmError('no-result', 'selective_scan gave no result.');
  return { y, next };
}
