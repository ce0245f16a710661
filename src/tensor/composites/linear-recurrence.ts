// linear_recurrence: a matrix state that decays and takes in a key and a value with each token; by chunks or by tokens.
// Shapes: B batch, T tokens, G key heads, H heads, R = H / G, K width of keys, V of values, N chunks of C tokens.
import { backward } from '../autodiff.ts';
import { defineComposite } from '../definition.ts';
import { LfmError } from '../error.ts';
import {
  add,
  broadcastTo,
  cast,
  dotGeneral,
  exp,
  expandDims,
  iota,
  lt,
  matmul,
  mul,
  reshape,
  select,
  sliceAxis,
  sub,
  zeros,
  zerosLike,
} from '../functions.ts';
import { scan } from '../primitives/control.ts';
import type { Dim } from '../shape.ts';
import { divideDims } from '../shape.ts';
import type { Tensor } from '../tracer.ts';
import { emit } from '../tracer.ts';
import {
  bordersOf,
  chunkSizes,
  decaysOf,
  fromChunks,
  reordered,
  toChunks,
  gradientThroughStates,
  givenToGradient,
  wideType,
} from './chunks.ts';
import { unitLowerInverse } from './unit-lower-inverse.ts';

/** Most tokens of a chunk, and which optional operands follow q, k, v, in this order. */
export type LinearRecurrenceAttributes = {
  readonly chunk: number;
  readonly decay: boolean;
  readonly beta: boolean;
  readonly state: boolean;
  readonly lengths: boolean;
  readonly segments: boolean;
};

interface Parts {
  /** Of padding, keys and values are zero and the decay is none: it leaves the state as it was. */
  q: Tensor;
  k: Tensor;
  v: Tensor;
  /** [B, T, H], in float32 or wider, as beta is. */
  decay: Tensor | undefined;
  beta: Tensor | undefined;
  /** [B, H, K, V], in float32 or wider. */
  state: Tensor;
  segments: Tensor | undefined;
}

/** x [B, T, G, K] with each head R times. */
function repeated(x: Tensor, heads: Dim): Tensor {
  const [b = 1, t = 1, g = 1, k = 1] = x.shape;
  return reshape(broadcastTo(expandDims(x, 3), [b, t, g, divideDims(heads, g), k]), [b, t, heads, k]);
}

function partsOf(operands: readonly Tensor[], attributes: LinearRecurrenceAttributes): Parts {
  const [q, k, v, ...rest] = operands;
  if (q?.rank !== 4 || k?.rank !== 4 || v?.rank !== 4)
    throw new LfmError('shape-mismatch', 'linear_recurrence expects q and k [B, T, G, K] and v [B, T, H, V].');
  const take = (present: boolean) => (present ? rest.shift() : undefined);
  const [decay, beta, state] = [take(attributes.decay), take(attributes.beta), take(attributes.state)];
  const [lengths, segments] = [take(attributes.lengths), take(attributes.segments)];
  const wide = wideType(v.dtype);
  const [b = 1, t = 1, h = 1, width = 1] = v.shape;
  const valid = lengths && lt(iota('int32', [1, t], 1), expandDims(lengths, 1));
  const masked = (x: Tensor) => (valid ? select(reshape(valid, [b, t, ...x.shape.slice(2).map(() => 1)]), x, 0) : x);
  return {
    // The delta rule's own matrices are a head's, so that sharing keys would save it little.
    q: beta ? repeated(q, h) : q,
    k: masked(beta ? repeated(k, h) : k),
    v: masked(v),
    decay: decay && masked(cast(decay, wide)),
    beta: beta && cast(beta, wide),
    state: state ? cast(state, wide) : zeros(wide, [b, h, k.dim(3), width]),
    segments,
  };
}

/** One token: q, k [B, H, K], v [B, H, V], decay and beta [B, H], state [B, H, K, V]. */
function step(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  decay: Tensor | undefined,
  beta: Tensor | undefined,
  state: Tensor,
): { y: Tensor; next: Tensor } {
  const wide = state.dtype;
  const column = (x: Tensor) => expandDims(expandDims(x, -1), -1);
  const row = (x: Tensor, of: Tensor) => {
    const product = matmul(expandDims(cast(x, wide), 2), of);
    return reshape(product, [...x.shape.slice(0, 2), of.dim(3)]);
  };
  const kept = decay ? mul(state, column(exp(decay))) : state;
  const update = beta ? mul(sub(cast(v, wide), row(k, kept)), expandDims(beta, -1)) : cast(v, wide);
  const next = add(kept, mul(expandDims(cast(k, wide), -1), expandDims(update, 2)));
  return { y: cast(row(q, next), v.dtype), next };
}

/** Token by token: [y, next]. */
function byTokens({ q, k, v, decay, beta, state, segments }: Parts): Tensor[] {
  const [b = 1, t = 1, h = 1, width = 1] = v.shape;
  const keys = [repeated(q, h), repeated(k, h)];
  if (t === 1) {
    const first = (x: Tensor) => reshape(x, x.shape.toSpliced(1, 1));
    const { y, next } = step(
      first(keys[0] ?? q),
      first(keys[1] ?? k),
      first(v),
      decay && first(decay),
      beta && first(beta),
      state,
    );
    return [reshape(y, [b, 1, h, width]), next];
  }
  const alone = segments && cast(bordersOf(segments), state.dtype);
  const timeFirst = [...keys, v, decay, beta, alone]
    .filter((x) => x !== undefined)
    .map((x) => reordered(x, [1, 0, ...x.shape.slice(2).map((_, i) => i + 2)]));
  const { carries, outputs } = scan(t, [state], timeFirst, (_index, [before = state], slices) => {
    const [q_ = q, k_ = k, v_ = v, ...rest] = slices;
    const [decay_, beta_] = [decay && rest.shift(), beta && rest.shift()];
    const [border] = rest;
    const held = border ? mul(before, reshape(sub(1, border), [b, 1, 1, 1])) : before;
    const { y, next } = step(q_, k_, v_, decay_, beta_, held);
    return { carries: [next], outputs: [y] };
  });
  const [next = state] = carries;
  const [y = v] = outputs;
  return [reordered(y, [1, 0, 2, 3]), next];
}

/** What the chunks are made of before any state is known, all of them at once. */
interface Chunked {
  /** [N, B, G, C, K]. */
  q: Tensor;
  k: Tensor;
  /** What the state takes in, [N, B, G, C, R, V]; under the delta rule what it would, were it empty. */
  u: Tensor;
  /** The delta rule's [N, B, G, C, K]: what of u the state at the chunk's start takes back. */
  w: Tensor | undefined;
  /** Scores of queries with keys under their decay, [N, B, G, R, C, C]. */
  scores: Tensor;
  /** How much of the state at the start a token sees, how much of a token's value the end keeps: [N, B, G, C, R, 1]. */
  into: Tensor | undefined;
  out: Tensor | undefined;
  /** How much of the start the end keeps, [N, B, G, 1, R, 1]. */
  through: Tensor | undefined;
}

function scaled(x: Tensor, factor: Tensor | undefined): Tensor {
  return factor ? mul(x, cast(factor, x.dtype)) : x;
}

/** [..., C, K] times [..., C, K] over K, in the wide type. */
function overWidth(lhs: Tensor, rhs: Tensor): Tensor {
  const batch = [0, 1, 2];
  return dotGeneral(lhs, rhs, {
    lhsBatching: batch,
    rhsBatching: batch,
    lhsContracting: [4],
    rhsContracting: [4],
    preferredType: wideType(lhs.dtype),
  });
}

/** x [N, B, G, I, J] (or, turned, [N, B, G, J, I]) times m [N, B, G, J, R, V] over J, in the wide type. */
function times(x: Tensor, m: Tensor, turned = false): Tensor {
  const batch = x.shape.slice(0, -2).map((_, axis) => axis);
  return dotGeneral(x, cast(m, x.dtype), {
    lhsBatching: batch,
    rhsBatching: batch,
    lhsContracting: [turned ? x.rank - 2 : x.rank - 1],
    rhsContracting: [x.rank - 2],
    preferredType: wideType(x.dtype),
  });
}

function chunkedOf({ q, k, v, decay, beta, segments }: Parts, chunk: number): Chunked {
  const [g, h] = [q.dim(2), v.dim(2)];
  const sizes = chunkSizes(v.dim(1), chunk);
  const r = divideDims(h, g);
  const grouped = (x: Tensor) => reshape(x, x.shape.toSpliced(2, 1, g, r));
  const keys = (x: Tensor) => reordered(toChunks(x, sizes), [1, 0, 3, 2, 4]);
  const [qs, ks] = [keys(q), keys(k)];
  const vs = reordered(toChunks(grouped(v), sizes), [1, 0, 3, 2, 4, 5]);
  const logs = decay && reordered(toChunks(grouped(decay), sizes), [1, 0, 3, 4, 2]);
  const { pairs, into, out, through } = decaysOf(logs, segments, sizes, wideType(v.dtype));
  const byToken = (x: Tensor | undefined) => x && expandDims(reordered(x, [0, 1, 2, 4, 3]), -1);
  const common = {
    q: qs,
    k: ks,
    scores: mul(expandDims(overWidth(qs, ks), 3), pairs),
    into: byToken(into),
    out: byToken(out),
    through: byToken(through),
  };
  if (!beta) return { ...common, u: vs, w: undefined };
  // (I + A) u = beta (v - keys times state), A strictly lower (arXiv 2412.06464, 3.3; 2406.06484, eq. 10).
  const rate = expandDims(reordered(toChunks(beta, sizes), [1, 0, 3, 2]), -1);
  const gram = mul(overWidth(ks, ks), reshape(pairs, pairs.shape.toSpliced(3, 1)));
  const solved = cast(unitLowerInverse(mul(gram, rate)), v.dtype);
  const rated = (x: Tensor) => cast(mul(cast(x, rate.dtype), rate), v.dtype);
  const seen = common.into && reshape(common.into, common.into.shape.toSpliced(4, 1));
  return {
    ...common,
    u: cast(times(solved, expandDims(rated(reshape(vs, vs.shape.toSpliced(4, 1))), 4)), v.dtype),
    w: matmul(solved, rated(scaled(ks, seen))),
  };
}

/** What the state takes in, given the states [(N,) B, G, K, R, V] at the chunks' starts. */
function takenIn(u: Tensor, w: Tensor | undefined, states: Tensor): Tensor {
  return w ? sub(u, cast(times(w, states), u.dtype)) : u;
}

/** States at the chunks' ends. */
function ends({ k, out, through }: Pick<Chunked, 'k' | 'out' | 'through'>, u: Tensor, states: Tensor): Tensor {
  return add(scaled(states, through), times(k, scaled(u, out), true));
}

/** y [N, B, G, C, R, V]. */
function read({ q, scores, into }: Chunked, u: Tensor, states: Tensor): Tensor {
  const within = matmul(cast(scores, u.dtype), reordered(u, [0, 1, 2, 4, 3, 5]));
  return add(scaled(cast(times(q, states), u.dtype), into), reordered(within, [0, 1, 2, 4, 3, 5]));
}

/** [B, H, K, V] as [B, G, K, R, V], and back. */
function folded(state: Tensor, groups: Dim): Tensor {
  const [b = 1, h = 1, k = 1, v = 1] = state.shape;
  return reordered(reshape(state, [b, groups, divideDims(h, groups), k, v]), [0, 1, 3, 2, 4]);
}

function unfolded(state: Tensor, heads: Dim): Tensor {
  const [b = 1, , k = 1, , v = 1] = state.shape;
  return reshape(reordered(state, [0, 1, 3, 2, 4]), [b, heads, k, v]);
}

/** [y, next, states at the chunks' starts [N, B, G, K, R, V]]. */
function byChunks(parts: Parts, chunk: number): Tensor[] {
  const { v, state } = parts;
  const [sizes, h] = [chunkSizes(v.dim(1), chunk), v.dim(2)];
  const chunked = chunkedOf(parts, chunk);
  const { k, u, w, out, through } = chunked;
  const start = folded(state, k.dim(2));
  // Without the delta rule, what a chunk adds does not depend on the state.
  const added = w ? undefined : times(k, scaled(u, out), true);
  const slices = (added ? [added, through] : [u, w, k, out, through]).filter((x) => x !== undefined);
  const { carries, outputs } = scan(sizes.count, [start], slices, (_index, [before = start], given) => {
    const rest = [...given];
    const next = (present: Tensor | undefined) => (present ? rest.shift() : undefined);
    if (added) {
      const sum = next(added) ?? before;
      return { carries: [add(scaled(before, next(through)), sum)], outputs: [before] };
    }
    const [u_ = u, w_, k_ = k] = [next(u), next(w), next(k)];
    const taken = takenIn(u_, w_, before);
    const after = ends({ k: k_, out: next(out), through: next(through) }, taken, before);
    return { carries: [after], outputs: [before, taken] };
  });
  const [last = start] = carries;
  const [states = start, taken = u] = outputs;
  return [fromChunks(read(chunked, taken, states), v.shape), unfolded(last, h), states];
}

/**
 * linear_recurrence(q [B, T, G, K], k [B, T, G, K], v [B, T, H, V], decay? [B, T, H], beta? [B, T, H], state? [B, H, K, V],
 * lengths? [B] int32, segments? [B, T] int32) -> y [B, T, H, V], next state [B, H, K, V] and, where T is known and above 1,
 * as residual the states at the chunks' starts. With S the state, a matrix a head:
 * S[t] = exp(decay[t]) S[t-1] + k[t] ⊗ u[t], y[t] = q[t] S[t]; u[t] = v[t], or with beta (the delta rule)
 * u[t] = beta[t] (v[t] - k[t] exp(decay[t]) S[t-1]). Head h reads the keys and queries of head floor(h / R).
 */
defineComposite<LinearRecurrenceAttributes>({
  kind: 'linear_recurrence',
  decompose: (operands, attributes) => {
    const parts = partsOf(operands, attributes);
    const length = parts.v.dim(1);
    return typeof length === 'number' && length > 1 ? byChunks(parts, attributes.chunk) : byTokens(parts);
  },
  gradient: gradientThroughStates('linear_recurrence'),
});

/** linear_recurrence_grad(operands of linear_recurrence, states, dy, d next state?) -> d of its float operands, in order. */
defineComposite<LinearRecurrenceAttributes & { readonly end: boolean }>({
  kind: 'linear_recurrence_grad',
  decompose: (given, attributes) => {
    const { operands, states, dy, dNext } = givenToGradient('linear_recurrence', given, attributes.end);
    const parts = partsOf(operands, attributes);
    const chunked = chunkedOf(parts, attributes.chunk);
    const { k, u, w, out, through } = chunked;
    const taken = takenIn(u, w, states);
    const y = fromChunks(read(chunked, taken, states), parts.v.shape);
    const after = ends(chunked, taken, states);
    // Cotangents of the states, from the last chunk to the first; a state is read by its own chunk, and by all that follow.
    const [direct = zerosLike(states)] = backward([y], [dy], [states]);
    const last = dNext ? folded(cast(dNext, states.dtype), k.dim(2)) : zerosLike(sliceAxisOf(states));
    const slices = [direct, ...(w ? [w, k, out] : []), through].filter((x) => x !== undefined);
    const { carries, outputs } = scan(
      states.dim(0),
      [last],
      slices,
      (_index, [later = last], rows) => {
        const [direct_ = later, ...rest] = rows;
        const next = (present: Tensor | undefined) => (present ? rest.shift() : undefined);
        let found = direct_;
        if (w) {
          const [w_ = w, k_ = k, out_] = [next(w), next(k), next(out)];
          found = sub(found, times(w_, scaled(times(k_, later), out_), true));
        }
        return { carries: [add(found, scaled(later, next(through)))], outputs: [later] };
      },
      { reverse: true },
    );
    const [dAfter = states] = outputs;
    const [dStart = last] = carries;
    const count = 3 + Number(attributes.decay) + Number(attributes.beta);
    const wrt = operands.slice(0, count);
    const found = backward([y, after], [dy, dAfter], wrt).map((d, i) => d ?? zerosLike(wrt[i] ?? dy));
    const state = attributes.state ? operands[count] : undefined;
    return state ? [...found, cast(unfolded(dStart, parts.v.dim(2)), state.dtype)] : found;
  },
});

function sliceAxisOf(states: Tensor): Tensor {
  return reshape(sliceAxis(states, 0, 0, 1), states.shape.slice(1));
}

export interface LinearRecurrenceOptions {
  /** Logarithms of the state's factors, none above 0, [B, T, H]. */
  readonly decay?: Tensor | undefined;
  /** The delta rule's rates, [B, T, H]. */
  readonly beta?: Tensor | undefined;
  /** What came before, [B, H, K, V]; absent: nothing. */
  readonly state?: Tensor | undefined;
  /** How many tokens of each row count, from the front, [B] int32. */
  readonly lengths?: Tensor | undefined;
  /** [B, T] int32: the state begins anew where the number changes. */
  readonly segments?: Tensor | undefined;
  /** Most tokens of a chunk. */
  readonly chunk?: number;
}

/** See the composite. `next` is the state after the last valid token. */
export function linearRecurrence(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { decay, beta, state, lengths, segments, chunk = 64 }: LinearRecurrenceOptions = {},
): { y: Tensor; next: Tensor } {
  const operands = [q, k, v, decay, beta, state, lengths, segments].filter((tensor) => tensor !== undefined);
  const attributes: LinearRecurrenceAttributes = {
    chunk,
    decay: !!decay,
    beta: !!beta,
    state: !!state,
    lengths: !!lengths,
    segments: !!segments,
  };
  const [y, next] = emit('linear_recurrence', operands, attributes);
  if (!y || !next) throw new LfmError('no-result', 'linear_recurrence gave no result.');
  return { y, next };
}
