// Mixtures of experts: LFM2-MoE's published sizes, Mixtral, and the announcement's 40.3B in a recipe of ours.
import type { Layer, Model } from '../liquid/index.ts';
import { attention, defineModel, layer, moe, shortConv, swiglu } from '../liquid/index.ts';
import type { Catalogue } from './entry.ts';

interface Lfm2MoeSize {
  readonly vocabSize?: number;
  readonly contextLength?: number;
  /** Width of the SwiGLU of the first two layers, which are dense. */
  readonly denseSize: number;
  readonly experts: number;
  readonly expertSize: number;
  readonly depth: number;
  readonly attending: readonly number[];
}

/** LFM2-MoE: sigmoid routing to four experts, chosen with a bias that balances them (arXiv 2511.23404). */
function lfm2Moe({
  vocabSize = 65_536,
  contextLength = 32_768,
  denseSize,
  experts,
  expertSize,
  depth,
  attending,
}: Lfm2MoeSize): Model {
  const routed = moe({ experts, activeExperts: 4, intermediateSize: expertSize, routing: 'sigmoid', expertBias: true });
  const dense = swiglu({ intermediateSize: denseSize });
  const attend = attention({ heads: 32, keyValueHeads: 8, theta: 1_000_000 });
  const layerAt = (index: number): Layer =>
    layer(attending.includes(index) ? attend : shortConv({ kernel: 3 }), index < 2 ? dense : routed);
  const layers = Array.from({ length: depth }, (_, index) => layerAt(index));
  return defineModel({ vocabSize, hiddenSize: 2048, layers, contextLength });
}

const small = { denseSize: 7168, experts: 32, expertSize: 1792, depth: 24, attending: [2, 6, 10, 14, 18, 21] };
const large = {
  denseSize: 11_776,
  experts: 64,
  expertSize: 1536,
  depth: 40,
  attending: Array.from({ length: 10 }, (_, index) => 4 * index + 2),
};

function mixtral(): Model {
  const routed = moe({ experts: 8, activeExperts: 2, intermediateSize: 14_336 });
  const attend = attention({ heads: 32, keyValueHeads: 8, theta: 1_000_000, qkNorm: false });
  return defineModel({
    vocabSize: 32_000,
    hiddenSize: 4096,
    layers: Array.from({ length: 32 }, () => layer(attend, routed)),
    tieEmbeddings: false,
    contextLength: 32_768,
  });
}

interface Qwen2MoeSize {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly depth: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly experts: number;
  readonly activeExperts: number;
  readonly expertSize: number;
  readonly sharedSize: number;
  readonly theta: number;
}

/** Qwen2-MoE (arXiv 2407.10671): biases on queries, keys and values; an expert that all tokens share, behind a gate. */
export function qwen2Moe(size: Qwen2MoeSize): Model {
  const { vocabSize, hiddenSize, depth, heads, keyValueHeads, experts, activeExperts, theta } = size;
  const routed = moe({
    experts,
    activeExperts,
    intermediateSize: size.expertSize,
    normTopK: false,
    sharedIntermediateSize: size.sharedSize,
    sharedGate: true,
  });
  const attend = attention({ heads, keyValueHeads, theta, qkNorm: false, bias: true });
  return defineModel({
    vocabSize,
    hiddenSize,
    layers: Array.from({ length: depth }, () => layer(attend, routed)),
    tieEmbeddings: false,
    normEps: 1e-6,
    contextLength: 32_768,
  });
}

/**
 * What was published: 40.3B parameters, 12B of them active, a context of 32k. The layers are ours, after LFM2-MoE: three gated
 * short convolutions to one grouped-query attention, and in every layer sixteen experts, four of them for each token.
 */
function lfm40(): Model {
  const routed = moe({ experts: 16, activeExperts: 4, intermediateSize: 5344, routing: 'sigmoid', expertBias: true });
  const attend = attention({ heads: 32, keyValueHeads: 8, theta: 1_000_000 });
  const layers = Array.from({ length: 36 }, (_, index) =>
    layer(index % 4 === 3 ? attend : shortConv({ kernel: 3 }), routed),
  );
  return defineModel({ vocabSize: 65_536, hiddenSize: 4096, layers, contextLength: 32_768 });
}

const source = 'config.json of the published model; layers and sizes as in arXiv 2511.23404';

export const mixtureModels: Catalogue = {
  'lfm2-8b-a1b': { family: 'lfm2_moe', title: 'LFM2-8B-A1B', source, model: () => lfm2Moe(small) },
  'lfm2-24b-a2b': { family: 'lfm2_moe', title: 'LFM2-24B-A2B', source, model: () => lfm2Moe(large) },
  'lfm2.5-8b-a1b': {
    family: 'lfm2_moe',
    title: 'LFM2.5-8B-A1B',
    source,
    model: () => lfm2Moe({ ...small, vocabSize: 128_000, contextLength: 128_000 }),
  },
  'lfm2.5-24b-a2b': {
    family: 'lfm2_moe',
    title: 'LFM2.5-24B-A2B',
    source,
    model: () => lfm2Moe({ ...large, vocabSize: 128_000, contextLength: 128_000 }),
  },
  'lfm-40.3b-a12b': {
    family: 'lfm1_moe',
    title: 'LFM-40B',
    source: 'stated size, active size and context; the layers, all widths and the vocabulary are ours',
    model: lfm40,
  },
  'qwen-2-57b-a14b': {
    family: 'qwen2_moe',
    title: 'Qwen2-57B-A14B',
    source: 'config.json of the published model (arXiv 2407.10671)',
    model: () =>
      qwen2Moe({
        vocabSize: 151_936,
        hiddenSize: 3584,
        depth: 28,
        heads: 28,
        keyValueHeads: 4,
        experts: 64,
        activeExperts: 8,
        expertSize: 2560,
        sharedSize: 20_480,
        theta: 1_000_000,
      }),
  },
  'mixtral-8x7b': {
    family: 'mixtral',
    title: 'Mixtral-8x7B-v0.1',
    source: 'config.json of the published model (arXiv 2401.04088)',
    model: mixtral,
  },
};
