// From a model as Hugging Face lays it out to GGUF: the metadata of its architecture, and what each tensor is called there.
// Keys, names and the order of rotary rows as llama.cpp's converter writes them.
import type { GgufWriteValue } from '../files/gguf-write.ts';
import { LfmError } from '../tensor/error.ts';
import { ggufNames } from './gguf.ts';
import type { Shapes } from './lfm2.ts';
import { fromHuggingFace } from './lfm2.ts';
import { llamaFromHuggingFace } from './llama.ts';

export interface GgufExport {
  readonly metadata: Readonly<Record<string, GgufWriteValue>>;
  /** In the order of a file. */
  readonly tensors: readonly GgufTensorExport[];
}

export interface GgufTensorExport {
  readonly name: string;
  /** What Hugging Face calls it. */
  readonly from: string;
  readonly shape: readonly number[];
  /** Set where the rows of each head are to stand in pairs: how many heads. */
  readonly pairedHeads?: number;
  /** llama.cpp computes with these in float32 and takes them in nothing else. */
  readonly isFloat32: boolean;
  /** The table of tokens, or the head: what a quantiser treats with more care. */
  readonly isVocabulary: boolean;
}

interface Heads {
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
}

const uint32 = (value: number): GgufWriteValue => ({ type: 'uint32', value });
const float32 = (value: number): GgufWriteValue => ({ type: 'float32', value });

type Metadata = (config: unknown, shapes: Shapes) => { metadata: Record<string, GgufWriteValue>; heads: Heads };

const llama: Metadata = (json) => {
  const config = llamaFromHuggingFace(json);
  const given = config.json as { rope_scaling?: unknown; rope_parameters?: { rope_type?: string } | null };
  if (given.rope_scaling || (given.rope_parameters?.rope_type ?? 'default') !== 'default')
    throw unsupported('scaled rotary positions cannot be written yet');
  return {
    metadata: {
      vocab_size: uint32(config.vocabSize),
      context_length: uint32(config.maxPositionEmbeddings),
      embedding_length: uint32(config.hiddenSize),
      block_count: uint32(config.numHiddenLayers),
      feed_forward_length: uint32(config.intermediateSize),
      'attention.head_count': uint32(config.numAttentionHeads),
      'attention.head_count_kv': uint32(config.numKeyValueHeads),
      'attention.key_length': uint32(config.headDim),
      'attention.value_length': uint32(config.headDim),
      'attention.layer_norm_rms_epsilon': float32(config.rmsNormEps),
      'rope.freq_base': float32(config.ropeTheta),
      'rope.dimension_count': uint32(config.headDim),
    },
    heads: { num_attention_heads: config.numAttentionHeads, num_key_value_heads: config.numKeyValueHeads },
  };
};

const lfm2: Metadata = (json, shapes) => {
  const config = fromHuggingFace(json, shapes);
  if (config.convBias) throw unsupported('its convolutions have biases, for which GGUF has no tensor');
  // No key/value heads: a convolution.
  const keyValueHeads = config.layerTypes.map((type) => (type === 'conv' ? 0 : config.numKeyValueHeads));
  return {
    metadata: {
      vocab_size: uint32(config.vocabSize),
      context_length: uint32(config.maxPositionEmbeddings),
      embedding_length: uint32(config.hiddenSize),
      block_count: uint32(config.layerTypes.length),
      feed_forward_length: uint32(config.intermediateSize),
      'attention.head_count': uint32(config.numAttentionHeads),
      'attention.head_count_kv': { type: 'int32', value: keyValueHeads },
      'attention.layer_norm_rms_epsilon': float32(config.normEps),
      'rope.freq_base': float32(config.ropeTheta),
      'shortconv.l_cache': uint32(config.convLCache),
    },
    heads: { num_attention_heads: config.numAttentionHeads, num_key_value_heads: config.numKeyValueHeads },
  };
};

const architectures = new Map<unknown, Metadata>([
  ['llama', llama],
  ['lfm2', lfm2],
]);

/**
 * The metadata (without the tokenizer's) and tensors of a model as GGUF. `shapes`: its checkpoint's tensors by Hugging Face's
 * names, all of which are written.
 * Errors: `gguf-architecture-unsupported` with the known ones; `gguf-model-unsupported` for what GGUF cannot say.
 */
export function toGguf(config: unknown, shapes: Shapes): GgufExport {
  const type = typeof config === 'object' && config !== null && 'model_type' in config ? config.model_type : undefined;
  const [describe, names] = [architectures.get(type), ggufNames(type)];
  if (!describe || !names || typeof type !== 'string') {
    const known = [...architectures.keys()].join(', ');
    throw new LfmError(
      'gguf-architecture-unsupported',
      `A model of the type ${JSON.stringify(type) ?? 'none'} cannot be written as GGUF; known are ${known}.`,
    );
  }
  const { metadata, heads } = describe(config, shapes);
  const inverse = (table: Readonly<Record<string, string>>) =>
    // The first of several names is the one that is written.
    new Map(
      Object.entries(table)
        .toReversed()
        .map(([theirs, ours]) => [ours, theirs]),
    );
  const [ofModel, ofLayer] = [inverse(names.model), inverse(names.layer)];
  const tensors = Object.entries(shapes).map(([from, shape]): GgufTensorExport => {
    const [, depth, part = ''] = /^(?:model\.)?(?:layers\.(\d+)\.)?(.+)\.weight$/.exec(from) ?? [];
    const to = from === 'lm_head.weight' ? 'output' : (depth === undefined ? ofModel : ofLayer).get(part);
    if (to === undefined) throw unsupported(`there is no place for its tensor ${JSON.stringify(from)}`);
    const key = names.paired?.[to];
    const isConv = to === 'shortconv.conv';
    return {
      name: `${depth === undefined ? '' : `blk.${depth}.`}${to}.weight`,
      from,
      // The taps of a convolution are stored without the axis of one channel.
      shape: isConv ? shape.filter((_, axis) => axis !== 1) : shape,
      ...(key && { pairedHeads: heads[key] }),
      isFloat32: isConv || shape.length < 2,
      isVocabulary: depth === undefined,
    };
  });
  const keyed = Object.entries(metadata).map(([key, value]) => [`${type}.${key}`, value] as const);
  return { metadata: { 'general.architecture': type, ...Object.fromEntries(keyed) }, tensors };
}

function unsupported(why: string): LfmError {
  return new LfmError('gguf-model-unsupported', `The model cannot be written as GGUF: ${why}.`);
}
