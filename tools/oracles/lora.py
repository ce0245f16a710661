"""LoRA adapters as peft's save_pretrained writes them, and logits under each: test/fixtures/lora/NAME.

The base is the model test/fixtures/models/BASE, BASE being what stands before the first "-" of NAME. In expected.safetensors: `ids`
[2, 13] and `logits` [2, 13, V]. `train/` holds an adapter before training, and in expected.safetensors `ids`, the `losses` [5] before
each of five AdamW steps, `last`, the loss after them, and as `trained.MODULE.lora_A` and `_B` and `merged.MODULE` what training made.

Usage: python tools/oracles/lora.py           writes the fixtures
       python tools/oracles/lora.py FOLDER    loads the adapter for lfm2 in FOLDER, and prints its greatest difference from peft's own
                                              trained one: lfm's, where its test was told by LFM_LORA_OUT to keep what it saved
"""

import json
import pathlib
import shutil
import sys

import numpy
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "test" / "fixtures"
OUT = FIXTURES / "lora"
VOCAB = 40
TRAINING = {"learningRate": 1e-2, "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "weightDecay": 0.1, "maxNorm": 1.0}
LFM2 = ["q_proj", "k_proj", "v_proj", "out_proj", "in_proj", "w1", "w2", "w3"]

ADAPTERS = {
    "lfm2-list": LoraConfig(r=4, lora_alpha=8, target_modules=LFM2),
    "lfm2-attention": LoraConfig(r=2, lora_alpha=3, target_modules=["q_proj", "v_proj"]),
    "lfm2-patterns": LoraConfig(
        r=3, lora_alpha=6, use_rslora=True, target_modules=r".*\.(w[13]|in_proj|q_proj)",
        rank_pattern={"w1": 5, r"layers\.1\..*q_proj": 2}, alpha_pattern={"in_proj": 20},
    ),
    "llama-all": LoraConfig(r=2, lora_alpha=5, target_modules="all-linear"),
    "llama-one": LoraConfig(r=4, lora_alpha=4, target_modules=["model.layers.1.mlp.down_proj", "o_proj"], use_rslora=True),
    "phi3-fused": LoraConfig(r=3, lora_alpha=6, target_modules=["qkv_proj", "gate_up_proj", "o_proj"]),
}


def base_of(name: str):
    folder = FIXTURES / "models" / name.split("-")[0]
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").float().eval()


def adapted(name: str, config: LoraConfig, zeros: bool = False):
    """The base under an adapter whose numbers numpy makes, whose generator is the same for ever."""
    model = get_peft_model(base_of(name), config).eval()
    random = numpy.random.RandomState(len(name))
    for key, parameter in sorted(model.named_parameters()):
        if "lora_" not in key:
            continue
        values = random.standard_normal(tuple(parameter.shape)) * 0.3
        parameter.data = torch.tensor(values * (0 if zeros and "lora_B" in key else 1), dtype=torch.float32)
    return model


def save(model, folder: pathlib.Path, expected: dict) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = None
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    save_file({key: value.contiguous() for key, value in expected.items()}, folder / "expected.safetensors")


def tokens() -> torch.Tensor:
    return torch.tensor(numpy.random.RandomState(3).randint(3, VOCAB, (2, 13)))


def loss_of(model, ids: torch.Tensor) -> torch.Tensor:
    logits = model(ids).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.reshape(-1, VOCAB), ids[:, 1:].reshape(-1))


def train() -> None:
    model = adapted("lfm2-train", LoraConfig(r=4, lora_alpha=8, target_modules=LFM2), zeros=True)
    ids = tokens()
    save(model, OUT / "train", {})
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    t = TRAINING
    optimizer = torch.optim.AdamW(
        trained, lr=t["learningRate"], betas=(t["beta1"], t["beta2"]), eps=t["epsilon"], weight_decay=t["weightDecay"],
    )
    losses = []
    for _ in range(5):
        loss = loss_of(model, ids)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, t["maxNorm"])
        optimizer.step()
    expected = {"ids": ids.float(), "losses": torch.tensor(losses), "last": loss_of(model, ids).detach().reshape(1)}
    for key, parameter in model.named_parameters():
        if "lora_" in key:
            expected["trained." + key.removeprefix("base_model.model.").removesuffix(".default.weight")] = parameter.detach().clone()
    merged = model.merge_and_unload()
    changed = {key.removeprefix("trained.").split(".lora_")[0] for key in expected if key.startswith("trained.")}
    for key, parameter in merged.named_parameters():
        if key.removesuffix(".weight") in changed:
            expected["merged." + key.removesuffix(".weight")] = parameter.detach().clone()
    save_file({key: value.contiguous() for key, value in expected.items()}, OUT / "train" / "expected.safetensors")


def check(folder: str) -> None:
    model = PeftModel.from_pretrained(base_of("lfm2"), folder).eval()
    expected = load_file(OUT / "train" / "expected.safetensors")
    found = {
        "trained." + key.removeprefix("base_model.model.").removesuffix(".default.weight"): parameter
        for key, parameter in model.named_parameters() if "lora_" in key
    }
    wanted = {key: value for key, value in expected.items() if key.startswith("trained.")}
    assert found.keys() == wanted.keys(), sorted(found.keys() ^ wanted.keys())
    difference = max((found[key].detach() - value).abs().max().item() for key, value in wanted.items())
    loss = loss_of(model, expected["ids"].long()).item()
    print(f"{len(found)} tensors, greatest difference {difference:.2e}; loss {loss:.6f}, peft's {expected['last'].item():.6f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        check(sys.argv[1])
        sys.exit()
    for name, config in ADAPTERS.items():
        model = adapted(name, config)
        with torch.no_grad():
            save(model, OUT / name, {"ids": tokens().float(), "logits": model(tokens()).logits})
    train()
