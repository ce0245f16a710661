"""What each layer of a Llama needs: mean KL(whole, changed) with one layer changed at a time, before any training.

    python tools/oracles/layer_needs.py MODEL TEXT CHATS.jsonl [--length 768] [--questions 5] [--window 128] [--changes window nomix drop] [--layers 0 1 ...]
    python tools/oracles/layer_needs.py MODEL TEXT CHATS.jsonl --units 64

MODEL is a folder of transformers (`lfm convert SmolLM2.gguf --to safetensors --out MODEL`), CHATS what `lfm data --verified 1` writes: of two
turns each, the answer's tokens count. `window`: attention sees so many last tokens and the first; `nomix`: there is none; `drop`: no layer.
--units leaves so many units out of every MLP: those with the smallest weights, then those that give least on the text.
"""

import argparse
import json

import torch
from torch.nn.functional import log_softmax
from transformers import AutoModelForCausalLM, AutoTokenizer

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("text")
parser.add_argument("chats")
parser.add_argument("--length", type=int, default=768)
parser.add_argument("--questions", type=int, default=5)
parser.add_argument("--window", type=int, default=128)
parser.add_argument("--changes", nargs="+", default=["window", "nomix", "drop"])
parser.add_argument("--layers", nargs="+", type=int)
parser.add_argument("--units", type=int)
given = parser.parse_args()

tokenizer = AutoTokenizer.from_pretrained(given.model)
model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32, attn_implementation="sdpa").eval()
base, layers, length = model.model, model.model.layers, given.length
with open(given.text, encoding="utf8") as file:
    text = tokenizer(file.read(length * 8), add_special_tokens=False).input_ids[:length]
rows, counted = [text], [[1.0] * len(text)]
with open(given.chats, encoding="utf8") as file:
    for line in file:
        talk = json.loads(line)["messages"]
        whole = tokenizer.apply_chat_template(talk, tokenize=True, return_dict=False)
        if len(rows) > given.questions or len(talk) != 2 or not length * 0.7 <= len(whole) <= length:
            continue
        answer = len(tokenizer(talk[1]["content"], add_special_tokens=False).input_ids)
        rows.append(whole)
        counted.append([1.0 if len(whole) - answer - 3 <= i < len(whole) - 2 else 0.0 for i in range(len(whole))])
ids = torch.tensor([row + [tokenizer.eos_token_id] * (length - len(row)) for row in rows])
counts = torch.tensor([row + [0.0] * (length - len(row)) for row in counted])

at = torch.arange(length)
back = at[:, None] - at[None, :]


def mask_of(seen: torch.Tensor) -> torch.Tensor:
    return torch.where(seen, 0.0, torch.finfo(torch.float32).min)[None, None]


masks = {"whole": mask_of(back >= 0), "window": mask_of((back >= 0) & ((back < given.window) | (at[None, :] < 1)))}
places = base.rotary_emb(torch.zeros(1, length, model.config.hidden_size), at[None])


def run(layer, hidden, change):
    if change == "drop":
        return hidden
    if change == "nomix":
        return hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    found = layer(hidden, attention_mask=masks[change], position_embeddings=places)
    return found[0] if isinstance(found, tuple) else found


def scores(hidden):
    return [log_softmax(model.lm_head(base.norm(row[None])), -1)[0] for row in hidden]


def divergence(hidden, whole):
    found = [((p.exp() * (p - q)).sum(-1) * c).sum().item() for p, q, c in zip(whole, scores(hidden), counts)]
    return found[0] / counts[0].sum().item(), sum(found[1:]) / max(1.0, counts[1:].sum().item())


with torch.no_grad():
    before = [base.embed_tokens(ids)]
    for layer in layers:
        before.append(run(layer, before[-1], "whole"))
    whole = scores(before[-1])
    if given.units:
        gives = []
        hooks = [
            one.mlp.down_proj.register_forward_pre_hook(lambda _, x: gives.append(x[0][:1].square().mean((0, 1))))
            for one in layers
        ]
        for layer, hidden in zip(layers, before):
            run(layer, hidden, "whole")
        for hook in hooks:
            hook.remove()
        for kind in ("weights", "activations"):
            kept = [one.mlp.down_proj.weight.data.clone() for one in layers]
            hidden = before[0]
            for layer, own in zip(layers, gives):
                mlp = layer.mlp
                down = mlp.down_proj.weight
                sizes = down.square().sum(0) * (
                    own
                    if kind == "activations"
                    else mlp.gate_proj.weight.square().sum(1) * mlp.up_proj.weight.square().sum(1)
                )
                down.data[:, sizes.argsort()[: given.units]] = 0
                hidden = run(layer, hidden, "whole")
            print(kind, *(f"{x:.4f}" for x in divergence(hidden, whole)), flush=True)
            for layer, weight in zip(layers, kept):
                layer.mlp.down_proj.weight.data = weight
    else:
        for change in given.changes:
            for index in given.layers or range(len(layers)):
                hidden = run(layers[index], before[index], change)
                for layer in layers[index + 1 :]:
                    hidden = run(layer, hidden, "whole")
                print(change, index, *(f"{x:.4f}" for x in divergence(hidden, whole)), flush=True)
