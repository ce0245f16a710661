"""Logits of tiny transformers models on random weights, for src/models/parity.test.ts: test/fixtures/models/NAME.json, each with
transformers' config, its tensors by its names, ids [2, 13] and logits."""

import json
import pathlib

import torch
from transformers import JambaConfig, JambaForCausalLM, Lfm3Config, Lfm3ForCausalLM, PhiConfig, PhiForCausalLM, Qwen2MoeConfig, Qwen2MoeForCausalLM
from transformers import Zamba2Config, Zamba2ForCausalLM

OUT = pathlib.Path(__file__).parents[2] / "test" / "fixtures" / "models"


def numbers(tensor: torch.Tensor) -> dict:
    return {"shape": list(tensor.shape), "data": [float(f"{v:.6g}") for v in tensor.detach().flatten().tolist()]}


def write(name: str, model: torch.nn.Module) -> None:
    model = model.float().eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(torch.rand_like(parameter) + 0.5 if "norm" in key else torch.randn_like(parameter) * 0.2)
            # What is stored is what is computed with.
            parameter.copy_(torch.tensor(numbers(parameter)["data"]).reshape(parameter.shape))
    ids = torch.randint(0, model.config.vocab_size, (2, 13))
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits
    tied = model.config.tie_word_embeddings
    # Of what is stored once and has several names, the first.
    first = {}
    for key, value in model.state_dict().items():
        if not (tied and key == "lm_head.weight"):
            first.setdefault(value.data_ptr(), key)
    tensors = {key: numbers(model.state_dict()[key]) for key in first.values()}
    record = {"config": model.config.to_dict(), "tensors": tensors, "ids": ids.tolist(), "logits": numbers(logits)}
    (OUT / f"{name}.json").write_text(json.dumps(record, separators=(",", ":")) + "\n")


tokens = {"vocab_size": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
write("lfm3", Lfm3ForCausalLM(Lfm3Config(
    **tokens, hidden_size=16, intermediate_size=20, num_hidden_layers=5, num_attention_heads=2, num_key_value_heads=1, head_dim=8,
    conv_L_cache=4, sliding_window=4, max_position_embeddings=64, attn_implementation="eager",
)))
write("qwen2_moe", Qwen2MoeForCausalLM(Qwen2MoeConfig(
    **tokens, hidden_size=16, intermediate_size=20, moe_intermediate_size=6, shared_expert_intermediate_size=10, num_hidden_layers=2,
    num_attention_heads=2, num_key_value_heads=1, num_experts=4, num_experts_per_tok=2, max_position_embeddings=64,
    tie_word_embeddings=False, attn_implementation="eager", experts_implementation="eager",
)))
write("jamba", JambaForCausalLM(JambaConfig(
    **tokens, hidden_size=16, intermediate_size=12, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1, num_experts=3,
    num_experts_per_tok=2, attn_layer_period=3, attn_layer_offset=2, mamba_d_state=3, mamba_d_conv=3, mamba_dt_rank=2,
    max_position_embeddings=64, attn_implementation="eager", experts_implementation="eager",
)))
write("phi", PhiForCausalLM(PhiConfig(
    **tokens, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2, partial_rotary_factor=0.5,
    max_position_embeddings=64, attn_implementation="eager",
)))
# Three uses of two blocks: the third shares with the first. Cached steps of the class do not bound time steps, whole ones do.
write("zamba2", Zamba2ForCausalLM(Zamba2Config(
    **tokens, hidden_size=8, intermediate_size=12, num_hidden_layers=4, layers_block_type=["mamba", "hybrid", "hybrid", "hybrid"],
    num_attention_heads=2, num_mem_blocks=2, adapter_rank=2, use_shared_attention_adapter=True, use_mem_rope=True, n_mamba_heads=4,
    mamba_d_state=4, mamba_ngroups=2, time_step_min=0.5, chunk_size=4, max_position_embeddings=64, attn_implementation="eager",
)))
