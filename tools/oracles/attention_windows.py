"""What windows in place of whole attention cost before any training: mean KL(whole, windowed) over texts.

    python tools/oracles/attention_windows.py MODEL TEXT... [--window 32] [--sinks 1] [--length 1024]

MODEL is a folder of transformers (`lfm convert SmolLM2.gguf --to safetensors --out MODEL`). Of every three layers the third stays whole. With
--sinks N the first N tokens are seen from everywhere (StreamingLLM, arXiv 2309.17453).
"""

import argparse

import torch
from torch.nn.functional import log_softmax
from transformers import AutoModelForCausalLM, AutoTokenizer

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("texts", nargs="+")
parser.add_argument("--window", type=int, default=32)
parser.add_argument("--sinks", type=int, default=0)
parser.add_argument("--length", type=int, default=1024)
given = parser.parse_args()

tokenizer = AutoTokenizer.from_pretrained(given.model)
model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32, attn_implementation="sdpa").eval()
rows = []
for path in given.texts:
    with open(path, encoding="utf8") as file:
        text = file.read(given.length * 8)
    rows.append(tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids[:, : given.length])

windowed = False


def mask_of(length: int, narrow: bool) -> torch.Tensor:
    at = torch.arange(length)
    back = at[:, None] - at[None, :]
    seen = back >= 0
    if narrow:
        seen &= (back < given.window) | (at[None, :] < given.sinks)
    return torch.where(seen, 0.0, torch.finfo(torch.float32).min)[None, None]


for index, layer in enumerate(model.model.layers):

    def forward(hidden, *args, _whole=layer.forward, _narrow=index % 3 != 2, **options):
        options["attention_mask"] = mask_of(hidden.shape[1], windowed and _narrow)
        return _whole(hidden, *args, **options)

    layer.forward = forward

with torch.no_grad():
    whole = [log_softmax(model(row, use_cache=False).logits[0], -1) for row in rows]
    windowed = True
    changed = [log_softmax(model(row, use_cache=False).logits[0], -1) for row in rows]
for path, p, q in zip(given.texts, whole, changed):
    print(f"{path}: {(p.exp() * (p - q)).sum(-1).mean().item():.4f} nats a token")
