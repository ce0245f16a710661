// The sizes of Llama that the announcement compares with.
import type { Catalogue, CatalogueEntry } from './entry.ts';
import type { LlamaConfig } from './llama.ts';
import { llama } from './llama.ts';

const shared = {
  vocabSize: 128_256,
  numKeyValueHeads: 8,
  ropeTheta: 500_000,
  rmsNormEps: 1e-5,
  initializerRange: 0.02,
  maxPositionEmbeddings: 131_072,
  json: { model_type: 'llama' },
};

type Size = Omit<LlamaConfig, keyof typeof shared>;

/** Their rotary wavelengths are stretched past 8,192 tokens, which no cost depends on and the definition leaves out. */
function entry(title: string, size: Size): CatalogueEntry {
  return { family: 'llama', title, source: 'the published config.json', model: () => llama({ ...shared, ...size }) };
}

export const llamaModels: Catalogue = {
  'llama-3.2-1b': entry('Llama 3.2 1B', {
    hiddenSize: 2048,
    intermediateSize: 8192,
    numHiddenLayers: 16,
    numAttentionHeads: 32,
    headDim: 64,
    tieWordEmbeddings: true,
  }),
  'llama-3.2-3b': entry('Llama 3.2 3B', {
    hiddenSize: 3072,
    intermediateSize: 8192,
    numHiddenLayers: 28,
    numAttentionHeads: 24,
    headDim: 128,
    tieWordEmbeddings: true,
  }),
  'llama-3.1-8b': entry('Llama 3.1 8B', {
    hiddenSize: 4096,
    intermediateSize: 14_336,
    numHiddenLayers: 32,
    numAttentionHeads: 32,
    headDim: 128,
    tieWordEmbeddings: false,
  }),
};
