// latent_attention: attention whose keys and values are made of one narrow vector a token, which is all that is remembered, with
// a rotary key for all heads (DeepSeek-V2, arXiv 2405.04434, 2.1); parameters as in transformers' DeepseekV3Attention.
// Shapes: B batch, T tokens, C rows of state, H heads, N width without and W with positions, V of values, R of the latent.
import { LfmError } from '../tensor/error.ts';
import type { Tensor } from '../tensor/index.ts';
import {
  add,
  attention,
  broadcastTo,
  cast,
  concatenate,
  div,
  dotGeneral,
  exp,
  expandDims,
  full,
  iota,
  le,
  linear,
  max,
  mul,
  pad,
  reshape,
  rmsNorm,
  rotary,
  scatterInto,
  select,
  sliceAxis,
  sub,
  sum,
  transpose,
} from '../tensor/index.ts';
import { operator } from './operator.ts';
import { gain, weight } from './parameter.ts';
import { rows } from './state.ts';

export interface LatentAttentionOptions {
  readonly heads: number;
  /** Width of the vector that keys and values are made of. */
  readonly kvLoraRank: number;
  /** Width of the vector that queries are made of; absent: they are made of the input. */
  readonly qLoraRank?: number;
  readonly qkNopeHeadDim: number;
  readonly qkRopeHeadDim: number;
  readonly vHeadDim: number;
  /** Base of the rotary wavelengths. */
  readonly theta?: number;
  /** Whether the features of a pair that positions turn stand side by side, as in DeepSeek's weights. */
  readonly ropeInterleave?: boolean;
}

/** Pairs side by side as halves: [a0, b0, a1, b1] -> [a0, a1, b0, b1]. */
function halved(x: Tensor): Tensor {
  const pairs = reshape(x, [...x.shape.slice(0, -1), Number(x.dim(-1)) / 2, 2]);
  const axes = pairs.shape.map((_, axis) => axis);
  return reshape(transpose(pairs, [...axes.slice(0, -2), pairs.rank - 1, pairs.rank - 2]), x.shape);
}

/** The last axis with zeros up to a width: scores do not change by it. */
function widened(x: Tensor, width: number): Tensor {
  const none = x.shape.map(() => 0);
  return pad(x, none, none.with(-1, width - Number(x.dim(-1))));
}

/** x [B, T, H, I] times w [H, I, O], head by head: [B, T, H, O]. */
function byHead(x: Tensor, w: Tensor): Tensor {
  const found = dotGeneral(x, w, {
    lhsBatching: [2],
    rhsBatching: [0],
    lhsContracting: [3],
    rhsContracting: [1],
    preferredType: x.dtype,
  });
  return transpose(found, [1, 2, 0, 3]);
}

/** x [B, T, H, I] with rows [B, C, I], over I: [B, T, H, C] in the wide type. */
function scores(x: Tensor, kept: Tensor): Tensor {
  return dotGeneral(x, cast(kept, x.dtype), {
    lhsBatching: [0],
    rhsBatching: [0],
    lhsContracting: [3],
    rhsContracting: [2],
    preferredType: x.dtype === 'float64' ? 'float64' : 'float32',
  });
}

interface Query {
  readonly nope: Tensor;
  readonly rope: Tensor;
}

/**
 * Attention over what is remembered, without making keys and values of it: the matrix that would make keys is applied to the
 * queries instead, the one for values to the mean of the latents (2.1.2 of the paper). [B, T, H, R].
 */
function overLatents({ nope, rope }: Query, latents: Tensor, ropes: Tensor, starts: Tensor, scale: number): Tensor {
  const raw = mul(add(scores(nope, latents), scores(rope, ropes)), scale);
  const query = add(expandDims(starts, 1), iota('int32', [1, nope.dim(1)], 1));
  const seen = le(iota('int32', [1, 1, 1, latents.dim(1)], 3), expandDims(expandDims(query, 2), 3));
  const masked = add(raw, select(seen, full(raw.dtype, [], 0), -1e30));
  const weights = exp(sub(masked, expandDims(max(masked, [-1]), -1)));
  const mean = dotGeneral(cast(weights, nope.dtype), cast(latents, nope.dtype), {
    lhsBatching: [0],
    rhsBatching: [0],
    lhsContracting: [3],
    rhsContracting: [1],
    preferredType: weights.dtype,
  });
  return cast(div(mean, expandDims(sum(weights, [-1]), -1)), nope.dtype);
}

/**
 * Training makes keys and values, decoding does not: a pair of tokens then costs 2 (2 R + W) operations a head instead of
 * 2 (N + W + V), and the state is R + W numbers a token whatever the number of heads. Errors: `bad-heads`.
 */
export const latentAttention = operator('latent_attention', (options: LatentAttentionOptions) => {
  const { heads, kvLoraRank: r, qLoraRank, qkNopeHeadDim: n, qkRopeHeadDim: w, vHeadDim: v } = options;
  const { theta = 10_000, ropeInterleave = true } = options;
  if (![heads, r, n, w, v, qLoraRank ?? 1].every((one) => Number.isSafeInteger(one) && one >= 1) || w % 2 !== 0)
    throw new LfmError(
      'bad-heads',
      `latent_attention: expected whole sizes from 1, and an even qkRopeHeadDim; found ${heads} heads of ${n} + ${w} and ${v}, latents of ${r}.`,
    );
  const scale = (n + w) ** -0.5;
  return {
    scope: 'self_attn',
    parameters: ({ hiddenSize: d }) => ({
      'kv_a_proj_with_mqa.weight': weight([r + w, d], ['rank', 'hidden']),
      'kv_a_layernorm.weight': gain([r], ['rank']),
      'kv_b_proj.weight': weight([heads * (n + v), r], ['heads', 'rank']),
      'o_proj.weight': weight([d, heads * v], ['hidden', 'heads']),
      ...(qLoraRank === undefined && { 'q_proj.weight': weight([heads * (n + w), d], ['heads', 'hidden']) }),
      ...(qLoraRank !== undefined && {
        'q_a_proj.weight': weight([qLoraRank, d], ['rank', 'hidden']),
        'q_a_layernorm.weight': gain([qLoraRank], ['rank']),
        'q_b_proj.weight': weight([heads * (n + w), qLoraRank], ['heads', 'rank']),
      }),
    }),
    state: () => ({ latents: rows([r]), ropes: rows([w]) }),
    featurize: (p, x_BTD, _state, { rotaryTables, normEps }) => {
      const [b, t] = [x_BTD.dim(0), x_BTD.dim(1)];
      const turned = (x: Tensor) => rotary(ropeInterleave ? halved(x) : x, rotaryTables(w, theta));
      const [down, norm, up] = [p['q_a_proj.weight'], p['q_a_layernorm.weight'], p['q_b_proj.weight']];
      const narrow = down && norm ? rmsNorm(linear(x_BTD, down), norm, normEps) : x_BTD;
      const wide = p['q_proj.weight'] ?? up;
      if (!wide) throw new LfmError('missing-parameter', 'latent_attention has no matrix for queries.');
      const q = reshape(linear(narrow, wide), [b, t, heads, n + w]);
      const both = linear(x_BTD, p['kv_a_proj_with_mqa.weight']);
      return {
        nope: sliceAxis(q, 3, 0, n),
        rope: turned(sliceAxis(q, 3, n, n + w)),
        latent: rmsNorm(sliceAxis(both, 2, 0, r), p['kv_a_layernorm.weight'], normEps),
        key: reshape(turned(reshape(sliceAxis(both, 2, r, r + w), [b, t, 1, w])), [b, t, w]),
      };
    },
    mix: (p, { nope, rope, latent, key }, { latents, ropes }, { starts, segments }) => {
      const [b, t] = [latent.dim(0), latent.dim(1)];
      const out = (y: Tensor) => linear(reshape(y, [b, t, heads * v]), p['o_proj.weight']);
      const made = p['kv_b_proj.weight'];
      if (!latents || !ropes || !starts) {
        const kv = reshape(linear(latent, made), [b, t, heads, n + v]);
        const common = broadcastTo(reshape(key, [b, t, 1, w]), [b, t, heads, w]);
        const width = Math.max(n + w, v);
        const [q, k, values] = [
          concatenate([nope, rope], 3),
          concatenate([sliceAxis(kv, 3, 0, n), common], 3),
          sliceAxis(kv, 3, n, n + v),
        ].map((x) => widened(x, width)) as [Tensor, Tensor, Tensor];
        const seen = attention(q, k, values, { scale, segments });
        return [out(sliceAxis(seen, 3, 0, v)), { latents, ropes }];
      }
      const at = add(expandDims(starts, 1), iota('int32', [1, t], 1));
      const put = (kept: Tensor, new_: Tensor) =>
        scatterInto(kept, at, cast(new_, kept.dtype), { axis: 1, batchDims: 1, reducer: 'assign' });
      const next = { latents: put(latents, latent), ropes: put(ropes, key) };
      const matrices = reshape(made, [heads, n + v, r]);
      const query = { nope: byHead(nope, sliceAxis(matrices, 1, 0, n)), rope };
      const mean = overLatents(query, next.latents, next.ropes, starts, scale);
      return [out(byHead(mean, transpose(sliceAxis(matrices, 1, n, n + v), [0, 2, 1]))), next];
    },
  };
});
