"""Outputs of operators on small random weights, from transformers' classes or from formulas in float64, for
src/liquid/named-operators.test.ts: test/fixtures/operators/NAME.json, each with options, parameters, x [2, 11, 16] and y."""

import json
import pathlib

import torch
from transformers import DeepseekV3Config
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Attention, DeepseekV3RotaryEmbedding

OUT = pathlib.Path(__file__).parents[2] / "test" / "fixtures" / "operators"
HIDDEN = 16


def numbers(tensor: torch.Tensor) -> dict:
    return {"shape": list(tensor.shape), "data": [float(f"{v:.7g}") for v in tensor.detach().flatten().tolist()]}


def write(name: str, options: dict, parameters: dict, x: torch.Tensor, y: torch.Tensor, **more: torch.Tensor) -> None:
    record = {"options": options, "parameters": {k: numbers(v) for k, v in parameters.items()}, "x": numbers(x), "y": numbers(y)}
    record |= {key: numbers(value) for key, value in more.items()}
    (OUT / f"{name}.json").write_text(json.dumps(record, separators=(",", ":")) + "\n")


def shake(module: torch.nn.Module) -> dict:
    """Random values in every parameter: what an initialisation leaves at one or zero would hide mistakes."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(0.3, 1.2) if parameter.ndim == 1 else parameter.normal_(0, 0.25)
    return {name: parameter.detach() for name, parameter in module.named_parameters()}


torch.manual_seed(1)
x = torch.randn(2, 11, HIDDEN)


def latent_attention(name: str, rank: int | None, interleave: bool) -> None:
    config = DeepseekV3Config(
        hidden_size=HIDDEN, num_attention_heads=2, num_key_value_heads=2, q_lora_rank=rank, kv_lora_rank=6, qk_nope_head_dim=4,
        qk_rope_head_dim=4, v_head_dim=6, rope_interleave=interleave, attention_bias=False, attn_implementation="eager",
    )
    layer = DeepseekV3Attention(config, layer_idx=0).eval()
    for norm in (layer.kv_a_layernorm, layer.q_a_layernorm):
        if norm is not None:
            norm.variance_epsilon = 1e-5
    parameters = shake(layer)
    mask = torch.full((11, 11), -1e30).triu(1)[None, None]
    with torch.no_grad():
        y, _ = layer(x, DeepseekV3RotaryEmbedding(config)(x, torch.arange(11)[None]), mask)
    options = {
        "heads": 2, "kvLoraRank": 6, "qkNopeHeadDim": 4, "qkRopeHeadDim": 4, "vHeadDim": 6, "ropeInterleave": interleave,
    }
    write(name, options | ({"qLoraRank": rank} if rank else {}), parameters, x, y)


latent_attention("latent_attention", 5, True)
latent_attention("latent_attention_plain", None, False)
