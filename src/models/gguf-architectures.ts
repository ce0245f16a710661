// Architectures of GGUF beyond lfm2 and llama: their config.json from metadata, and their tensors' names in Hugging Face's.
import type { GgufHeader } from '../files/gguf.ts';
import type { JsonObject } from '../files/json.ts';
import type { GgufArchitecture, Reader } from './gguf.ts';

type Tensors = GgufHeader['tensors'];

/** Keys that nearly all of them have. */
function common(read: Reader, tensors: Tensors): JsonObject {
  const heads = read.count('attention.head_count');
  return {
    vocab_size: tensors.get('token_embd.weight')?.shape[0] ?? 0,
    hidden_size: read.count('embedding_length'),
    intermediate_size: read.count('feed_forward_length'),
    num_hidden_layers: read.count('block_count'),
    num_attention_heads: heads,
    num_key_value_heads: read.count('attention.head_count_kv', heads),
    rms_norm_eps: read.number('attention.layer_norm_rms_epsilon'),
    rope_theta: read.number('rope.freq_base', 10_000),
    max_position_embeddings: read.count('context_length'),
    tie_word_embeddings: !tensors.has('output.weight'),
  };
}

/**
 * Rotary positions: a factor a pair where the file has them as tensors, which are filled in when they are read (Llama 3.1's,
 * worked out by the converter; LongRoPE's), else what the metadata says.
 */
export function scaling(read: Reader, tensors: Tensors): JsonObject {
  const type = read.get('rope.scaling.type');
  const original = read.count('rope.scaling.original_context_length', read.count('context_length'));
  if (tensors.has('rope_freqs.weight') || tensors.has('rope_factors_long.weight'))
    return {
      original_max_position_embeddings: original,
      rope_scaling: { rope_type: 'longrope', attention_factor: read.number('rope.scaling.attn_factor', 1) },
    };
  if (type === undefined || type === 'none') return {};
  if (type !== 'linear') throw read.unsupported('rope.scaling.type', type);
  return { rope_scaling: { rope_type: 'linear', factor: read.number('rope.scaling.factor') } };
}

const attention = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
};
const model = { token_embd: 'embed_tokens', output_norm: 'norm' };

const gemma2: GgufArchitecture = {
  config: (read, tensors) => {
    const headDim = read.count('attention.key_length', 256);
    const base = common(read, tensors);
    const layers = read.count('block_count');
    return {
      ...base,
      model_type: 'gemma2',
      head_dim: headDim,
      // GGUF does not say; of the published sizes the one of 46 layers goes by the mean width of a head, the others by its own.
      query_pre_attn_scalar:
        layers === 46 ? read.count('embedding_length') / read.count('attention.head_count') : headDim,
      attn_logit_softcapping: read.number('attn_logit_softcapping', 50),
      final_logit_softcapping: read.number('final_logit_softcapping', 30),
      sliding_window: read.count('attention.sliding_window', 4096),
    };
  },
  model,
  layer: {
    ...attention,
    post_attention_norm: 'post_attention_layernorm',
    ffn_norm: 'pre_feedforward_layernorm',
    post_ffw_norm: 'post_feedforward_layernorm',
    ffn_gate: 'mlp.gate_proj',
    ffn_up: 'mlp.up_proj',
    ffn_down: 'mlp.down_proj',
  },
  plusOne: /norm$/,
};

const phi3: GgufArchitecture = {
  config: (read, tensors) => ({
    ...common(read, tensors),
    ...scaling(read, tensors),
    model_type: 'phi3',
    partial_rotary_factor:
      read.count('rope.dimension_count') / (read.count('embedding_length') / read.count('attention.head_count')),
    // 0: none.
    sliding_window: read.number('attention.sliding_window', 0) || null,
  }),
  model,
  layer: {
    attn_norm: 'input_layernorm',
    attn_qkv: 'self_attn.qkv_proj',
    attn_output: 'self_attn.o_proj',
    ffn_norm: 'post_attention_layernorm',
    ffn_up: 'mlp.gate_up_proj',
    ffn_down: 'mlp.down_proj',
  },
};

const qwen2moe: GgufArchitecture = {
  config: (read, tensors) => ({
    ...common(read, tensors),
    ...scaling(read, tensors),
    model_type: 'qwen2_moe',
    moe_intermediate_size: read.count('expert_feed_forward_length'),
    shared_expert_intermediate_size: read.count('expert_shared_feed_forward_length'),
    num_experts: read.count('expert_count'),
    num_experts_per_tok: read.count('expert_used_count'),
    norm_topk_prob: false,
  }),
  model,
  layer: {
    ...attention,
    ffn_norm: 'post_attention_layernorm',
    ffn_gate_inp: 'mlp.gate',
    ffn_gate_exps: 'mlp.experts.gate_proj',
    ffn_up_exps: 'mlp.experts.up_proj',
    ffn_down_exps: 'mlp.experts.down_proj',
    ffn_gate_inp_shexp: 'mlp.shared_expert_gate',
    ffn_gate_shexp: 'mlp.shared_expert.gate_proj',
    ffn_up_shexp: 'mlp.shared_expert.up_proj',
    ffn_down_shexp: 'mlp.shared_expert.down_proj',
  },
};

const SIGMOID = 2;

/** LFM2's keys and tensors, and those of its experts. */
export function lfm2moe(lfm2: GgufArchitecture): GgufArchitecture {
  return {
    ...lfm2,
    config: (read, tensors) => {
      const gating = read.number('expert_gating_func', SIGMOID);
      if (gating !== SIGMOID) throw read.unsupported('expert_gating_func', gating);
      return {
        ...lfm2.config(read, tensors),
        model_type: 'lfm2_moe',
        intermediate_size: read.count('feed_forward_length'),
        moe_intermediate_size: read.count('expert_feed_forward_length'),
        num_dense_layers: read.number('leading_dense_block_count', 0),
        num_experts: read.count('expert_count'),
        num_experts_per_tok: read.count('expert_used_count'),
        routed_scaling_factor: read.number('expert_weights_scale', 1),
        use_expert_bias: [...tensors.keys()].some((name) => name.endsWith('.exp_probs_b.bias')),
      };
    },
    layer: {
      ...lfm2.layer,
      ffn_gate_inp: 'feed_forward.gate',
      ffn_gate_exps: 'feed_forward.experts.w1',
      ffn_up_exps: 'feed_forward.experts.w3',
      ffn_down_exps: 'feed_forward.experts.w2',
    },
  };
}

/** Mixtral goes by the name of llama, with experts. */
export const mixtralLayer = {
  ffn_gate_inp: 'block_sparse_moe.gate',
  ffn_gate_exps: 'block_sparse_moe.experts.w1',
  ffn_up_exps: 'block_sparse_moe.experts.w3',
  ffn_down_exps: 'block_sparse_moe.experts.w2',
};

export const moreArchitectures: readonly (readonly [string, GgufArchitecture])[] = [
  ['gemma2', gemma2],
  ['phi3', phi3],
  ['qwen2moe', qwen2moe],
];
