// The stacks that MAD compares: two blocks each, of a token mixer and a SwiGLU.
import type { Model, Operator } from '../../liquid/index.ts';
import {
  attention,
  classHead,
  defineModel,
  gatedDelta,
  layer,
  linearAttention,
  mamba2,
  shortConv,
  swiglu,
  tokenEmbedding,
} from '../../liquid/index.ts';
import { autoEncoder } from './auto-encoder.ts';
import type { MadTask } from './tasks.ts';

const HIDDEN = 64;

// Short wavelengths, for rows of at most 256 tokens: a head finds the token before it sooner, which recall begins with.
const attending = attention({ heads: 2, theta: 30 });
const convolving = shortConv();
const linear = linearAttention({ heads: 2 });
const delta = gatedDelta({ keyHeads: 2, keyHeadDim: 32, valueHeadDim: 32 });
const selective = mamba2({ headDim: 32, stateSize: 32 });

/** Token mixers from the first block to the last, by the stack's name. */
export const madStacks: Readonly<Record<string, readonly Operator[]>> = {
  attention: [attending, attending],
  convolution: [convolving, convolving],
  hybrid: [convolving, attending],
  'linear-attention': [linear, linear],
  'gated-delta': [delta, delta],
  mamba2: [selective, selective],
};

/** A stack of these mixers as a model for a task. */
export function madModel(mixers: readonly Operator[], { vocabSize, autoEncoder: toldAgain }: MadTask): Model {
  const mlp = swiglu({ intermediateSize: 2 * HIDDEN });
  const model = defineModel({
    encoder: tokenEmbedding({ vocabSize }),
    head: classHead({ classes: vocabSize }),
    hiddenSize: HIDDEN,
    layers: mixers.map((mixer) => layer(mixer, mlp)),
    initializerRange: HIDDEN ** -0.5,
  });
  return toldAgain ? autoEncoder(model) : model;
}
