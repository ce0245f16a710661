// Zamba 2 (Glorioso et al. 2024, arXiv 2411.15242): Mamba 2 at every depth; at some, what a transformer block makes of the stream
// and the embeddings is added to its input. There are one or two such blocks, used in turn, with adapters of each depth's own.
import * as z from 'zod';
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
import type { Names, Spelling } from './checkpoint.ts';
import { parseConfig, wholeNumber } from './config.ts';
import { off, positive, size, sizeKeys } from './decoder.ts';
import type { Catalogue } from './entry.ts';

/** As transformers' Zamba2Config reads it. Other keys are not read, but for those that would change what is computed. */
const schema = z.looseObject({
  ...sizeKeys({
    vocabSize: 32_000,
    hiddenSize: 2560,
    intermediateSize: 10_240,
    layers: 54,
    heads: 32,
    keyValueHeads: null,
    positions: 4096,
    tied: true,
  }),
  intermediate_size: size.nullish(),
  layers_block_type: z.array(z.enum(['mamba', 'linear_attention', 'hybrid'])).max(1024),
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
});

/** Depths that a shared block feeds, ascending. */
function hybridDepths({ layers_block_type: types }: z.output<typeof schema>): number[] {
  return types.flatMap((type, index) => (type === 'hybrid' ? [index] : []));
}

/** The model of a config.json of `model_type` zamba2. Errors: `bad-config`, naming the key. */
export function zamba2(json: unknown): Model {
  const config = parseConfig(schema, json);
  const { hidden_size: hiddenSize, num_attention_heads: heads, n_mamba_heads: stateHeads } = config;
  const inner = config.mamba_expand * hiddenSize;
  const keyValueHeads = config.num_key_value_heads ?? heads;
  const wrong = [
    ['layers_block_type', config.layers_block_type.length === config.num_hidden_layers],
    ['num_attention_heads', (2 * hiddenSize) % heads === 0 && ((2 * hiddenSize) / heads) % 2 === 0],
    ['num_key_value_heads', heads % keyValueHeads === 0],
    ['n_mamba_heads', inner % stateHeads === 0 && stateHeads % config.mamba_ngroups === 0],
  ].find(([, fits]) => !fits);
  if (wrong) throw new LfmError('bad-config', `config.json: ${wrong[0]} does not fit the other sizes.`);
  const state = mamba2({
    expand: config.mamba_expand,
    headDim: inner / stateHeads,
    stateSize: config.mamba_d_state,
    nGroups: config.mamba_ngroups,
    convKernel: config.mamba_d_conv,
    timeStepLimit: [config.time_step_min],
  });
  const theta = config.rope_parameters?.rope_theta ?? config.rope_theta ?? 10_000;
  const transformer = sharedTransformer({
    heads,
    keyValueHeads,
    intermediateSize: config.intermediate_size ?? 4 * hiddenSize,
    adapterRank: config.adapter_rank,
    attentionAdapters: config.use_shared_attention_adapter,
    ...(config.use_mem_rope && { theta }),
  });
  const own = Object.keys(transformer.parameters({ hiddenSize })).filter(isOwnAtEachDepth);
  const recurrent = block(state, { norm: rms('input_layernorm') });
  const hybrid = hybridDepths(config);
  const layerAt = (index: number): Layer => {
    const use = hybrid.indexOf(index);
    if (use < 0) return stack(recurrent);
    const weights = { group: `block ${use % config.num_mem_blocks}`, own };
    return stack(block(shared(transformer, { weights }), { aside: true }), recurrent);
  };
  return defineModel({
    vocabSize: config.vocab_size,
    hiddenSize,
    layers: Array.from({ length: config.num_hidden_layers }, (_, index) => layerAt(index)),
    finalNorm: rms('final_layernorm'),
    tieEmbeddings: config.tie_word_embeddings,
    normEps: config.rms_norm_eps,
    initializerRange: config.initializer_range,
    contextLength: config.max_position_embeddings,
    config,
  });
}

/** Adapters are numbered by the uses of shared blocks, and lie where their block is first used. */
export function zamba2Spelling(json: unknown): Spelling {
  const config = parseConfig(schema, json);
  const hybrid = hybridDepths(config);
  const special = hybrid.flatMap((depth, use): Names => {
    const [at, home] = [`model.layers.${depth}.`, hybrid[use % config.num_mem_blocks] ?? depth];
    return [
      [`${at}mixer.`, `${at}mamba_decoder.mamba.`],
      [`${at}input_layernorm.`, `${at}mamba_decoder.input_layernorm.`],
      [`${at}shared_transformer.linear.`, `${at}linear.`],
      [
        new RegExp(`^model\\.layers\\.${depth}\\.(shared_transformer\\..*_adapter)\\.`),
        `model.layers.${home}.$1_list.${use}.`,
      ],
    ];
  });
  return { names: [[...special, ['.mixer.', '.mamba.']]] };
}

const hybrid = [6, 12, 18, 24, 30, 36, 42, 47, 51];

export const zamba2Models: Catalogue = {
  'zamba-2-2.7b': {
    family: 'zamba2',
    title: 'Zamba2-2.7B',
    source: 'config.json of the published model (arXiv 2411.15242)',
    model: () =>
      zamba2({
        model_type: 'zamba2',
        layers_block_type: Array.from({ length: 54 }, (_, index) => (hybrid.includes(index) ? 'hybrid' : 'mamba')),
        num_mem_blocks: 2,
        n_mamba_heads: 80,
      }),
  },
};
