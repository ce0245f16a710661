// LFM3 (October 2026): gated short convolutions of seven taps, sliding-window and global attention with a gate a head, norms
// before and after every operator.
import type { Layer, Model } from '../liquid/index.ts';
import { attention, block, defineModel, rms, shortConv, stack, swiglu } from '../liquid/index.ts';
import type { Catalogue } from './entry.ts';

export type Lfm3LayerType = 'conv' | 'sliding_attention' | 'full_attention';

/** transformers' names, in camelCase. */
export interface Lfm3Config {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layerTypes: readonly Lfm3LayerType[];
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  readonly convLCache: number;
  readonly slidingWindow: number;
  readonly normEps: number;
  readonly maxPositionEmbeddings: number;
}

export function lfm3(config: Lfm3Config): Model {
  const heads = {
    heads: config.numAttentionHeads,
    keyValueHeads: config.numKeyValueHeads,
    headDim: config.headDim,
    outputGate: true,
  };
  const mixers = {
    conv: shortConv({ kernel: config.convLCache }),
    sliding_attention: attention({ ...heads, window: config.slidingWindow, theta: 10_000 }),
    full_attention: attention({ ...heads, theta: 1_000_000, rotaryFactor: 0.5, rotaryKind: 'proportional' }),
  };
  const mlp = block(swiglu({ intermediateSize: config.intermediateSize }), {
    norm: rms('ffn_norm'),
    postNorm: rms('post_ffn_norm'),
  });
  const layerOf = (type: Lfm3LayerType): Layer =>
    stack(block(mixers[type], { norm: rms('operator_norm'), postNorm: rms('post_operator_norm') }), mlp);
  return defineModel({
    vocabSize: config.vocabSize,
    hiddenSize: config.hiddenSize,
    layers: config.layerTypes.map(layerOf),
    normEps: config.normEps,
    contextLength: config.maxPositionEmbeddings,
  });
}

const names: readonly (readonly [ours: RegExp, theirs: string])[] = [
  [/\.self_attn\.out_proj\./, '.self_attn.o_proj.'],
  [/\.self_attn\.q_layernorm\./, '.self_attn.q_norm.'],
  [/\.self_attn\.k_layernorm\./, '.self_attn.k_norm.'],
];

/** What an LFM3 checkpoint calls a parameter. */
export function lfm3Name(parameter: string): string {
  return names.reduce((name, [ours, theirs]) => name.replace(ours, theirs), parameter);
}

/** Every fourth layer sees everything, the one between sees a window, the rest convolve. */
function layerTypeAt(index: number): Lfm3LayerType {
  if (index % 4 === 2) return 'full_attention';
  return index % 4 === 0 && index > 0 ? 'sliding_attention' : 'conv';
}

export const lfm3Models: Catalogue = {
  'lfm3-1.7b': {
    family: 'lfm3',
    title: 'LFM3-1.7B',
    source: 'config.json of the published model',
    model: () =>
      lfm3({
        vocabSize: 128_000,
        hiddenSize: 2048,
        intermediateSize: 7680,
        layerTypes: Array.from({ length: 24 }, (_, index) => layerTypeAt(index)),
        numAttentionHeads: 16,
        numKeyValueHeads: 4,
        headDim: 128,
        convLCache: 7,
        slidingWindow: 256,
        normEps: 1e-5,
        maxPositionEmbeddings: 262_144,
      }),
  },
};
