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
  linear,
  logistic,
  mul,
  reshape,
  rmsNorm,
  rotary,
  sliceAxis,
} from '../tensor/index.ts';
import type { Context } from './context.ts';
import { operator } from './operator.ts';
import { bias, gain, weight } from './parameter.ts';
import type { RotaryScaling } from './rotary-scaling.ts';
import { rows } from './state.ts';
import { windowedAttention, windowRows } from './window-rows.ts';

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
  /** With a window: how many tokens at the front every query sees besides (StreamingLLM, arXiv 2309.17453). Default: none. */
  readonly sinks?: number;
  /** Whether queries, keys and values have biases (Qwen 2). */
  readonly bias?: boolean;
  /** Whether the output has one (Phi). */
  readonly outBias?: boolean;
  /**
   * Share of a head's width that positions turn, at its front: 1, 0 for none (Jamba), or between (Phi). Where it is
   * `proportional`, the share of pairs that turn, at the wavelengths of the whole width (LFM3).
   */
  readonly rotaryFactor?: number;
  readonly rotaryKind?: 'default' | 'proportional';
  /** How positions are stretched over longer contexts (Llama 3.1, Phi 3.5). */
  readonly rotaryScaling?: RotaryScaling;
  /** What products of queries and keys are multiplied by. Default: one over the root of a head's width. */
  readonly scale?: number;
  /** Scores s become c tanh(s / c) (Gemma 2). */
  readonly softCap?: number;
  /** Each head's output times a sigmoid of the input (LFM3). */
  readonly outputGate?: boolean;
  /** Whether queries and keys are normalised, head by head. Default true, as in LFM2; Llama does without. */
  readonly qkNorm?: boolean;
}

/** Width of a head. Errors: `bad-heads`, `bad-theta`, `bad-window`, `indivisible` with the sizes that do not fit. */
function headWidth(hiddenSize: number, options: AttentionOptions): number {
  const { heads, keyValueHeads = heads, headDim, theta = 1, window, sinks = 0 } = options;
  if (!(theta > 0))
    throw new LfmError('bad-theta', `attention: expected the option theta to be a number above 0; found ${theta}.`);
  if (!(heads >= 1))
    throw new LfmError('bad-heads', `attention: expected the option heads to be 1 or more; found ${heads}.`);
  if (window !== undefined && !(window >= 2))
    throw new LfmError(
      'bad-window',
      `attention: a window of ${window} tokens sees nothing of the past; expected 2 or more.`,
    );
  if (!(sinks >= 0) || (sinks > 0 && window === undefined))
    throw new LfmError(
      'bad-window',
      `attention: expected the option sinks to be 0 or more, and with a window; found ${sinks}${window === undefined ? ' without one' : ''}.`,
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

type Rows = Readonly<Record<'keys' | 'values', Tensor | undefined>>;
/** Of rows that are held as int8. */
type Scales = Readonly<Partial<Record<'keysScales' | 'valuesScales', Tensor | undefined>>>;

/** Causal softmax attention of whole sequences, or over the rows kept so far where there are any; and the rows to keep next. */
export function attendWithState(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  given: Rows & Scales & Pick<Context, 'starts' | 'lengths' | 'segments'>,
  { window, sinks = 0, ...scoring }: { scale: number; softCap?: number; window: number | undefined; sinks?: number },
): Rows & { readonly out: Tensor } {
  const { keys, values, starts, lengths, segments, keysScales: keyScales, valuesScales: valueScales } = given;
  if (!keys || !values || !starts || !lengths)
    return {
      out: attend(q, k, v, { ...scoring, window: window ?? null, ...(sinks > 0 && { sinks }), segments }),
      keys,
      values,
    };
  const held = { keys, values, starts, lengths };
  return window === undefined
    ? cachedAttention(q, k, v, { ...held, keyScales, valueScales }, scoring)
    : windowedAttention(q, k, v, held, { ...scoring, window, sinks });
}

/** How positions turn queries and keys. Errors: `bad-rotary`. */
function turning(
  width: number,
  theta: number,
  { rotaryFactor = 1, rotaryKind = 'default', rotaryScaling }: AttentionOptions,
  tables: Context['rotaryTables'],
): (x: Tensor) => Tensor {
  const turned = rotaryFactor * width;
  if (!(rotaryFactor >= 0 && rotaryFactor <= 1) || turned % 2 !== 0)
    throw new LfmError(
      'bad-rotary',
      `attention: a rotaryFactor of ${rotaryFactor} turns ${turned} of ${width} features of a head; expected an even number from 0 to ${width}.`,
    );
  if (turned === 0) return (x) => x;
  if (turned === width || rotaryKind === 'proportional')
    return (x) => rotary(x, tables(width, theta, turned / 2, rotaryScaling));
  return (x) => {
    const first = rotary(sliceAxis(x, 3, 0, turned), tables(turned, theta, turned / 2, rotaryScaling));
    return concatenate([first, sliceAxis(x, 3, turned, width)], 3);
  };
}

export const attention = operator('attention', (options: AttentionOptions) => {
  const { heads, keyValueHeads = heads, theta = 10_000, window, sinks = 0, qkNorm = true } = options;
  const { bias: biased = false, outBias = false, outputGate = false, softCap } = options;
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
        ...(biased && {
          'q_proj.bias': bias([heads * width], ['heads']),
          'k_proj.bias': bias([keyValueHeads * width], ['keyValueHeads']),
          'v_proj.bias': bias([keyValueHeads * width], ['keyValueHeads']),
        }),
        ...(outBias && { 'out_proj.bias': bias([d], ['hidden']) }),
        ...(outputGate && { 'g_proj.weight': weight([heads, d], ['heads', 'hidden']) }),
      };
    },
    state: ({ hiddenSize: d }) => {
      const shape = [keyValueHeads, headWidth(d, options)];
      if (window !== undefined) {
        const held = windowRows(shape, { window, sinks });
        return { keys: held, values: held };
      }
      const { rotaryFactor = 1, rotaryKind } = options;
      const width = headWidth(d, options);
      const turned = rotaryKind === 'proportional' ? width : rotaryFactor * width;
      return { keys: rows(shape, { turned }), values: rows(shape, { turned: 0 }) };
    },
    featurize: (p, x_BTD, _state, { rotaryTables, normEps }) => {
      const width = Number(p['q_proj.weight'].dim(0)) / heads;
      const project = (w: Tensor, b: Tensor | undefined, count: number) => {
        const y = linear(x_BTD, w);
        return reshape(b ? add(y, b) : y, [x_BTD.dim(0), x_BTD.dim(1), count, width]);
      };
      const turn = turning(width, theta, options, rotaryTables);
      const turned = (features: Tensor, norm: Tensor | undefined) =>
        turn(norm ? rmsNorm(features, norm, normEps) : features);
      return {
        q: turned(project(p['q_proj.weight'], p['q_proj.bias'], heads), p['q_layernorm.weight']),
        k: turned(project(p['k_proj.weight'], p['k_proj.bias'], keyValueHeads), p['k_layernorm.weight']),
        v: project(p['v_proj.weight'], p['v_proj.bias'], keyValueHeads),
        ...(p['g_proj.weight'] && { gate: logistic(linear(x_BTD, p['g_proj.weight'])) }),
      };
    },
    mix: (p, { q, k, v, gate }, kept, { starts, lengths, segments }) => {
      const scale = options.scale ?? Number(q.dim(3)) ** -0.5;
      const scoring = { scale, ...(softCap !== undefined && { softCap }), window, sinks };
      const project = (out: Tensor) => {
        const gated = gate ? mul(out, expandDims(gate, 3)) : out;
        const y = linear(reshape(gated, [q.dim(0), q.dim(1), p['out_proj.weight'].dim(1)]), p['out_proj.weight']);
        return p['out_proj.bias'] ? add(y, p['out_proj.bias']) : y;
      };
      const { out, ...next } = attendWithState(q, k, v, { ...kept, starts, lengths, segments }, scoring);
      return [project(out), next];
    },
  };
});
