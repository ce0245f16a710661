// shared_transformer: attention and MLP on the stream beside the embeddings, one set of weights for several depths, with adapters
// of each depth's own (Zamba 2, Glorioso et al. 2024, arXiv 2411.15242, 2.1); names as in transformers' Zamba2HybridLayer.
// Shapes: B batch, T tokens, H heads, G key/value heads, W width of a head, D hidden, F inside.
import type { Tensor } from '../tensor/index.ts';
import {
  add,
  attention,
  cachedAttention,
  chunk,
  concatenate,
  LfmError,
  linear,
  mul,
  reshape,
  rmsNorm,
  rotary,
} from '../tensor/index.ts';
import { activations } from './mlp.ts';
import { operator } from './operator.ts';
import { gain, weight } from './parameter.ts';
import { rows } from './state.ts';

export interface SharedTransformerOptions {
  /** They divide twice the hidden size: that of the stream and that of the embeddings. */
  readonly heads: number;
  /** Default: `heads`. */
  readonly keyValueHeads?: number;
  readonly intermediateSize: number;
  readonly activation?: keyof typeof activations;
  /** Rank of the adapters. */
  readonly adapterRank: number;
  /** Whether queries, keys and values have adapters too. */
  readonly attentionAdapters?: boolean;
  /** Base of the rotary wavelengths; absent: no positions. */
  readonly theta?: number;
}

/** Parameters that every depth has of its own. */
export function isOwnAtEachDepth(parameter: string): boolean {
  return parameter === 'linear.weight' || parameter.includes('_adapter.');
}

export const sharedTransformer = operator('shared_transformer', (options: SharedTransformerOptions) => {
  const { heads, keyValueHeads = heads, intermediateSize: f, activation = 'gelu', adapterRank: r } = options;
  const { attentionAdapters = false, theta } = options;
  const widthOf = (hiddenSize: number): number => {
    const width = (2 * hiddenSize) / heads;
    if (Number.isInteger(width) && width % 2 === 0 && heads % keyValueHeads === 0) return width;
    throw new LfmError(
      'indivisible',
      `shared_transformer: ${heads} heads over ${keyValueHeads} key/value heads do not fit twice a hidden size of ${hiddenSize}: expected heads of an even whole width, and a divisor of ${heads}.`,
    );
  };
  return {
    scope: 'shared_transformer',
    parameters: ({ hiddenSize: d }) => {
      const width = widthOf(d);
      const adapter = <N extends string>(name: N, from: number, to: number) => {
        const down = weight([r, from], ['rank', 'hidden']);
        const up = weight([to, r], ['channels', 'rank']);
        return { [`${name}.0.weight`]: down, [`${name}.1.weight`]: up } as Record<
          `${N}.0.weight` | `${N}.1.weight`,
          typeof down
        >;
      };
      const [queries, keys] = [heads * width, keyValueHeads * width];
      return {
        'input_layernorm.weight': gain([2 * d], ['hidden']),
        'self_attn.q_proj.weight': weight([queries, 2 * d], ['heads', 'hidden']),
        'self_attn.k_proj.weight': weight([keys, 2 * d], ['keyValueHeads', 'hidden']),
        'self_attn.v_proj.weight': weight([keys, 2 * d], ['keyValueHeads', 'hidden']),
        'self_attn.o_proj.weight': weight([d, queries], ['hidden', 'heads']),
        'pre_ff_layernorm.weight': gain([d], ['hidden']),
        'feed_forward.gate_up_proj.weight': weight([2 * f, d], ['intermediate', 'hidden']),
        'feed_forward.down_proj.weight': weight([d, f], ['hidden', 'intermediate']),
        'linear.weight': weight([d, d], ['hidden', 'channels']),
        ...adapter('feed_forward.gate_up_proj_adapter', d, 2 * f),
        ...(attentionAdapters && {
          ...adapter('self_attn.linear_q_adapter', 2 * d, queries),
          ...adapter('self_attn.linear_k_adapter', 2 * d, keys),
          ...adapter('self_attn.linear_v_adapter', 2 * d, keys),
        }),
      };
    },
    state: ({ hiddenSize: d }) => ({
      keys: rows([keyValueHeads, widthOf(d)]),
      values: rows([keyValueHeads, widthOf(d)]),
    }),
    featurize: (p, x_BTD, _state, { embeddings, rotaryTables, normEps }) => {
      if (!embeddings)
        throw new LfmError(
          'no-embeddings',
          'shared_transformer reads what the encoder made: it needs a model around it.',
        );
      const x = rmsNorm(concatenate([x_BTD, embeddings], 2), p['input_layernorm.weight'], normEps);
      const width = widthOf(Number(x_BTD.dim(2)));
      const project = (w: Tensor, down: Tensor | undefined, up: Tensor | undefined, count: number) =>
        reshape(adapted(x, w, down, up), [x.dim(0), x.dim(1), count, width]);
      const turned = (y: Tensor) => (theta === undefined ? y : rotary(y, rotaryTables(width, theta)));
      const [q, k, v] = (['q', 'k', 'v'] as const).map((name) =>
        project(
          p[`self_attn.${name}_proj.weight`],
          p[`self_attn.linear_${name}_adapter.0.weight`],
          p[`self_attn.linear_${name}_adapter.1.weight`],
          name === 'q' ? heads : keyValueHeads,
        ),
      ) as [Tensor, Tensor, Tensor];
      return { q: turned(q), k: turned(k), v };
    },
    mix: (p, { q, k, v }, { keys, values }, { starts, segments, normEps }) => {
      // Half of a head's width is the stream's.
      const scale = (Number(q.dim(3)) / 2) ** -0.5;
      const held = keys && values && starts && cachedAttention(q, k, v, { keys, values, starts }, { scale });
      const seen = held ? held.out : attention(q, k, v, { scale, segments });
      const mixed = linear(
        reshape(seen, [q.dim(0), q.dim(1), Number(q.dim(2)) * Number(q.dim(3))]),
        p['self_attn.o_proj.weight'],
      );
      const inside = adapted(
        rmsNorm(mixed, p['pre_ff_layernorm.weight'], normEps),
        p['feed_forward.gate_up_proj.weight'],
        p['feed_forward.gate_up_proj_adapter.0.weight'],
        p['feed_forward.gate_up_proj_adapter.1.weight'],
      );
      const [gate = inside, up = inside] = chunk(inside, 2, 2);
      const y = linear(mul(activations[activation](gate), up), p['feed_forward.down_proj.weight']);
      return [linear(y, p['linear.weight']), { keys: held?.keys, values: held?.values }];
    },
  };
});

/** w x + up down x, where there is an adapter (Hu et al. 2021, arXiv 2106.09685). */
function adapted(x: Tensor, w: Tensor, down: Tensor | undefined, up: Tensor | undefined): Tensor {
  const y = linear(x, w);
  return down && up ? add(y, linear(linear(x, down), up)) : y;
}
