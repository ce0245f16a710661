// Zamba 2 (Glorioso et al. 2024, arXiv 2411.15242): Mamba 2 at every depth; at some, what a transformer block makes of the stream
// and the embeddings is added to its input. There are one or two such blocks, used in turn, with adapters of each depth's own.
import { z } from 'zod';
import type { Layer, Model } from '../liquid/index.ts';
import {
  block,
  defineModel,
  isOwnAtEachDepth,
  mamba2,
  rms,
  shared,
  sharedTransformer,
  stack,
} from '../liquid/index.ts';
import { LfmError } from '../tensor/error.ts';
import { parseConfig, wholeNumber } from './config.ts';
import type { Catalogue } from './entry.ts';

/** transformers' names, in camelCase. */
export interface Zamba2Config {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numHiddenLayers: number;
  /** Depths that a shared block feeds, ascending. */
  readonly hybridLayerIds: readonly number[];
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly numMemBlocks: number;
  readonly adapterRank: number;
  readonly useSharedAttentionAdapter: boolean;
  /** Base of the rotary wavelengths; absent: no positions. */
  readonly ropeTheta: number | undefined;
  readonly nMambaHeads: number;
  readonly mambaDState: number;
  readonly mambaDConv: number;
  readonly mambaExpand: number;
  readonly mambaNgroups: number;
  readonly timeStepMin: number;
  readonly rmsNormEps: number;
  readonly initializerRange: number;
  readonly maxPositionEmbeddings: number;
  readonly tieWordEmbeddings: boolean;
  /** The config.json that it was read from. */
  readonly json: Readonly<Record<string, unknown>>;
}

export function zamba2(config: Zamba2Config): Model {
  const { hiddenSize, hybridLayerIds, numMemBlocks, ropeTheta } = config;
  const state = mamba2({
    expand: config.mambaExpand,
    headDim: (config.mambaExpand * hiddenSize) / config.nMambaHeads,
    stateSize: config.mambaDState,
    nGroups: config.mambaNgroups,
    convKernel: config.mambaDConv,
    timeStepLimit: [config.timeStepMin],
  });
  const transformer = sharedTransformer({
    heads: config.numAttentionHeads,
    keyValueHeads: config.numKeyValueHeads,
    intermediateSize: config.intermediateSize,
    adapterRank: config.adapterRank,
    attentionAdapters: config.useSharedAttentionAdapter,
    ...(ropeTheta !== undefined && { theta: ropeTheta }),
  });
  const own = Object.keys(transformer.parameters({ hiddenSize })).filter(isOwnAtEachDepth);
  const recurrent = block(state, { norm: rms('input_layernorm') });
  const layerAt = (index: number): Layer => {
    const use = hybridLayerIds.indexOf(index);
    if (use < 0) return stack(recurrent);
    const weights = { group: `block ${use % numMemBlocks}`, own };
    return stack(block(shared(transformer, { weights }), { aside: true }), recurrent);
  };
  return defineModel({
    vocabSize: config.vocabSize,
    hiddenSize,
    layers: Array.from({ length: config.numHiddenLayers }, (_, index) => layerAt(index)),
    finalNorm: rms('final_layernorm'),
    tieEmbeddings: config.tieWordEmbeddings,
    normEps: config.rmsNormEps,
    initializerRange: config.initializerRange,
    contextLength: config.maxPositionEmbeddings,
    config: config.json,
  });
}

/**
 * What a checkpoint of that configuration calls a parameter: adapters are numbered by the uses of shared blocks, and lie where
 * their block is first used.
 */
export function zamba2Name({ hybridLayerIds, numMemBlocks }: Zamba2Config, parameter: string): string {
  const found = /^(model\.layers\.(\d+)\.)(.*)$/.exec(parameter);
  if (!found) return parameter;
  const [, prefix, depth, rest = ''] = found;
  const use = hybridLayerIds.indexOf(Number(depth));
  if (use < 0) return `${prefix}${rest.replace(/^mixer\./, 'mamba.')}`;
  if (/^(mixer|input_layernorm)\./.test(rest)) return `${prefix}mamba_decoder.${rest.replace(/^mixer\./, 'mamba.')}`;
  if (rest.includes('_adapter.')) {
    const name = rest.replace(/_adapter\.([01])\./, `_adapter_list.${use}.$1.`);
    return `model.layers.${hybridLayerIds[use % numMemBlocks]}.${name}`;
  }
  return `${prefix}${rest.replace(/^shared_transformer\.linear\./, 'linear.')}`;
}

// Bounds are far above any model that exists: a hostile file must not decide how much memory is asked for.
const size = wholeNumber(1, 2 ** 18);
const positive = z.number().positive().max(1e12);
const off = z.literal(false).nullish();

/** As transformers' Zamba2Config reads it. Other keys are not read, but for those that would change what is computed. */
const schema = z.looseObject({
  vocab_size: wholeNumber(1, 2 ** 24).default(32_000),
  hidden_size: size.default(2560),
  intermediate_size: size.nullish(),
  num_hidden_layers: wholeNumber(1, 1024).default(54),
  layers_block_type: z.array(z.enum(['mamba', 'linear_attention', 'hybrid'])).max(1024),
  num_attention_heads: size.default(32),
  num_key_value_heads: size.nullish(),
  num_mem_blocks: wholeNumber(1, 1024).default(1),
  adapter_rank: size.default(128),
  use_shared_attention_adapter: z.boolean().default(false),
  use_mem_rope: z.boolean().default(false),
  use_long_context: off,
  rope_theta: positive.nullish(),
  rope_parameters: z.object({ rope_theta: positive.optional(), rope_type: z.literal('default').optional() }).nullish(),
  hidden_act: z.literal('gelu').default('gelu'),
  add_bias_linear: off,
  n_mamba_heads: size.default(8),
  mamba_d_state: size.default(64),
  mamba_d_conv: wholeNumber(2, 4096).default(4),
  mamba_expand: wholeNumber(1, 64).default(2),
  mamba_ngroups: size.default(1),
  time_step_min: z.number().min(0).max(1e6).default(0.001),
  // The state's own norm has this one whatever a file says.
  rms_norm_eps: z.literal(1e-5).default(1e-5),
  initializer_range: positive.default(0.02),
  max_position_embeddings: wholeNumber(1, 2 ** 30).default(4096),
  tie_word_embeddings: z.boolean().default(true),
});

/** Reads a config.json. Errors: `bad-config`, naming the key. */
export function zamba2FromHuggingFace(json: unknown): Zamba2Config {
  const config = parseConfig(schema, json);
  const { hidden_size: hiddenSize, num_attention_heads: heads, layers_block_type: types } = config;
  const keyValueHeads = config.num_key_value_heads ?? heads;
  const inner = config.mamba_expand * hiddenSize;
  const wrong = [
    ['layers_block_type', types.length === config.num_hidden_layers],
    ['num_attention_heads', (2 * hiddenSize) % heads === 0 && ((2 * hiddenSize) / heads) % 2 === 0],
    ['num_key_value_heads', heads % keyValueHeads === 0],
    ['n_mamba_heads', inner % config.n_mamba_heads === 0 && config.n_mamba_heads % config.mamba_ngroups === 0],
  ].find(([, fits]) => !fits);
  if (wrong) throw new LfmError('bad-config', `config.json: ${wrong[0]} does not fit the other sizes.`);
  const theta = config.rope_parameters?.rope_theta ?? config.rope_theta ?? 10_000;
  return {
    vocabSize: config.vocab_size,
    hiddenSize,
    intermediateSize: config.intermediate_size ?? 4 * hiddenSize,
    numHiddenLayers: config.num_hidden_layers,
    hybridLayerIds: types.flatMap((type, index) => (type === 'hybrid' ? [index] : [])),
    numAttentionHeads: heads,
    numKeyValueHeads: keyValueHeads,
    numMemBlocks: config.num_mem_blocks,
    adapterRank: config.adapter_rank,
    useSharedAttentionAdapter: config.use_shared_attention_adapter,
    ropeTheta: config.use_mem_rope ? theta : undefined,
    nMambaHeads: config.n_mamba_heads,
    mambaDState: config.mamba_d_state,
    mambaDConv: config.mamba_d_conv,
    mambaExpand: config.mamba_expand,
    mambaNgroups: config.mamba_ngroups,
    timeStepMin: config.time_step_min,
    rmsNormEps: config.rms_norm_eps,
    initializerRange: config.initializer_range,
    maxPositionEmbeddings: config.max_position_embeddings,
    tieWordEmbeddings: config.tie_word_embeddings,
    json: config,
  };
}

const hybrid = [6, 12, 18, 24, 30, 36, 42, 47, 51];

export const zamba2Models: Catalogue = {
  'zamba-2-2.7b': {
    family: 'zamba2',
    title: 'Zamba2-2.7B',
    source: 'config.json of the published model (arXiv 2411.15242)',
    model: () =>
      zamba2(
        zamba2FromHuggingFace({
          model_type: 'zamba2',
          layers_block_type: Array.from({ length: 54 }, (_, index) => (hybrid.includes(index) ? 'hybrid' : 'mamba')),
          num_mem_blocks: 2,
          n_mamba_heads: 80,
        }),
      ),
  },
};
