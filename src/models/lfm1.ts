// The models of the announcement of 30 September 2024, in stated sizes and a recipe of our own.
import type { Layer, Model } from '../liquid/index.ts';
import { attention, defineModel, depthGroup, layer, moe, shared, shortConv, swiglu } from '../liquid/index.ts';
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
 * and grouped-query attention with 8 heads of keys and values in few layers, spread evenly. As figure 3 of the announcement
 * shows it, layers share: of two neighbouring attention layers the second takes the first's keys and values, and so remembers
 * none of its own; the convolution layers before them are one depth group, of one set of weights.
 */
function lfm1({ hiddenSize, intermediateSize, heads, depth, period }: Recipe): Model {
  const mlp = swiglu({ intermediateSize });
  const conv = layer(shortConv({ kernel: 3 }), mlp);
  const attend = attention({ heads, keyValueHeads: 8, theta: 1_000_000 });
  const pairs = Math.floor(depth / period / 2);
  const layerAt = (index: number): Layer => {
    const [place, pair] = [index % period, Math.floor(index / period / 2)];
    const attends = place === period - 1;
    if (pair >= pairs) return attends ? layer(attend, mlp) : conv;
    if (attends) return layer(shared(attend, { features: { group: `cache${pair}`, names: ['k', 'v'] } }), mlp);
    return place === period - 2 ? depthGroup(`convolution${pair}`, conv) : conv;
  };
  return defineModel({
    vocabSize: 65_536,
    hiddenSize,
    layers: Array.from({ length: depth }, (_, index) => layerAt(index)),
    contextLength: 32_768,
  });
}

/**
 * What was published: 40.3B parameters, 12B of them active, a context of 32k. The layers are ours, after LFM2-MoE: three gated
 * short convolutions to one grouped-query attention, and in every layer sixteen experts, four of them for each token. `narrower`
 * divides all widths, for trials on small machines: a power of two up to 16.
 */
export function lfm40(narrower = 1): Model {
  const intermediateSize = 5344 / narrower;
  const routed = moe({ experts: 16, activeExperts: 4, intermediateSize, routing: 'sigmoid', expertBias: true });
  const heads = { heads: 32 / narrower, keyValueHeads: Math.max(1, 8 / narrower) };
  const attend = attention({ ...heads, theta: 1_000_000 });
  const layers = Array.from({ length: 36 }, (_, index) =>
    layer(index % 4 === 3 ? attend : shortConv({ kernel: 3 }), routed),
  );
  return defineModel({ vocabSize: 65_536, hiddenSize: 4096 / narrower, layers, contextLength: 32_768 });
}

const source = 'stated size and context; the layers, all widths and the vocabulary are ours';

export const lfm1Models: Catalogue = {
  'lfm-1.3b': {
    family: 'lfm1',
    title: 'LFM-1B',
    source,
    model: () => lfm1({ hiddenSize: 2048, intermediateSize: 8192, heads: 32, depth: 21, period: 3 }),
  },
  'lfm-3.1b': {
    family: 'lfm1',
    title: 'LFM-3B',
    source,
    model: () => lfm1({ hiddenSize: 2560, intermediateSize: 8960, heads: 40, depth: 36, period: 4 }),
  },
  'lfm-40.3b-a12b': {
    family: 'lfm1_moe',
    title: 'LFM-40B',
    source: 'stated size, active size and context; the layers, all widths and the vocabulary are ours',
    model: () => lfm40(),
  },
};
