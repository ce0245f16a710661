"""Writes random weights of LFM2-350M's shape and token ids, for rivals to start from the same numbers: DIR/model.safetensors
(float32) and DIR/tokens.bin (little-endian int32).  python random_lfm2.py DIR --batch 8 --length 2048 --steps 23"""

import argparse
import pathlib

import numpy
import torch
from safetensors.torch import save_file
from transformers import Lfm2ForCausalLM

from train_torch_gpu import describe_model

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--length", type=int, default=2048)
parser.add_argument("--steps", type=int, default=23)
options = parser.parse_args()
options.folder.mkdir(parents=True, exist_ok=True)
torch.manual_seed(0)
with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
    model = Lfm2ForCausalLM(describe_model()).float()
tensors = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
save_file(tensors, options.folder / "model.safetensors")
# Text-like ids: frequencies by Zipf's law, so that the losses fall as they do on text.
count = options.steps * options.batch * (options.length + 1)
ranks = numpy.random.default_rng(1).zipf(1.2, count) % 65536
ranks.astype("<i4").tofile(options.folder / "tokens.bin")
