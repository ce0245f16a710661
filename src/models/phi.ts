// Phi 1.5 (Li et al. 2023, arXiv 2309.05463): attention and MLP side by side on one layer norm, biases everywhere, half of each
// head turned by position.
import type { Model } from '../liquid/index.ts';
import { attention, block, defineModel, layerNormed, mlp, stack } from '../liquid/index.ts';
import type { Catalogue } from './entry.ts';

/** transformers' names, in camelCase. */
export interface PhiConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numHiddenLayers: number;
  readonly numAttentionHeads: number;
  readonly maxPositionEmbeddings: number;
}

export function phi(config: PhiConfig): Model {
  const { vocabSize, hiddenSize, intermediateSize, numHiddenLayers, numAttentionHeads: heads } = config;
  const attend = attention({ heads, qkNorm: false, bias: true, outBias: true, rotaryFactor: 0.5 });
  const beside = mlp({ intermediateSize, activation: 'gelu_tanh', bias: true });
  const one = stack(block([attend, beside], { norm: layerNormed('input_layernorm') }));
  return defineModel({
    vocabSize,
    tieEmbeddings: false,
    headBias: true,
    hiddenSize,
    layers: Array.from({ length: numHiddenLayers }, () => one),
    finalNorm: layerNormed('final_layernorm'),
    normEps: 1e-5,
    contextLength: config.maxPositionEmbeddings,
  });
}

/** What a Phi checkpoint calls a parameter. */
export function phiName(parameter: string): string {
  return parameter.replace('.self_attn.out_proj.', '.self_attn.dense.');
}

export const phiModels: Catalogue = {
  'phi-1.5': {
    family: 'phi',
    title: 'Phi-1.5',
    source: 'config.json of the published model',
    model: () =>
      phi({
        vocabSize: 51_200,
        hiddenSize: 2048,
        intermediateSize: 8192,
        numHiddenLayers: 24,
        numAttentionHeads: 32,
        maxPositionEmbeddings: 2048,
      }),
  },
};
