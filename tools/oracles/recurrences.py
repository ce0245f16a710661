"""Outputs of transformers' recurrent mixers on small random weights, and of linear attention's formula in float64, for
src/liquid/recurrences.test.ts: test/fixtures/recurrences/NAME.json, each with operator, reference, options,
parameters, x [2, 11, 16] and y."""

import json
import pathlib

import torch
from transformers import JambaConfig, Mamba2Config, MambaConfig, Qwen3NextConfig
from transformers.models.jamba.modeling_jamba import JambaMambaMixer
from transformers.models.mamba.modeling_mamba import MambaMixer
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet

OUT = pathlib.Path(__file__).parents[2] / "test" / "fixtures" / "recurrences"
HIDDEN = 16


def numbers(tensor: torch.Tensor) -> dict:
    return {"shape": list(tensor.shape), "data": [float(f"{v:.7g}") for v in tensor.flatten().tolist()]}


def write(name: str, reference: str, options: dict, parameters: dict, x: torch.Tensor, y: torch.Tensor) -> None:
    operator = name.removesuffix("_normed")
    record = {"operator": operator, "reference": reference, "options": options, "parameters": {k: numbers(v) for k, v in parameters.items()}, "x": numbers(x), "y": numbers(y)}
    (OUT / f"{name}.json").write_text(json.dumps(record, separators=(",", ":")) + "\n")


def shake(module: torch.nn.Module) -> dict:
    """Random values in every parameter: what an initialisation leaves at one or zero would hide mistakes."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("A_log"):
                parameter.uniform_(-1.0, 1.5)
            elif parameter.ndim == 1:
                parameter.uniform_(0.3, 1.2)
            else:
                parameter.normal_(0, 0.25)
    return {name: parameter.detach() for name, parameter in module.named_parameters()}


torch.manual_seed(1)
x = torch.randn(2, 11, HIDDEN)

config = Mamba2Config(
    hidden_size=HIDDEN, num_heads=4, head_dim=8, state_size=6, n_groups=2, conv_kernel=4, expand=2, chunk_size=4,
    use_bias=False, use_conv_bias=True, layer_norm_epsilon=1e-5, time_step_limit=(0.0, float("inf")),
)
mixer = Mamba2Mixer(config, layer_idx=0).eval()
parameters = shake(mixer)
with torch.no_grad():
    y = mixer(x)
y = y[0] if isinstance(y, tuple) else y
options = {"expand": 2, "headDim": 8, "stateSize": 6, "nGroups": 2, "convKernel": 4, "chunkSize": 4}
assert mixer.norm.group_size * options["nGroups"] == mixer.norm.weight.shape[0]
write("mamba2", "transformers Mamba2Mixer", options, parameters, x, y)

config = MambaConfig(
    hidden_size=HIDDEN, state_size=6, conv_kernel=4, expand=2, time_step_rank=3, use_bias=True, use_conv_bias=True,
)
mixer = MambaMixer(config, layer_idx=0).eval()
parameters = shake(mixer)
with torch.no_grad():
    y = mixer(x)
write("mamba", "transformers MambaMixer", {"stateSize": 6, "timeStepRank": 3, "bias": True, "chunkSize": 4}, parameters, x, y)

config = JambaConfig(
    hidden_size=HIDDEN, mamba_d_state=6, mamba_d_conv=3, mamba_expand=2, mamba_dt_rank=3, mamba_conv_bias=False, rms_norm_eps=1e-5,
)
mixer = JambaMambaMixer(config, layer_idx=0).eval()
parameters = shake(mixer)
with torch.no_grad():
    y = mixer(x)
options = {"stateSize": 6, "timeStepRank": 3, "convKernel": 3, "convBias": False, "norms": True, "chunkSize": 4}
write("mamba_normed", "transformers JambaMambaMixer", options, parameters, x, y)

config = Qwen3NextConfig(
    hidden_size=HIDDEN, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=6, linear_value_head_dim=4,
    linear_conv_kernel_dim=4, rms_norm_eps=1e-5, num_hidden_layers=4,
)
layer = Qwen3NextGatedDeltaNet(config, layer_idx=0).eval()
parameters = shake(layer)
with torch.no_grad():
    y = layer(x)
y = y[0] if isinstance(y, tuple) else y
options = {"keyHeads": 2, "valueHeads": 4, "keyHeadDim": 6, "valueHeadDim": 4, "convKernel": 4, "chunkSize": 4}
write("gated_delta", "transformers Qwen3NextGatedDeltaNet", options, parameters, x, y)

torch.manual_seed(2)
heads, width = 2, HIDDEN // 2
parameters = {f"{n}_proj.weight": torch.randn(HIDDEN, HIDDEN) * 0.25 for n in ("q", "k", "v", "out")}
wide = {name: value.double() for name, value in parameters.items()}
q, k, v = ((x.double() @ wide[f"{n}_proj.weight"].T).reshape(2, 11, heads, width) for n in "qkv")
phi_q, phi_k = torch.nn.functional.elu(q) + 1, torch.nn.functional.elu(k) + 1
scores = torch.einsum("bihw,bjhw->bhij", phi_q, phi_k) * torch.ones(11, 11).tril()
y = torch.einsum("bhij,bjhw->bihw", scores / scores.sum(-1, keepdim=True), v).reshape(2, 11, HIDDEN) @ wide["out_proj.weight"].T
write("linear_attention", "arXiv 2006.16236, all pairs in float64", {"heads": heads, "chunk": 4}, parameters, x, y.float())
