"""Parameter counts of public models, from transformers' classes without storage: writes test/fixtures/catalogue/parameters.json.

`total` counts every stored number once; `active` those that one token reads: of an expert bank the chosen ones, of an embedding
that is not also the head, a row. OpenELM's class ships with its checkpoints rather than with transformers: its sizes are
computed here from its paper (arXiv 2404.14619) and checked against the published count.
"""

import argparse
import json
from pathlib import Path

import torch
import transformers as t

TARGET = Path(__file__).parents[2] / "test/fixtures/catalogue/parameters.json"


def lfm2(hidden: int, width: int, heads: int, depth: int, attending: list[int], vocabulary: int = 65_536):
    return t.Lfm2Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=width,
        block_auto_adjust_ff_dim=False,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        num_key_value_heads=8,
        layer_types=["full_attention" if i in attending else "conv" for i in range(depth)],
    )


def lfm2_moe(width: int, experts: int, expert_width: int, depth: int, attending: list[int], vocabulary: int = 65_536):
    return t.Lfm2MoeConfig(
        vocab_size=vocabulary,
        hidden_size=2048,
        intermediate_size=width,
        moe_intermediate_size=expert_width,
        num_dense_layers=2,
        num_experts=experts,
        num_experts_per_tok=4,
        num_hidden_layers=depth,
        num_attention_heads=32,
        num_key_value_heads=8,
        layer_types=["full_attention" if i in attending else "conv" for i in range(depth)],
    )


def llama(hidden: int, width: int, depth: int, heads: int, head_dim: int, tied: bool):
    return t.LlamaConfig(
        vocab_size=128_256,
        hidden_size=hidden,
        intermediate_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        num_key_value_heads=8,
        head_dim=head_dim,
        tie_word_embeddings=tied,
    )


SIXTEEN = [2, 5, 8, 10, 12, 14]
THIRTY = [2, 5, 9, 13, 17, 21, 24, 27]
HYBRID = [6, 12, 18, 24, 30, 36, 42, 47, 51]

CONFIGS = {
    # The places of attention do not change the count.
    "lfm2.5-230m": lfm2(1024, 2560, 16, 14, [2, 4, 6, 8, 10, 12]),
    "lfm2-350m": lfm2(1024, 4608, 16, 16, SIXTEEN),
    "lfm2-700m": lfm2(1536, 6912, 24, 16, SIXTEEN),
    "lfm2-1.2b": lfm2(2048, 8192, 32, 16, SIXTEEN),
    "lfm2-2.6b": lfm2(2048, 10_752, 32, 30, THIRTY),
    "lfm2.5-2.6b": lfm2(2048, 10_752, 32, 30, THIRTY, 128_000),
    "lfm2-8b-a1b": lfm2_moe(7168, 32, 1792, 24, [2, 6, 10, 14, 18, 21]),
    "lfm2-24b-a2b": lfm2_moe(11_776, 64, 1536, 40, list(range(2, 40, 4))),
    "lfm2.5-8b-a1b": lfm2_moe(7168, 32, 1792, 24, [2, 6, 10, 14, 18, 21], 128_000),
    "lfm2.5-24b-a2b": lfm2_moe(11_776, 64, 1536, 40, list(range(2, 40, 4)), 128_000),
    "lfm3-1.7b": t.Lfm3Config(
        vocab_size=128_000,
        hidden_size=2048,
        intermediate_size=7680,
        num_hidden_layers=24,
        num_attention_heads=16,
        num_key_value_heads=4,
        head_dim=128,
        conv_L_cache=7,
        sliding_window=256,
    ),
    "llama-3.2-1b": llama(2048, 8192, 16, 32, 64, True),
    "llama-3.2-3b": llama(3072, 8192, 28, 24, 128, True),
    "llama-3.1-8b": llama(4096, 14_336, 32, 32, 128, False),
    "phi-1.5": t.PhiConfig(
        vocab_size=51_200,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=24,
        num_attention_heads=32,
        partial_rotary_factor=0.5,
    ),
    "phi-3.5-mini": t.Phi3Config(
        vocab_size=32_064,
        hidden_size=3072,
        intermediate_size=8192,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
    ),
    "gemma-2-2b": t.Gemma2Config(
        vocab_size=256_000,
        hidden_size=2304,
        intermediate_size=9216,
        num_hidden_layers=26,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
        sliding_window=4096,
    ),
    "zamba-2-2.7b": t.Zamba2Config(
        vocab_size=32_000,
        hidden_size=2560,
        num_hidden_layers=54,
        layers_block_type=["hybrid" if i in HYBRID else "mamba" for i in range(54)],
        mamba_d_state=64,
        mamba_d_conv=4,
        mamba_expand=2,
        mamba_ngroups=1,
        mamba_headdim=64,
        n_mamba_heads=80,
        intermediate_size=10_240,
        num_attention_heads=32,
        num_key_value_heads=32,
        num_mem_blocks=2,
        adapter_rank=128,
        use_shared_attention_adapter=False,
        use_conv_bias=True,
        add_bias_linear=False,
    ),
    "jamba-1.5-mini": t.JambaConfig(
        vocab_size=65_536,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        num_experts=16,
        num_experts_per_tok=2,
        expert_layer_period=2,
        expert_layer_offset=1,
        attn_layer_period=8,
        attn_layer_offset=4,
        mamba_d_state=16,
        mamba_d_conv=4,
        mamba_expand=2,
        mamba_dt_rank=256,
    ),
    "mixtral-8x7b": t.MixtralConfig(
        vocab_size=32_000,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        num_local_experts=8,
        num_experts_per_tok=2,
    ),
    "qwen-2-57b-a14b": t.Qwen2MoeConfig(
        vocab_size=151_936,
        hidden_size=3584,
        intermediate_size=18_944,
        moe_intermediate_size=2560,
        shared_expert_intermediate_size=20_480,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        num_experts=64,
        num_experts_per_tok=8,
    ),
}

# As the makers count: model cards, papers, safetensors' own index.
PUBLISHED = {
    "lfm2-350m": 354_483_968,
    "lfm2-700m": 742_489_344,
    "lfm2-1.2b": 1_170_340_608,
    "lfm2-2.6b": 2_569_272_320,
    "lfm2-8b-a1b": 8_339_929_856 + 22 * 32,
    "lfm3-1.7b": 1_728_801_536,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "llama-3.1-8b": 8_030_261_248,
    "phi-1.5": 1_418_270_720,
    "phi-3.5-mini": 3_821_079_552,
    "gemma-2-2b": 2_614_341_888,
    "jamba-1.5-mini": 51_570_323_328,
    "mixtral-8x7b": 46_702_792_704,
    "openelm-1.1b": 1_079_891_456,
}


def stored(model) -> dict[str, int]:
    """Elements of every tensor that a checkpoint holds, ties once. A routing bias is a buffer of the class."""
    found, seen = {}, set()
    buffers = [(name, value) for name, value in model.named_buffers() if name.endswith("expert_bias")]
    for name, value in [*model.named_parameters(), *buffers]:
        if id(value) not in seen:
            seen.add(id(value))
            found[name] = value.numel()
    return found


def count(config) -> dict[str, int]:
    with torch.device("meta"):
        model = t.AutoModelForCausalLM.from_config(config)
    sizes = stored(model)
    total = sum(sizes.values())
    experts = next((getattr(config, key) for key in ("num_local_experts", "num_experts") if hasattr(config, key)), 1)
    chosen = getattr(config, "num_experts_per_tok", 1)
    banks = sum(size for name, size in sizes.items() if ".experts." in name)
    assert banks % experts == 0
    idle = banks // experts * (experts - chosen)
    if not config.tie_word_embeddings:
        idle += (config.vocab_size - 1) * config.hidden_size
    return {"total": total, "active": total - idle}


def openelm() -> dict[str, int]:
    """28 layers of width 2048; heads and feed-forward widths grow evenly with depth, with multipliers of two decimals."""

    def rounded(value: float, divisor: int) -> int:
        nearest = max(divisor, int(value + divisor / 2) // divisor * divisor)
        return nearest + divisor if nearest < 0.9 * value else nearest

    depth, hidden, head = 28, 2048, 64
    total = 32_000 * hidden + hidden
    for index in range(depth):
        share = index / (depth - 1)
        queries = rounded(round(0.5 + 0.5 * share, 2) * hidden, head * 4) // head
        keys = queries // 4
        width = rounded(round(0.5 + 3.5 * share, 2) * hidden, 256)
        total += hidden * (queries + 2 * keys) * head + queries * head * hidden + 2 * head
        total += 3 * hidden * width + 2 * hidden
    return {"total": total, "active": total}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="compare with the committed file instead of writing it")
    check = parser.parse_args().check
    counts = {name: count(config) for name, config in CONFIGS.items()}
    counts["openelm-1.1b"] = openelm()
    for name, published in PUBLISHED.items():
        assert counts[name]["total"] == published, f"{name}: {counts[name]['total']}, published {published}"
    text = json.dumps(counts, indent=2) + "\n"
    if check:
        assert TARGET.read_text() == text, f"{TARGET} differs"
    else:
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        TARGET.write_text(text)


if __name__ == "__main__":
    main()
