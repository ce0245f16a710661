// OpenELM (arXiv 2404.14619): attention whose heads, and SwiGLU whose width, grow from layer to layer.
import type { Model } from '../liquid/index.ts';
import { attention, defineModel, layer, swiglu } from '../liquid/index.ts';
import type { Catalogue } from './entry.ts';

export interface OpenElmConfig {
  readonly vocabSize: number;
  readonly modelDim: number;
  readonly numTransformerLayers: number;
  readonly headDim: number;
  /** Query heads that share a head of keys and values. */
  readonly numGqaGroups: number;
  /** Of the first layer and the last: query width, and feed-forward width, over the model's. */
  readonly qkvMultipliers: readonly [number, number];
  readonly ffnMultipliers: readonly [number, number];
  readonly ffnDimDivisor: number;
  readonly ropeFreqConstant: number;
  readonly maxContextLength: number;
}

/** Evenly from the first to the last, each with two decimals. */
function multipliers([first, last]: readonly [number, number], count: number): number[] {
  return Array.from({ length: count }, (_, index) => {
    const value = first + ((last - first) * index) / Math.max(1, count - 1);
    return Math.round(value * 100) / 100;
  });
}

/** The nearest multiple, but not under nine tenths of the value. */
function roundTo(value: number, divisor: number): number {
  const nearest = Math.max(divisor, Math.floor((value + divisor / 2) / divisor) * divisor);
  return nearest < 0.9 * value ? nearest + divisor : nearest;
}

/** Heads of queries and the feed-forward width of each layer. */
export function openElmLayers(config: OpenElmConfig): { heads: number; intermediateSize: number }[] {
  const { modelDim, headDim, numGqaGroups, numTransformerLayers: count } = config;
  const widths = multipliers(config.ffnMultipliers, count);
  return multipliers(config.qkvMultipliers, count).map((share, index) => ({
    heads: roundTo(share * modelDim, headDim * numGqaGroups) / headDim,
    intermediateSize: roundTo((widths[index] ?? 1) * modelDim, config.ffnDimDivisor),
  }));
}

export function openElm(config: OpenElmConfig): Model {
  const { vocabSize, modelDim: hiddenSize, headDim, numGqaGroups, ropeFreqConstant: theta } = config;
  return defineModel({
    vocabSize,
    hiddenSize,
    layers: openElmLayers(config).map(({ heads, intermediateSize }) =>
      layer(attention({ heads, keyValueHeads: heads / numGqaGroups, headDim, theta }), swiglu({ intermediateSize })),
    ),
    normEps: 1e-6,
    contextLength: config.maxContextLength,
  });
}

export const openElmModels: Catalogue = {
  'openelm-1.1b': {
    family: 'openelm',
    title: 'OpenELM 1.1B',
    source: 'arXiv 2404.14619 and the published config.json',
    model: () =>
      openElm({
        vocabSize: 32_000,
        modelDim: 2048,
        numTransformerLayers: 28,
        headDim: 64,
        numGqaGroups: 4,
        qkvMultipliers: [0.5, 1],
        ffnMultipliers: [0.5, 4],
        ffnDimDivisor: 256,
        ropeFreqConstant: 10_000,
        maxContextLength: 2048,
      }),
  },
};
