"""Greedy tokens of a model folder by transformers, and how its tokenizer reads the texts.

Usage: python greedy_transformers.py FOLDER '{"prompts":[[1,2]],"texts":["a"],"tokens":64,"threads":1}'; prints one line of JSON.
"""
import json
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, asked = sys.argv[1], json.loads(sys.argv[2])
torch.set_num_threads(asked["threads"])
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
found = []
with torch.no_grad():
    for prompt in asked["prompts"]:
        row, ids, cache = [], torch.tensor([prompt]), None
        while len(row) < asked["tokens"]:
            out = model(ids, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            row.append(int(out.logits[0, -1].argmax()))
            ids = torch.tensor([row[-1:]])
        found.append(row)
print(json.dumps({"version": transformers.__version__, "tokens": found, "encoded": [tokenizer(text)["input_ids"] for text in asked["texts"]]}))
