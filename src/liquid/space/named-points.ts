// Where the library's own operators stand in the design space: the parts that, with the same numbers for parameters, compute the same.
import type { AttentionOptions } from '../attention.ts';
import type { MlpOptions } from '../mlp.ts';
import type { Operator, Sizes } from '../operator.ts';
import { featurizers } from './featurizers.ts';
import type { FeatureGroup, Featurizer, LivOptions } from './parts.ts';
import { checkedOptions } from './parts.ts';

const dense: FeatureGroup = { tokenMixing: 'diagonal', channelMixing: 'dense', expansion: 1, repeat: 1 };

/** The name of these groups where they are one of the nine. */
function named(groups: Featurizer): string | Featurizer {
  const text = JSON.stringify(groups);
  return Object.keys(featurizers).find((name) => JSON.stringify(featurizers[name]) === text) ?? groups;
}

function ofAttention(options: AttentionOptions, d: number): LivOptions | undefined {
  const { heads, keyValueHeads = heads, headDim = d / heads, theta, window, qkNorm = true, rotaryFactor = 1 } = options;
  const more = qkNorm || options.bias || options.outBias || options.outputGate || options.sinks || rotaryFactor !== 1;
  if (more || heads * headDim !== d) return undefined;
  const few = { ...dense, repeat: heads / keyValueHeads };
  return {
    featurizer: named({ c: dense, b: few, v: few }),
    tokenMixing: 'low rank',
    channelMixing: 'grouped',
    nonlinearity: 'softmax',
    ...(window !== undefined && { window }),
    headDim,
    ...(theta !== undefined && { theta }),
  };
}

function ofShortConv({ kernel = 3, bias = false }: { kernel?: number; bias?: boolean }): LivOptions | undefined {
  if (bias) return undefined;
  const filter: FeatureGroup = {
    tokenMixing: 'scaled Toeplitz',
    channelMixing: 'diagonal',
    expansion: kernel,
    repeat: 1,
  };
  return {
    featurizer: named({ c: dense, b: dense, v: dense, kernel: filter }),
    tokenMixing: 'scaled Toeplitz',
    channelMixing: 'diagonal',
  };
}

function ofLinearAttention({ heads }: { heads: number }, d: number): LivOptions {
  const parts = { tokenMixing: 'low rank', channelMixing: 'grouped', nonlinearity: 'elu + 1' } as const;
  return { featurizer: 'dense', ...parts, headDim: d / heads };
}

function ofMlp({ activation, gated = false, bias = false, intermediateSize }: MlpOptions): LivOptions | undefined {
  if (bias || (activation !== 'relu' && activation !== 'silu')) return undefined;
  const parts = { tokenMixing: 'diagonal', channelMixing: 'dense', nonlinearity: activation } as const;
  const wide = { ...dense, expansion: 4 };
  return { featurizer: gated ? 'gated' : { v: wide }, ...parts, intermediateSize };
}

interface Point {
  readonly parts: (options: never, d: number) => LivOptions | undefined;
  /** Its names of the features c, b, v. */
  readonly features: Readonly<Record<string, string>>;
}

const queries = { q: 'c', k: 'b', v: 'v' };

/** By an operator's name. Options of other kinds than these are the operator's own to refuse, as it was made. */
const points: Readonly<Record<string, Point>> = {
  attention: { parts: ofAttention, features: queries },
  linear_attention: { parts: ofLinearAttention, features: queries },
  liv: { parts: (options: LivOptions) => checkedOptions(options), features: {} },
  mlp: { parts: ofMlp, features: { gate: 'c', up: 'v' } },
  short_conv: { parts: ofShortConv, features: { c: 'c', b: 'b', u: 'v' } },
  swiglu: {
    parts: ({ intermediateSize }: { intermediateSize: number }) =>
      ofMlp({ intermediateSize, activation: 'silu', gated: true }),
    features: { gate: 'c', up: 'v' },
  },
};

/** The parts of an operator; undefined where it does something that they cannot say (norms of queries, biases, routing). */
export function partsOf({ name, options }: Operator, { hiddenSize }: Sizes): LivOptions | undefined {
  const point = Object.hasOwn(points, name) ? points[name] : undefined;
  return point?.parts(options as never, hiddenSize);
}

/** What `liv` calls these features of an operator that has parts. */
export function featureNames({ name }: Operator, names: readonly string[]): readonly string[] {
  return names.map((feature) => points[name]?.features[feature] ?? feature);
}
