// Phi-3 (arXiv 2404.14219): Llama's layers, with as many heads of keys and values as of queries in the mini.
import type { Model } from '../liquid/index.ts';
import { attention, defineModel, layer, swiglu } from '../liquid/index.ts';
import type { Catalogue } from './entry.ts';

/**
 * Checkpoints keep q, k, v and gate, up in one matrix each, which changes no size. The stretched rotary wavelengths of long
 * inputs are left out: no cost depends on them.
 */
function phi35Mini(): Model {
  const block = layer(attention({ heads: 32, qkNorm: false }), swiglu({ intermediateSize: 8192 }));
  return defineModel({
    vocabSize: 32_064,
    hiddenSize: 3072,
    layers: Array.from({ length: 32 }, () => block),
    tieEmbeddings: false,
    contextLength: 131_072,
  });
}

export const phi3Models: Catalogue = {
  'phi-3.5-mini': {
    family: 'phi3',
    title: 'Phi-3.5-mini',
    source: 'the published config.json',
    model: phi35Mini,
  },
};
