"""Writes test/fixtures/sampling.json: distributions that transformers' logits processors leave, for one vector of logits."""
import json
import math
import sys
from pathlib import Path

import torch
from transformers import LogitsProcessorList, MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, SequenceBiasLogitsProcessor
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper, TypicalLogitsWarper

path = Path(__file__).parents[2] / "test/fixtures/sampling.json"
logits = [round(4 * math.sin(7.3 * i) + 0.8 * math.cos(0.9 * i * i), 3) for i in range(40)]
context = [3, 7, 7, 21, 30]

# In the order of transformers' generate().
makers = {
    "logitBias": lambda v: SequenceBiasLogitsProcessor([[[int(i)], float(b)] for i, b in v.items()]),
    "repetitionPenalty": RepetitionPenaltyLogitsProcessor,
    "temperature": TemperatureLogitsWarper,
    "topK": TopKLogitsWarper,
    "topP": TopPLogitsWarper,
    "minP": MinPLogitsWarper,
    "typicalP": TypicalLogitsWarper,
}
settings = [
    {"typicalP": 0.2},
    {"typicalP": 0.5},
    {"typicalP": 0.9},
    {"temperature": 0.6, "typicalP": 0.7},
    {"topK": 12, "typicalP": 0.6},
    {"temperature": 1.7, "topP": 0.8, "typicalP": 0.8},
    {"minP": 0.05, "typicalP": 0.5},
    {"repetitionPenalty": 1.4, "temperature": 0.8, "topK": 20, "topP": 0.9, "minP": 0.02},
    {"logitBias": {"2": 3.5, "7": -2.0}, "repetitionPenalty": 1.3, "topP": 0.7},
]
cases = []
for given in settings:
    steps = LogitsProcessorList([make(given[name]) for name, make in makers.items() if name in given])
    left = steps(torch.tensor([context]), torch.tensor([logits]))[0]
    cases.append({"options": given, "probabilities": [round(p, 6) for p in torch.softmax(left, -1).tolist()]})
text = json.dumps({"logits": logits, "context": context, "cases": cases}) + "\n"
if "--check" in sys.argv:
    found = json.loads(path.read_text())["cases"]
    same = all(abs(a - b) < 1e-5 for x, y in zip(cases, found) for a, b in zip(x["probabilities"], y["probabilities"]))
    sys.exit(0 if same and len(found) == len(cases) else "test/fixtures/sampling.json differs")
path.write_text(text)
