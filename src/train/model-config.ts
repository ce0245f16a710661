// config.json of a model: its own, or the LFM2 configuration that its layers amount to.
import type { Model, Operator } from '../liquid/index.ts';
import { layer, operatorsOf } from '../liquid/index.ts';
import { toHuggingFace } from '../models/index.ts';
import { LfmError } from '../tensor/error.ts';
import type { TokenIds } from './recipe-model.ts';

type Options = Readonly<Record<string, unknown>>;

/**
 * The config.json of a model. One put together in code gets LFM2's where it is one: layers of short convolutions and
 * attention with equal options, each with an equal SwiGLU. The ids are the tokenizer's where the model names none.
 * Errors: `no-config` for a model that no known config.json describes.
 */
export function configOf(model: Model, ids: TokenIds): Readonly<Record<string, unknown>> {
  if (model.config) return model.config;
  const refuse = (why: string): never => {
    throw new LfmError(
      'no-config',
      `No config.json describes this model: ${why}. Give defineModel a \`config\` to save with it.`,
    );
  };
  if (model.links.length > 0) refuse('LFM2 shares nothing between layers');
  const layers = model.layers.map((one) => {
    const [mixer, mlp] = operatorsOf(one);
    const plain = mixer && mlp && JSON.stringify(one) === JSON.stringify(layer(mixer, mlp));
    return plain ? { mixer, mlp } : refuse('LFM2 has two blocks a layer, each behind its norm');
  });
  const optionsOf = (operators: readonly Operator[], what: string): Options => {
    const all = operators.map(({ options }) => options as Options);
    const [first = {}] = all;
    if (all.some((options) => JSON.stringify(options) !== JSON.stringify(first)))
      refuse(`its ${what} differ from layer to layer`);
    return first;
  };
  const mixers = (name: string) => layers.map(({ mixer }) => mixer).filter((mixer) => mixer.name === name);
  const [attending, convolving] = [mixers('attention'), mixers('short_conv')];
  if (attending.length + convolving.length < layers.length) refuse('LFM2 has layers of short_conv and attention only');
  if (layers.some(({ mlp }) => mlp.name !== 'swiglu')) refuse('LFM2 has a swiglu in every layer');
  const attention = optionsOf(attending, 'attention layers');
  const conv = optionsOf(convolving, 'convolutions');
  const mlp = optionsOf(
    layers.map(({ mlp: one }) => one),
    'SwiGLUs',
  );
  if (attention.window !== undefined || attention.headDim !== undefined) refuse('LFM2 knows no window and no headDim');
  const table = model.parameters['model.embed_tokens.weight'];
  if (!table) return refuse('it has no token embedding');
  const heads = Number(attention.heads ?? 1);
  const { init } = table;
  return toHuggingFace({
    vocabSize: model.head.classes,
    hiddenSize: model.hiddenSize,
    intermediateSize: Number(mlp.intermediateSize),
    layerTypes: layers.map(({ mixer }) => (mixer.name === 'attention' ? 'full_attention' : 'conv')),
    numAttentionHeads: heads,
    numKeyValueHeads: Number(attention.keyValueHeads ?? heads),
    ropeTheta: Number(attention.theta ?? 10_000),
    convLCache: Number(conv.kernel ?? 3),
    convBias: conv.bias === true,
    normEps: model.normEps,
    initializerRange: 'std' in init ? init.std : 0,
    maxPositionEmbeddings: model.contextLength,
    tieWordEmbeddings: !model.parameters['lm_head.weight'],
    padTokenId: ids.pad,
    bosTokenId: ids.endOfText,
    eosTokenId: ids.endOfText,
  });
}
