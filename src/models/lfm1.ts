// The dense models of the announcement of 30 September 2024, in stated sizes and a recipe of our own.
import type { Model } from '../liquid/index.ts';
import { attention, defineModel, layer, shortConv, swiglu } from '../liquid/index.ts';
import type { Catalogue } from './entry.ts';

interface Recipe {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly heads: number;
  /** Layers, of which every `period`th attends. */
  readonly depth: number;
  readonly period: number;
}

/**
 * What was published: parameters in all (1.3B, 3.1B), a context of 32k, and that memory hardly grows with length. The layers
 * were not: everything below is ours, after LFM2, whose recipe came a year later (arXiv 2511.23404): gated short convolutions,
 * and grouped-query attention with 8 heads of keys and values in few layers, spread evenly. Figure 3 of the announcement shows
 * weights and features shared between layers; this recipe shares none.
 */
function lfm1({ hiddenSize, intermediateSize, heads, depth, period }: Recipe): Model {
  const mlp = swiglu({ intermediateSize });
  const conv = layer(shortConv({ kernel: 3 }), mlp);
  const attend = layer(attention({ heads, keyValueHeads: 8, theta: 1_000_000 }), mlp);
  return defineModel({
    vocabSize: 65_536,
    hiddenSize,
    layers: Array.from({ length: depth }, (_, index) => (index % period === period - 1 ? attend : conv)),
    contextLength: 32_768,
  });
}

const source = 'stated size and context; the layers, all widths and the vocabulary are ours';

export const lfm1Models: Catalogue = {
  'lfm-1.3b': {
    family: 'lfm1',
    title: 'LFM-1B',
    source,
    model: () => lfm1({ hiddenSize: 2048, intermediateSize: 8192, heads: 32, depth: 18, period: 3 }),
  },
  'lfm-3.1b': {
    family: 'lfm1',
    title: 'LFM-3B',
    source,
    model: () => lfm1({ hiddenSize: 2560, intermediateSize: 8832, heads: 40, depth: 32, period: 4 }),
  },
};
