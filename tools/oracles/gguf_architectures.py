"""More tiny models of random weights as GGUF, keyed, named and ordered as llama.cpp's converter does, with transformers' logits:
test/fixtures/gguf/NAME.gguf, matrices in F16, and architectures.json: ids, and every eighth logit after each of them.

Usage: python tools/oracles/gguf_architectures.py
"""
import json

import numpy
import torch
import transformers as t
from gguf import ExpertGatingFuncType, GGUFWriter, RopeScalingType

from gguf_models import IDS, LFM2_LAYER, OUT, VOCAB, write_tokenizer

SIZES = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2,
    "num_hidden_layers": 2, "max_position_embeddings": 256,
}
STRIDE = 8
ATTENTION = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.qkv_proj": "attn_qkv",
}
DENSE = {"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
LLAMA = {**ATTENTION, **DENSE, "post_attention_layernorm": "ffn_norm", "mlp.gate_up_proj": "ffn_up"}
GEMMA = {
    **ATTENTION, **DENSE, "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
MIXTURE = {
    **LLAMA, **LFM2_LAYER, "mlp.gate": "ffn_gate_inp", "feed_forward.gate": "ffn_gate_inp", "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
    "mlp.shared_expert.gate_proj": "ffn_gate_shexp", "mlp.shared_expert.up_proj": "ffn_up_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp",
}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0, 1.3, 1.1, 2.0], "long_factor": [1.5, 2.0, 4.0, 9.0],
}


def experts(model, writer, prefix, depth, tensor):
    """transformers' packed tensors as GGUF's three."""
    if prefix == "gate_up_proj":
        gate, up = tensor.chunk(2, dim=1)
        add(writer, f"blk.{depth}.ffn_gate_exps.weight", gate)
        add(writer, f"blk.{depth}.ffn_up_exps.weight", up)
    else:
        add(writer, f"blk.{depth}.ffn_down_exps.weight", tensor)


def add(writer, name, tensor):
    """Matrices in half precision, as llama.cpp has them; what it computes with itself in single."""
    single = tensor.ndim < 2 or "ffn_gate_inp" in name or "shortconv.conv" in name
    writer.add_tensor(name, tensor.contiguous().numpy().astype(numpy.float32 if single else numpy.float16))


def write_tensors(writer, arch, model, config, layers):
    state = model.state_dict()
    if arch == "lfm2moe":
        state = {**state, **{k: v for k, v in model.named_buffers() if k.endswith("expert_bias")}}
    for name, tensor in state.items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        kind = name.rsplit(".", 1)[-1]
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            add(writer, "token_embd.weight" if "embed" in name else "output.weight", tensor)
        elif not name.startswith("model.layers."):
            final = "token_embd_norm" if arch.startswith("lfm2") else "output_norm"
            add(writer, f"{final}.weight", tensor + (1 if arch == "gemma2" else 0))
        else:
            depth, rest = name.removeprefix("model.layers.").split(".", 1)
            if ".experts." in rest:
                experts(model, writer, kind, depth, tensor)
                continue
            if kind == "expert_bias":
                add(writer, f"blk.{depth}.exp_probs_b.bias", tensor)
                continue
            heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
            if arch == "llama" and heads:
                tensor = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(tensor.shape)
            if name.endswith("conv.conv.weight"):
                tensor = tensor.squeeze(1)
            if arch == "gemma2" and "norm" in rest:
                tensor = tensor + 1
            add(writer, f"blk.{depth}.{layers[rest.rsplit('.', 1)[0]]}.{kind}", tensor)


def write(name, arch, model, layers, keys):
    config = model.config
    writer = GGUFWriter(str(OUT / f"{name}.gguf"), arch)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    if arch == "lfm2moe":
        kinds = config.layer_types
        writer.add_head_count_kv([config.num_key_value_heads if kind == "full_attention" else 0 for kind in kinds])
        writer.add_layer_norm_rms_eps(config.norm_eps)
    else:
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if arch != "gemma2":
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    keys(writer, config)
    write_tokenizer(writer, "lfm2" if arch == "lfm2moe" else "llama-bpe")
    write_tensors(writer, arch, model, config, layers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def lfm2moe_keys(writer, config):
    writer.add_vocab_size(config.vocab_size)
    writer.add_shortconv_l_cache(config.conv_L_cache)
    writer.add_leading_dense_block_count(config.num_dense_layers)
    writer.add_expert_count(config.num_experts)
    writer.add_expert_used_count(config.num_experts_per_tok)
    writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    writer.add_expert_gating_func(ExpertGatingFuncType.SIGMOID)


def gemma2_keys(writer, config):
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
    writer.add_final_logit_softcapping(config.final_logit_softcapping)
    writer.add_sliding_window(config.sliding_window)


def phi3_keys(writer, config):
    original, most = config.original_max_position_embeddings, config.max_position_embeddings
    writer.add_rope_scaling_orig_ctx_len(original)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_sliding_window(config.sliding_window or 0)
    writer.add_rope_scaling_attn_factors(float(numpy.sqrt(1 + numpy.log(most / original) / numpy.log(original))))
    for key in ("long", "short"):
        add(writer, f"rope_factors_{key}.weight", torch.tensor(config.rope_parameters[f"{key}_factor"]))


def qwen2moe_keys(writer, config):
    writer.add_expert_count(config.num_experts)
    writer.add_expert_used_count(config.num_experts_per_tok)
    writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    writer.add_expert_shared_feed_forward_length(config.shared_expert_intermediate_size)


def llama3_keys(writer, config):
    """The converter writes what the scaling comes to: a factor for each pair."""
    width = config.hidden_size // config.num_attention_heads
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(width)
    plain = 500.0 ** (-numpy.arange(0, width, 2) / width)
    scaled = t.modeling_rope_utils.ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")[0].numpy()
    add(writer, "rope_freqs.weight", torch.from_numpy((plain / scaled).astype(numpy.float32)))


def linear_keys(writer, config):
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_scaling_type(RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(config.rope_parameters["factor"])
    writer.add_expert_count(config.num_local_experts)
    writer.add_expert_used_count(config.num_experts_per_tok)


EAGER = {"experts_implementation": "eager"}
MODELS = {
    "lfm2moe": ("lfm2moe", MIXTURE, lfm2moe_keys, lambda: t.Lfm2MoeForCausalLM(t.Lfm2MoeConfig(
        **SIZES | {"num_hidden_layers": 3}, layer_types=["conv", "full_attention", "conv"], num_dense_layers=1, moe_intermediate_size=8,
        num_experts=4, num_experts_per_tok=2, **EAGER,
    ))),
    "gemma2": ("gemma2", GEMMA, gemma2_keys, lambda: t.Gemma2ForCausalLM(t.Gemma2Config(
        **SIZES, head_dim=8, query_pre_attn_scalar=8, sliding_window=6, attn_logit_softcapping=2.0, final_logit_softcapping=5.0,
    ))),
    "phi3": ("phi3", LLAMA, phi3_keys, lambda: t.Phi3ForCausalLM(t.Phi3Config(
        **SIZES, rope_parameters=LONGROPE, original_max_position_embeddings=8, pad_token_id=0,
    ))),
    "qwen2moe": ("qwen2moe", MIXTURE, qwen2moe_keys, lambda: t.Qwen2MoeForCausalLM(t.Qwen2MoeConfig(
        **SIZES, moe_intermediate_size=8, shared_expert_intermediate_size=12, num_experts=4, num_experts_per_tok=2, **EAGER,
    ))),
    "llama3": ("llama", LLAMA, llama3_keys, lambda: t.LlamaForCausalLM(t.LlamaConfig(
        **SIZES, rope_parameters=LLAMA3, tie_word_embeddings=True,
    ))),
    "mixtral": ("llama", MIXTURE | LLAMA, linear_keys, lambda: t.MixtralForCausalLM(t.MixtralConfig(
        **SIZES, num_local_experts=4, num_experts_per_tok=2, rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0},
        **EAGER,
    ))),
}


def main():
    expected = {}
    for name, (arch, layers, keys, make) in MODELS.items():
        random = numpy.random.RandomState(11)
        model = make().float().eval()
        model.set_attn_implementation("eager")
        buffers = [(key, value) for key, value in model.named_buffers() if key.endswith("expert_bias")]
        with torch.no_grad():
            for key, tensor in sorted([*model.named_parameters(), *buffers]):
                values = 0.2 * random.standard_normal(tensor.shape)
                if "norm" in key and arch != "gemma2":
                    values += 1
                # What the file holds is what transformers computes with.
                tensor.copy_(torch.from_numpy(values.astype(numpy.float16 if tensor.ndim > 1 else numpy.float32)))
            write(name, arch, model, layers, keys)
            logits = model(torch.tensor(IDS)).logits[0]
        rounded = [[round(v, 5) for v in row[::STRIDE]] for row in logits.tolist()]
        expected[name] = {"ids": IDS[0], "range": float(logits.max() - logits.min()), "stride": STRIDE, "logits": rounded}
        print(name, (OUT / f"{name}.gguf").stat().st_size, "bytes")
    (OUT / "architectures.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")


main()
