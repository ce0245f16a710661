// attention: grouped-query softmax attention with normalised queries and keys and rotary positions, as LFM2 has it.
// Shapes: B batch, T tokens, H heads, G key/value heads, D width of a head, C rows of the key/value buffers.
import { LfmError } from '../tensor/error.ts';
import type { Tensor } from '../tensor/index.ts';
import {
  add,
  attention as attend,
  cachedAttention,
  concatenate,
  expandDims,
  gatherFrom,
  iota,
  linear,
  maximum,
  minimum,
  reshape,
  rmsNorm,
  rotary,
  sub,
  zeros,
} from '../tensor/index.ts';
import { operator } from './operator.ts';
import { gain, weight } from './parameter.ts';
import { rows, window as lastRows } from './state.ts';

export interface AttentionOptions {
  readonly heads: number;
  /** Heads of keys and values; each serves heads / keyValueHeads queries. Default: `heads`. */
  readonly keyValueHeads?: number;
  /** Default: hiddenSize / heads. */
  readonly headDim?: number;
  /** Base of the rotary wavelengths. */
  readonly theta?: number;
  /** How many tokens back a query sees, its own included; absent: all. */
  readonly window?: number;
  /** Whether queries and keys are normalised, head by head. Default true, as in LFM2; Llama does without. */
  readonly qkNorm?: boolean;
}

/** Width of a head. Errors: `bad-heads`, `bad-theta`, `bad-window`, `indivisible` with the sizes that do not fit. */
function headWidth(hiddenSize: number, options: AttentionOptions): number {
  const { heads, keyValueHeads = heads, headDim, theta = 1, window } = options;
  if (!(theta > 0))
    throw new LfmError('bad-theta', `attention: expected the option theta to be a number above 0; found ${theta}.`);
  if (!(heads >= 1))
    throw new LfmError('bad-heads', `attention: expected the option heads to be 1 or more; found ${heads}.`);
  if (window !== undefined && !(window >= 2))
    throw new LfmError(
      'bad-window',
      `attention: a window of ${window} tokens sees nothing of the past; expected 2 or more.`,
    );
  if (heads % keyValueHeads !== 0) {
    throw new LfmError(
      'indivisible',
      `attention: ${heads} heads cannot share ${keyValueHeads} key/value heads evenly: choose a divisor of ${heads}.`,
    );
  }
  const width = headDim ?? hiddenSize / heads;
  if (!Number.isInteger(width) || width % 2 !== 0) {
    throw new LfmError(
      'indivisible',
      `attention: a hidden size of ${hiddenSize} over ${heads} heads gives heads of ${width}; rotary positions need an even whole number.`,
    );
  }
  return width;
}

interface Held {
  readonly keys: Tensor;
  readonly values: Tensor;
  readonly starts: Tensor;
  readonly lengths: Tensor;
}

/**
 * Attention over the last rows kept, and the rows to keep next: kept and new rows stand in one cache, where a row of the
 * batch that holds fewer is simply filled less far.
 */
function windowedAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { keys, values, starts, lengths }: Held,
  options: { scale: number; window: number },
): { out: Tensor; keys: Tensor; values: Tensor } {
  const [b = 1, g = 1, kept = 1, d = 1] = keys.shape;
  if (typeof kept !== 'number') throw new LfmError('unbound-symbol', `A window of ${kept} rows needs a known size.`);
  const room = zeros(keys.dtype, [b, g, q.dim(1), d]);
  const held = minimum(starts, kept);
  const cache = { keys: concatenate([keys, room], 2), values: concatenate([values, room], 2), starts: held };
  const { out, ...grown } = cachedAttention(q, k, v, cache, options);
  const first = maximum(sub(add(held, lengths), kept), 0);
  const last = add(expandDims(first, 1), iota('int32', [1, kept], 1));
  const trim = (buffer: Tensor) => gatherFrom(buffer, last, { axis: 2, batchDims: 1 });
  return { out, keys: trim(grown.keys), values: trim(grown.values) };
}

export const attention = operator('attention', (options: AttentionOptions) => {
  const { heads, keyValueHeads = heads, theta = 10_000, window, qkNorm = true } = options;
  return {
    scope: 'self_attn',
    parameters: ({ hiddenSize: d }) => {
      const width = headWidth(d, options);
      return {
        'q_proj.weight': weight([heads * width, d], ['heads', 'hidden']),
        'k_proj.weight': weight([keyValueHeads * width, d], ['keyValueHeads', 'hidden']),
        'v_proj.weight': weight([keyValueHeads * width, d], ['keyValueHeads', 'hidden']),
        'out_proj.weight': weight([d, heads * width], ['hidden', 'heads']),
        ...(qkNorm && {
          'q_layernorm.weight': gain([width], ['headDim']),
          'k_layernorm.weight': gain([width], ['headDim']),
        }),
      };
    },
    state: ({ hiddenSize: d }) => {
      const shape = [keyValueHeads, headWidth(d, options)];
      // A query finds its own row among the new ones.
      const kept = window === undefined ? rows(shape) : lastRows(shape, window - 1);
      return { keys: kept, values: kept };
    },
    featurize: (p, x_BTD, _state, { rotaryTables, normEps }) => {
      const width = Number(p['q_proj.weight'].dim(0)) / heads;
      const split = (y: Tensor, count: number) => reshape(y, [x_BTD.dim(0), x_BTD.dim(1), count, width]);
      const tables = rotaryTables(width, theta);
      const turned = (w: Tensor, norm: Tensor | undefined, count: number) => {
        const features = split(linear(x_BTD, w), count);
        return rotary(norm ? rmsNorm(features, norm, normEps) : features, tables);
      };
      return {
        q: turned(p['q_proj.weight'], p['q_layernorm.weight'], heads),
        k: turned(p['k_proj.weight'], p['k_layernorm.weight'], keyValueHeads),
        v: split(linear(x_BTD, p['v_proj.weight']), keyValueHeads),
      };
    },
    mix: (p, { q, k, v }, { keys, values }, { starts, lengths, segments }) => {
      const scale = Number(q.dim(3)) ** -0.5;
      const project = (out: Tensor) =>
        linear(reshape(out, [q.dim(0), q.dim(1), p['out_proj.weight'].dim(1)]), p['out_proj.weight']);
      if (!keys || !values || !starts || !lengths) {
        return [project(attend(q, k, v, { scale, window: window ?? null, segments })), { keys, values }];
      }
      const held = { keys, values, starts, lengths };
      const { out, ...next } =
        window === undefined
          ? cachedAttention(q, k, v, held, { scale })
          : windowedAttention(q, k, v, held, { scale, window });
      return [project(out), next];
    },
  };
});
