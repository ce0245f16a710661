"""Outputs of operators on small random weights, from transformers' classes or from formulas in float64, for
src/liquid/named-operators.test.ts: test/fixtures/operators/NAME.json, each with operator,
reference, options, parameters, x [2, 11, 16] and y, some with timeSteps [2, 11] or embeddings [2, 11, 16]. The cell `cfc` is that of ncps 1.0.1, from a folder named as the first argument; it is not written
without."""

import json
import pathlib
import sys

import torch
from transformers import DeepseekV3Config, Lfm2Config, PhiConfig, Zamba2Config
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Attention, DeepseekV3RotaryEmbedding
from transformers.models.lfm2.modeling_lfm2 import Lfm2Attention, Lfm2MLP, Lfm2RotaryEmbedding, Lfm2ShortConv
from transformers.models.phi.modeling_phi import PhiMLP
from transformers.models.zamba2.modeling_zamba2 import Zamba2AttentionDecoderLayer, Zamba2RotaryEmbedding

OUT = pathlib.Path(__file__).parents[2] / "test" / "fixtures" / "operators"
HIDDEN = 16


def numbers(tensor: torch.Tensor) -> dict:
    return {"shape": list(tensor.shape), "data": [float(f"{v:.7g}") for v in tensor.detach().flatten().tolist()]}


def write(
    name: str, reference: str, options: dict, parameters: dict, x: torch.Tensor, y: torch.Tensor, **more: torch.Tensor
) -> None:
    record = {"operator": name.removesuffix("_plain"), "reference": reference, "options": options, "parameters": {k: numbers(v) for k, v in parameters.items()}, "x": numbers(x), "y": numbers(y)}
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

mask = torch.full((11, 11), -1e30).triu(1)[None, None]
places = torch.arange(11)[None]


def lfm2() -> None:
    config = Lfm2Config(
        hidden_size=HIDDEN, intermediate_size=12, block_auto_adjust_ff_dim=False, num_attention_heads=4, num_key_value_heads=2,
        conv_L_cache=3, conv_bias=True, norm_eps=1e-5, attn_implementation="eager",
    )
    layer = Lfm2Attention(config, layer_idx=0).eval()
    parameters = shake(layer)
    with torch.no_grad():
        y, _ = layer(x, Lfm2RotaryEmbedding(config)(x, places), mask)
    theta = config.rope_parameters["rope_theta"]
    write("attention", "transformers Lfm2Attention", {"heads": 4, "keyValueHeads": 2, "theta": theta}, parameters, x, y)
    for name, module, options in (
        ("short_conv", Lfm2ShortConv(config, layer_idx=0), {"kernel": 3, "bias": True}),
        ("swiglu", Lfm2MLP(config), {"intermediateSize": 12}),
        ("mlp", PhiMLP(PhiConfig(hidden_size=HIDDEN, intermediate_size=12)),
         {"intermediateSize": 12, "activation": "gelu_tanh", "bias": True}),
    ):
        parameters = shake(module.eval())
        with torch.no_grad():
            write(name, f"transformers {type(module).__name__}", options, parameters, x, module(x))


def shared_transformer() -> None:
    config = Zamba2Config(
        hidden_size=HIDDEN, intermediate_size=12, num_hidden_layers=1, layers_block_type=["hybrid"], num_attention_heads=4,
        num_key_value_heads=2, num_mem_blocks=1, adapter_rank=3, use_shared_attention_adapter=False, use_mem_rope=True,
        attn_implementation="eager",
    )
    block = Zamba2AttentionDecoderLayer(config, block_id=0).eval()
    parameters = shake(block)
    embeddings, project = torch.randn(2, 11, HIDDEN), torch.randn(HIDDEN, HIDDEN) * 0.3
    with torch.no_grad():
        tables = Zamba2RotaryEmbedding(config)(x, places)
        y = block(x, embeddings, 0, mask, position_embeddings=tables) @ project.T
    named = {name.replace("_adapter_list.0.", "_adapter."): value for name, value in parameters.items()}
    options = {"heads": 4, "keyValueHeads": 2, "intermediateSize": 12, "adapterRank": 3}
    options |= {"theta": config.rope_parameters["rope_theta"]}
    reference = "transformers Zamba2AttentionDecoderLayer"
    write("shared_transformer", reference, options, named | {"linear.weight": project}, x, y, embeddings=embeddings)


lfm2()
shared_transformer()


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
    with torch.no_grad():
        y, _ = layer(x, DeepseekV3RotaryEmbedding(config)(x, places), mask)
    options = {
        "heads": 2, "kvLoraRank": 6, "qkNopeHeadDim": 4, "qkRopeHeadDim": 4, "vHeadDim": 6, "ropeInterleave": interleave,
    }
    write(name, "transformers DeepseekV3Attention", options | ({"qLoraRank": rank} if rank else {}), parameters, x, y)


latent_attention("latent_attention", 5, True)
latent_attention("latent_attention_plain", None, False)


def long_conv() -> None:
    """Hyena of order 2 (arXiv 2302.10866, 3.3 and appendix D), in float64; its convolution by Fourier transforms."""
    length, order, bands, kernel = 8, 6, 2, 3
    torch.manual_seed(3)
    parameters = {
        "in_proj.weight": torch.randn(3 * HIDDEN, HIDDEN) * 0.3,
        "short.weight": torch.randn(3 * HIDDEN, 1, kernel) * 0.5,
        "short.bias": torch.randn(3 * HIDDEN) * 0.3,
        "filter.in.weight": torch.randn(order, 1 + 2 * bands) * 0.7,
        "filter.in.bias": torch.randn(order) * 0.3,
        "filter.hidden.weight": torch.randn(order, order) * 0.7,
        "filter.hidden.bias": torch.randn(order) * 0.3,
        "filter.out.weight": torch.randn(HIDDEN, order) * 0.5,
        "filter.frequency": torch.rand(order) * 2 + 0.5,
        "filter.decay": torch.rand(HIDDEN) * 3,
        "skip": torch.randn(HIDDEN),
        "out_proj.weight": torch.randn(HIDDEN, HIDDEN) * 0.3,
    }
    p = {name: value.double() for name, value in parameters.items()}
    tokens = x.shape[1]
    mixed = (x.double() @ p["in_proj.weight"].T).transpose(1, 2)
    mixed = torch.nn.functional.conv1d(mixed, p["short.weight"], p["short.bias"], padding=kernel - 1, groups=3 * HIDDEN)
    b, c, u = mixed[..., :tokens].chunk(3, dim=1)
    place = torch.arange(tokens).double()[:, None]
    time = place / (length - 1)
    waves = torch.exp(-1j * torch.linspace(1e-4, bands - 1, bands).double()[None] * 2 * torch.pi * place / length)
    inside = torch.cat([time, waves.real, waves.imag], dim=-1)
    for name in ("in", "hidden"):
        inside = torch.sin(p["filter.frequency"] * (inside @ p[f"filter.{name}.weight"].T + p[f"filter.{name}.bias"]))
    taps = (inside @ p["filter.out.weight"].T) * torch.exp(-time * p["filter.decay"])
    z = b * u
    spectrum = torch.fft.rfft(taps.T, n=2 * tokens) * torch.fft.rfft(z, n=2 * tokens)
    y = torch.fft.irfft(spectrum, n=2 * tokens)[..., :tokens] + z * p["skip"][:, None]
    options = {"length": length, "filterOrder": order, "filterBands": bands, "kernel": kernel, "chunkSize": 4}
    write("long_conv", "arXiv 2302.10866, by Fourier transforms in float64", options, parameters, x, ((c * y).transpose(1, 2) @ p["out_proj.weight"].T).float())


long_conv()


times = torch.rand(2, 11) * 2 + 0.1


def ltc() -> None:
    """Equation 3 of arXiv 2006.04439 in float64, f a sigmoid of input and state."""
    units, unfolds = 7, 4
    torch.manual_seed(4)
    parameters = {
        "input.weight": torch.randn(units, HIDDEN) * 0.3,
        "input.bias": torch.randn(units) * 0.3,
        "recurrent.weight": torch.randn(units, units) * 0.7,
        "leak": torch.randn(units),
        "target": torch.randn(units) * 1.5,
        "out_proj.weight": torch.randn(HIDDEN, units) * 0.3,
    }
    p = {name: value.double() for name, value in parameters.items()}
    state, outputs = torch.zeros(2, units).double(), []
    for token in range(x.shape[1]):
        step = times[:, token : token + 1].double() / unfolds
        for _ in range(unfolds):
            drive = x[:, token].double() @ p["input.weight"].T + p["input.bias"] + state @ p["recurrent.weight"].T
            f = torch.sigmoid(drive)
            rate = torch.log1p(torch.exp(p["leak"])) + f
            state = (state + step * f * p["target"]) / (1 + step * rate)
        outputs.append(state @ p["out_proj.weight"].T)
    write("ltc", "arXiv 2006.04439, equation 3 in float64", {"units": units, "unfolds": unfolds}, parameters, x, torch.stack(outputs, 1).float(), timeSteps=times)


def cfc(folder: str) -> None:
    sys.path.insert(0, folder)
    from ncps.torch.cfc_cell import CfCCell

    units, backbone = 6, 9
    torch.manual_seed(5)
    cell = CfCCell(HIDDEN, units, backbone_units=backbone).eval()
    parameters = {name.replace("backbone.0", "backbone"): value for name, value in shake(cell).items()}
    for name, value in parameters.items():
        value.mul_(2 if "time" in name else 1)
    project = torch.randn(HIDDEN, units) * 0.3
    state, outputs = torch.zeros(2, units), []
    with torch.no_grad():
        for token in range(x.shape[1]):
            _, state = cell(x[:, token], state, times[:, token : token + 1])
            outputs.append(state @ project.T)
    options = {"units": units, "backboneUnits": backbone}
    write("cfc", "ncps 1.0.1 CfCCell", options, parameters | {"out_proj.weight": project}, x, torch.stack(outputs, 1), timeSteps=times)


ltc()
if len(sys.argv) > 1:
    cfc(sys.argv[1])
