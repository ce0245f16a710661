"""Tiny models of random weights as transformers' save_pretrained writes them, and their logits: test/fixtures/models/NAME.

Each folder has config.json, model.safetensors and, in expected.safetensors, `ids` [2, 13], `logits` [2, 13, V] of one call, and of
row 1's first eight tokens `alone` [8, V], computed by themselves, and `batch` [8, V], beside row 0 behind padding (which differ with
LongRoPE, whose factors go by the longest row). The script fails where transformers itself gives
other logits token by token with its cache. OpenELM's class ships with its checkpoints and not with transformers: its model here
is written from its paper (arXiv 2404.14619) and its published configuration.

Usage: python tools/oracles/models.py [NAME...]
"""

import json
import pathlib
import shutil
import sys

import numpy
import torch
import transformers as t
from safetensors.torch import save_file

from openelm import OpenElm

OUT = pathlib.Path(__file__).resolve().parents[2] / "test" / "fixtures" / "models"
LENGTH, SHORT, VOCAB = 13, 8, 40

TOKENS = {"vocab_size": VOCAB, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIZES = {
    **TOKENS, "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0, 1.3, 1.1, 2.0], "long_factor": [1.5, 2.0, 4.0, 9.0],
}
LFM2 = {**SIZES, "layer_types": ["conv", "full_attention", "conv"], "num_hidden_layers": 3, "block_auto_adjust_ff_dim": False}
LFM3 = {
    **SIZES, "num_hidden_layers": 5, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "conv_L_cache": 4,
    "sliding_window": 4,
}
VISION3 = {
    "model_type": "lfm3_vl_vision", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
    "num_key_value_heads": 1, "patch_size": 2,
}
EAGER = {"experts_implementation": "eager"}
VISION = {
    "model_type": "siglip2_vision_model", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
    "num_patches": 4, "patch_size": 2, "vision_use_head": False,
}

MODELS = {
    "lfm2": lambda: t.Lfm2ForCausalLM(t.Lfm2Config(**LFM2)),
    "lfm2_moe": lambda: t.Lfm2MoeForCausalLM(t.Lfm2MoeConfig(
        **SIZES | {"num_hidden_layers": 3}, layer_types=["conv", "full_attention", "conv"], moe_intermediate_size=6, num_dense_layers=1,
        num_experts=4, num_experts_per_tok=2, routed_scaling_factor=1.5, **EAGER,
    )),
    "lfm2_vl": lambda: t.Lfm2VlForConditionalGeneration(t.Lfm2VlConfig(
        text_config={"model_type": "lfm2", **LFM2}, vision_config=VISION, image_token_id=3, projector_hidden_size=8,
    )),
    "lfm3": lambda: t.Lfm3ForCausalLM(t.Lfm3Config(**LFM3)),
    "lfm3_vl": lambda: t.Lfm3VlForConditionalGeneration(t.Lfm3VlConfig(
        text_config={"model_type": "lfm3", **LFM3}, vision_config=VISION3, image_token_id=3, video_token_id=4, vision_start_token_id=5,
        vision_end_token_id=6, projector_hidden_size=8,
    )),
    "llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(**SIZES, head_dim=8, rope_parameters=LLAMA3)),
    "llama-linear": lambda: t.LlamaForCausalLM(t.LlamaConfig(
        **SIZES, attention_bias=True, tie_word_embeddings=True,
        rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0},
    )),
    "mistral": lambda: t.MistralForCausalLM(t.MistralConfig(**SIZES, head_dim=8, sliding_window=4)),
    "qwen2": lambda: t.Qwen2ForCausalLM(t.Qwen2Config(**SIZES, tie_word_embeddings=True)),
    "phi": lambda: t.PhiForCausalLM(t.PhiConfig(**SIZES | {"num_key_value_heads": None}, partial_rotary_factor=0.5)),
    "phi3": lambda: t.Phi3ForCausalLM(t.Phi3Config(
        **SIZES | {"num_attention_heads": 2, "num_key_value_heads": 1}, rope_parameters=LONGROPE, original_max_position_embeddings=8,
        sliding_window=262144,
    )),
    "gemma2": lambda: t.Gemma2ForCausalLM(t.Gemma2Config(
        **SIZES | {"num_hidden_layers": 3}, head_dim=8, query_pre_attn_scalar=12, sliding_window=4, attn_logit_softcapping=2.0,
        final_logit_softcapping=5.0,
    )),
    "mixtral": lambda: t.MixtralForCausalLM(t.MixtralConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2, **EAGER)),
    "mixtral-packed": lambda: t.MixtralForCausalLM(t.MixtralConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2, **EAGER)),
    "qwen2_moe": lambda: t.Qwen2MoeForCausalLM(t.Qwen2MoeConfig(
        **SIZES, moe_intermediate_size=6, shared_expert_intermediate_size=10, num_experts=4, num_experts_per_tok=2, mlp_only_layers=[0],
        **EAGER,
    )),
    "jamba": lambda: t.JambaForCausalLM(t.JambaConfig(
        **SIZES | {"num_hidden_layers": 3, "intermediate_size": 12}, num_experts=3, num_experts_per_tok=2, attn_layer_period=3,
        attn_layer_offset=2, mamba_d_state=3, mamba_d_conv=3, mamba_dt_rank=2, **EAGER,
    )),
    # Three uses of two blocks: the third shares with the first.
    "zamba2": lambda: t.Zamba2ForCausalLM(t.Zamba2Config(
        **SIZES | {"num_hidden_layers": 4, "hidden_size": 8, "intermediate_size": 12, "num_attention_heads": 2},
        layers_block_type=["mamba", "hybrid", "hybrid", "hybrid"], num_mem_blocks=2, adapter_rank=2,
        use_shared_attention_adapter=True, use_mem_rope=True, n_mamba_heads=4, mamba_d_state=4, mamba_ngroups=2, chunk_size=4,
    )),
    "openelm": lambda: OpenElm({
        "model_type": "openelm", "architectures": ["OpenELMForCausalLM"], "vocab_size": VOCAB, "model_dim": 16,
        "num_transformer_layers": 3, "head_dim": 8, "num_gqa_groups": 2, "num_query_heads": [2, 2, 4], "num_kv_heads": [1, 1, 2],
        "qkv_multipliers": [0.5, 2.0], "ffn_multipliers": [0.5, 1.25, 2.0], "ffn_dim_divisor": 4, "ffn_with_glu": True,
        "activation_fn_name": "swish", "normalization_layer_name": "rms_norm", "normalize_qk_projections": True,
        "share_input_output_layers": True, "rope_freq_constant": 10000, "rope_max_length": 128, "max_context_length": 64,
        "initializer_range": 0.02, "bos_token_id": 1, "eos_token_id": 2,
    }),
}


def randomise(name: str, model: torch.nn.Module) -> None:
    """Numbers so large that every gate, score, cap and norm matters. numpy's RandomState promises the same for ever."""
    random = numpy.random.RandomState(6)
    buffers = [(key, value) for key, value in model.named_buffers() if key.endswith("expert_bias")]
    with torch.no_grad():
        for key, tensor in sorted([*model.named_parameters(), *buffers]):
            values = random.standard_normal(tensor.shape)
            if "norm" in key and key.endswith("weight"):
                values = 0.2 * values + (0 if name == "gemma2" else 1)
            elif tensor.ndim == 1:
                values = 0.2 * values
            else:
                values = (0.5 if "conv.conv" in key else 0.25) * values
            tensor.copy_(torch.from_numpy(values.astype(numpy.float32)))


def require_close(what: str, actual: torch.Tensor, expected: torch.Tensor) -> None:
    difference = float((actual - expected).abs().max() / (expected.max() - expected.min()))
    if not difference < 2e-6:
        sys.exit(f"transformers disagrees with itself: {what} differ by {difference} of the range")


def decode(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    cache, columns = None, []
    for position in range(LENGTH):
        output = model(input_ids=ids[:, position : position + 1], past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        columns.append(output.logits)
    return torch.cat(columns, dim=1)


def write(name: str) -> None:
    model = MODELS[name]().float().eval()
    randomise(name, model)
    ids = torch.from_numpy(numpy.random.RandomState(7).randint(4, VOCAB, size=(2, LENGTH)).astype(numpy.int64))
    padded, mask = ids.clone(), torch.ones_like(ids)
    padded[1, : LENGTH - SHORT], mask[1, : LENGTH - SHORT] = 0, 0
    padded[1, LENGTH - SHORT :] = ids[1, :SHORT]
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    with torch.no_grad():
        if name == "openelm":
            logits = model(input_ids=ids).logits
            batch = logits[1, :SHORT]
            model.save_pretrained(folder)
        else:
            model.set_attn_implementation("eager")
            logits = model(input_ids=ids).logits
            batch = model(input_ids=padded, attention_mask=mask).logits[1, LENGTH - SHORT :]
            # A cache of Phi-3's keeps keys that were turned by the short factors; `generate` makes it anew at that length.
            if name != "phi3":
                require_close(f"{name}: a token at a time", decode(model, ids), logits)
            require_close(f"{name}: behind padding", batch, logits[1, :SHORT])
            model.save_pretrained(folder, save_original_format=name != "mixtral-packed")
        alone = model(input_ids=ids[1:, :SHORT]).logits[0]
        if name != "phi3":
            require_close(f"{name}: alone", alone, logits[1, :SHORT])
    (folder / "generation_config.json").unlink(missing_ok=True)
    expected = {"ids": ids.float(), "logits": logits, "alone": alone, "batch": batch}
    save_file({key: tensor.clone() for key, tensor in expected.items()}, folder / "expected.safetensors")
    # Beside the configuration of a machine's versions nothing in it may differ between runs.
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def main() -> None:
    t.utils.logging.set_verbosity_error()
    t.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    for name in sys.argv[1:] or MODELS:
        write(name)
        print(name, sum(file.stat().st_size for file in (OUT / name).iterdir()), "bytes")


main()
