// The sizes in which LFM2 and LFM2.5 were published.
import type { Catalogue, CatalogueEntry } from './entry.ts';
import type { LayerType, Lfm2Config } from './lfm2.ts';
import { lfm2 } from './lfm2.ts';

interface Size {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly heads: number;
  readonly depth: number;
  /** Depths of the attention layers. */
  readonly attending: readonly number[];
  readonly vocabSize?: number;
  readonly contextLength?: number;
}

/** Layers of which those at the given depths attend. */
export function layersAttending(depth: number, attending: readonly number[]): LayerType[] {
  return Array.from({ length: depth }, (_, index) => (attending.includes(index) ? 'full_attention' : 'conv'));
}

function configOf(size: Size): Lfm2Config {
  return {
    vocabSize: size.vocabSize ?? 65_536,
    hiddenSize: size.hiddenSize,
    intermediateSize: size.intermediateSize,
    layerTypes: layersAttending(size.depth, size.attending),
    numAttentionHeads: size.heads,
    numKeyValueHeads: 8,
    ropeTheta: 1_000_000,
    convLCache: 3,
    convBias: false,
    normEps: 1e-5,
    initializerRange: 0.02,
    // Their config.json says 128,000; LFM2 was trained to 32,768 (technical report, arXiv 2511.23404).
    maxPositionEmbeddings: size.contextLength ?? 32_768,
    tieWordEmbeddings: true,
    padTokenId: 0,
    bosTokenId: 1,
    eosTokenId: 7,
  };
}

const sixteen = { depth: 16, attending: [2, 5, 8, 10, 12, 14] };
const thirty = { depth: 30, attending: [2, 5, 9, 13, 17, 21, 24, 27] };
const small = { hiddenSize: 1024, intermediateSize: 4608, heads: 16, ...sixteen };
const middle = { hiddenSize: 2048, intermediateSize: 8192, heads: 32, ...sixteen };
const large = { hiddenSize: 2048, intermediateSize: 10_752, heads: 32, ...thirty };

const card = 'the published config.json';
const report = 'technical report (arXiv 2511.23404) and the published config.json';

/** Configurations by name. */
export const lfm2Configs = {
  'lfm2-350m': configOf(small),
  'lfm2-700m': configOf({ hiddenSize: 1536, intermediateSize: 6912, heads: 24, ...sixteen }),
  'lfm2-1.2b': configOf(middle),
  'lfm2-2.6b': configOf(large),
  'lfm2.5-230m': configOf({
    hiddenSize: 1024,
    intermediateSize: 2560,
    heads: 16,
    depth: 14,
    attending: [2, 4, 6, 8, 10, 12],
  }),
  'lfm2.5-350m': configOf(small),
  'lfm2.5-1.2b': configOf(middle),
  'lfm2.5-2.6b': configOf({ ...large, vocabSize: 128_000, contextLength: 128_000 }),
} satisfies Record<string, Lfm2Config>;

function entry(title: string, config: Lfm2Config, source: string): CatalogueEntry {
  return { family: 'lfm2', title, source, model: () => lfm2(config) };
}

export const lfm2Models: Catalogue = {
  'lfm2-350m': entry('LFM2-350M', lfm2Configs['lfm2-350m'], report),
  'lfm2-700m': entry('LFM2-700M', lfm2Configs['lfm2-700m'], report),
  'lfm2-1.2b': entry('LFM2-1.2B', lfm2Configs['lfm2-1.2b'], report),
  'lfm2-2.6b': entry('LFM2-2.6B', lfm2Configs['lfm2-2.6b'], report),
  'lfm2.5-230m': entry(
    'LFM2.5-230M',
    lfm2Configs['lfm2.5-230m'],
    'model card (14 layers, 6 of them attention) and the widths in llama.cpp; at which depths attention stands is ours',
  ),
  'lfm2.5-350m': entry('LFM2.5-350M', lfm2Configs['lfm2.5-350m'], `${card}: LFM2-350M's shape`),
  'lfm2.5-1.2b': entry('LFM2.5-1.2B', lfm2Configs['lfm2.5-1.2b'], `${card}: LFM2-1.2B's shape`),
  'lfm2.5-2.6b': entry(
    'LFM2.5-2.6B',
    lfm2Configs['lfm2.5-2.6b'],
    "model card (30 layers, 8 of them attention, 128K context); LFM2-2.6B's shape with the vocabulary of 128,000 gives its 2.69B",
  ),
};
