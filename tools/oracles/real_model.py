"""The real GGUF in transformers, float32: test/fixtures/gguf/real-model.json with 200 greedy tokens for each of 20 prompts, how
far the second-best token was behind at each step, and logits of the prompts at every 997th token of the vocabulary.

Usage: python tools/oracles/real_model.py FILE.gguf   (tools/real-model.sh fetches it)
"""
import json
import os
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

OUT = pathlib.Path(__file__).resolve().parents[2] / "test" / "fixtures" / "gguf" / "real-model.json"
LENGTH = 200
STRIDE = 997
PROMPTS = [
    "The capital of France is",
    "Once upon a time, there was a small brook that",
    "def fibonacci(n):\n    ",
    "Water boils at 100 degrees Celsius because",
    "1, 2, 3, 4, 5, 6,",
    "Dear Sir or Madam,\n\nI am writing to",
    "The three laws of motion are:\n1.",
    "Die Hauptstadt von Deutschland ist",
    "La photosynthèse est",
    "import numpy as np\n\n",
    "Q: What is 12 times 12?\nA:",
    "In 1969, the first human",
    "<|im_start|>user\nWhat is gravity?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWrite a haiku about rivers.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nName three animals.<|im_end|>\n<|im_start|>assistant\n",
    "To be, or not to be, that is",
    "A recurrent neural network",
    "SELECT name FROM users WHERE",
    "The weather today is",
    "日本の首都は",
]


def main():
    torch.set_num_threads(2)
    folder, name = os.path.split(os.path.abspath(sys.argv[1]))
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    cases = []
    with torch.no_grad():
        for prompt in PROMPTS:
            ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
            logits = model(ids).logits[0]
            case = {
                "prompt": ids[0].tolist(),
                "range": [logits.min().item(), logits.max().item()],
                "logits": [[round(v, 5) for v in row] for row in logits[:, ::STRIDE].tolist()],
                "tokens": [],
                "gaps": [],
            }
            past, step = None, ids
            for _ in range(LENGTH):
                out = model(step, past_key_values=past, use_cache=True)
                past = out.past_key_values
                best = out.logits[0, -1].topk(2)
                case["tokens"].append(best.indices[0].item())
                case["gaps"].append(round((best.values[0] - best.values[1]).item(), 5))
                step = best.indices[:1].reshape(1, 1)
            cases.append(case)
            print(repr(tokenizer.decode(case["tokens"])[:70]), min(case["gaps"]), flush=True)
    OUT.write_text(json.dumps({"stride": STRIDE, "cases": cases}, separators=(",", ":")) + "\n")


main()
