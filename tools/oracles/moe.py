"""Outputs of transformers' mixtures of experts on small random weights, for src/liquid/moe.test.ts:
test/fixtures/moe/NAME.json, each with operator, reference,
options, parameters under lfm's names, x [2, 9, 8] and y."""

import json
import pathlib

import torch
from transformers import Lfm2MoeConfig, MixtralConfig, Qwen2MoeConfig
from transformers.models.lfm2_moe.modeling_lfm2_moe import Lfm2MoeSparseMoeBlock
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeSparseMoeBlock

OUT = pathlib.Path(__file__).parents[2] / "test" / "fixtures" / "moe"
HIDDEN, INNER, EXPERTS, ACTIVE, SHARED = 8, 6, 5, 2, 10


def numbers(tensor: torch.Tensor) -> dict:
    return {"shape": list(tensor.shape), "data": [float(f"{v:.7g}") for v in tensor.detach().flatten().tolist()]}


def write(name: str, block: torch.nn.Module, options: dict) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in [*block.parameters(), *block.buffers()]:
            tensor.normal_(0, 0.5)
    state = block.state_dict()
    gate_up = state["experts.gate_up_proj"]
    parameters = {
        "gate.weight": state["gate.weight"],
        "experts.w1.weight": gate_up[:, :INNER],
        "experts.w3.weight": gate_up[:, INNER:],
        "experts.w2.weight": state["experts.down_proj"],
    }
    if "expert_bias" in state:
        parameters["expert_bias"] = state["expert_bias"]
    if "shared_expert.gate_proj.weight" in state:
        for ours, theirs in (("w1", "gate_proj"), ("w3", "up_proj"), ("w2", "down_proj")):
            parameters[f"shared_expert.{ours}.weight"] = state[f"shared_expert.{theirs}.weight"]
        parameters["shared_expert_gate.weight"] = state["shared_expert_gate.weight"]
    x = torch.randn(2, 9, HIDDEN)
    with torch.no_grad():
        y = block(x)
    y = y[0] if isinstance(y, tuple) else y
    options = {"experts": EXPERTS, "activeExperts": ACTIVE, "intermediateSize": INNER, **options}
    reference = f"transformers {type(block).__name__}"
    record = {"operator": "moe", "reference": reference, "options": options, "parameters": {k: numbers(v) for k, v in parameters.items()}, "x": numbers(x), "y": numbers(y)}
    (OUT / f"{name}.json").write_text(json.dumps(record, separators=(",", ":")) + "\n")


common = {"hidden_size": HIDDEN, "num_experts_per_tok": ACTIVE}
config = Lfm2MoeConfig(**common, moe_intermediate_size=INNER, num_experts=EXPERTS, use_expert_bias=True, norm_topk_prob=True, routed_scaling_factor=1.5)
write("lfm2_moe", Lfm2MoeSparseMoeBlock(config).eval(), {"routing": "sigmoid", "expertBias": True, "routedScale": 1.5})
config = MixtralConfig(**common, intermediate_size=INNER, num_local_experts=EXPERTS)
write("mixtral", MixtralSparseMoeBlock(config).eval(), {})
config = Qwen2MoeConfig(**common, moe_intermediate_size=INNER, shared_expert_intermediate_size=SHARED, num_experts=EXPERTS, norm_topk_prob=False)
write("qwen2_moe", Qwen2MoeSparseMoeBlock(config).eval(), {"normTopK": False, "sharedIntermediateSize": SHARED, "sharedGate": True})
