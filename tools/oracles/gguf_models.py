"""Tiny models of random weights as GGUF, named and ordered as llama.cpp's converter does, with transformers' logits:
test/fixtures/gguf/{lfm2,llama}.gguf and models.json.

Usage: python tools/oracles/gguf_models.py
"""
import json
import pathlib

import torch
from gguf import GGUFWriter, TokenType
from transformers import Lfm2Config, Lfm2ForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

OUT = pathlib.Path(__file__).resolve().parents[2] / "test" / "fixtures" / "gguf"
VOCAB = 272
IDS = [[1, 104, 101, 259, 32, 7, 200, 13, 104, 101, 260, 90]]

LLAMA_LAYER = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
LFM2_LAYER = {
    "operator_norm": "attn_norm", "ffn_norm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.out_proj": "attn_output", "self_attn.q_layernorm": "attn_q_norm",
    "self_attn.k_layernorm": "attn_k_norm", "feed_forward.w1": "ffn_gate", "feed_forward.w3": "ffn_up", "feed_forward.w2": "ffn_down",
    "conv.conv": "shortconv.conv", "conv.in_proj": "shortconv.in_proj", "conv.out_proj": "shortconv.out_proj",
}


def gguf_name(name, layers, final):
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "lm_head.weight":
        return "output.weight"
    if not name.startswith("model.layers."):
        return f"{final}.weight"
    depth, rest = name.removeprefix("model.layers.").split(".", 1)
    return f"blk.{depth}.{layers[rest.removesuffix('.weight')]}.weight"


def write_tokenizer(writer, pre):
    tokens = list(bytes_to_unicode().values())
    tokens = sorted(tokens, key=ord) + ["<s>", "</s>", "<|im_start|>", "he", "Ġhe"]
    types = [TokenType.NORMAL] * 256 + [TokenType.CONTROL] * 3 + [TokenType.NORMAL] * 2
    tokens += [f"[PAD{i}]" for i in range(VOCAB - len(tokens))]
    types += [TokenType.UNUSED] * (VOCAB - len(types))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(["h e", "Ġ he"])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(257)
    writer.add_add_bos_token(True)
    writer.add_chat_template("{{ bos_token }}{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}")


def write(arch, model, config, layers, final, pre):
    writer = GGUFWriter(str(OUT / f"{arch}.gguf"), arch)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if arch == "lfm2":
        kinds = config.layer_types
        writer.add_head_count_kv([config.num_key_value_heads if kind == "full_attention" else 0 for kind in kinds])
        writer.add_layer_norm_rms_eps(config.norm_eps)
        writer.add_shortconv_l_cache(config.conv_L_cache)
    else:
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    write_tokenizer(writer, pre)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
        if arch == "llama" and heads:
            tensor = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(tensor.shape)
        if name.endswith("conv.conv.weight"):
            tensor = tensor.squeeze(1)
        writer.add_tensor(gguf_name(name, layers, final), tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def randomised(kind, config):
    model = kind(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + ("norm" in name))
    return model


def main():
    torch.manual_seed(7)
    shared = {
        "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 256,
    }
    lfm2 = Lfm2Config(
        **shared, num_hidden_layers=3, layer_types=["conv", "full_attention", "conv"], block_auto_adjust_ff_dim=False
    )
    llama = LlamaConfig(**shared, num_hidden_layers=2, rms_norm_eps=1e-5, tie_word_embeddings=False)
    expected = {}
    for arch, kind, config, layers, final, pre in [
        ("lfm2", Lfm2ForCausalLM, lfm2, LFM2_LAYER, "token_embd_norm", "lfm2"),
        ("llama", LlamaForCausalLM, llama, LLAMA_LAYER, "output_norm", "llama-bpe"),
    ]:
        model = randomised(kind, config)
        write(arch, model, config, layers, final, pre)
        with torch.no_grad():
            logits = model(torch.tensor(IDS)).logits[0]
        expected[arch] = {
            "ids": IDS[0],
            "logits": [[round(v, 6) for v in row] for row in logits.tolist()],
        }
    (OUT / "models.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
