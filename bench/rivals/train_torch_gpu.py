"""PyTorch's training step of an LFM2 on NVIDIA GPUs: transformers' model, scaled-dot-product attention, bfloat16 by autocast.

The work of a step is lfm's own: forward, backward, clipping to norm 1, AdamW over float32 parameters. One process a GPU:
  python train_torch_gpu.py --compile
  torchrun --nproc-per-node 2 train_torch_gpu.py --compile --parallel fsdp      (fully_shard, PyTorch's FSDP2)
Prints one line of JSON on stdout (the first process does).
"""

import argparse
import json
import os
import pathlib
import sys
import time
import warnings

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy
import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy
from transformers import Lfm2Config, Lfm2ForCausalLM

ATTENDING = {2, 5, 8, 10, 12, 14}


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8, help="sequences in a step, of each GPU (default %(default)s)")
    parser.add_argument("--length", type=int, default=2048, help="tokens in a sequence (default %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="timed steps (default %(default)s)")
    parser.add_argument("--warmup", type=int, default=3, help="steps before them (default %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--recompute", action="store_true", help="gradient checkpointing of each layer")
    parser.add_argument("--parallel", choices=["none", "data", "fsdp"], default="none")
    parser.add_argument("--weights", type=pathlib.Path, help="model.safetensors to start from")
    parser.add_argument("--tokens", type=pathlib.Path, help="little-endian int32 ids: step s reads BATCH x (LENGTH + 1)")
    return parser.parse_args()


def describe_model() -> Lfm2Config:
    """LFM2-350M's shape: 354,483,968 parameters."""
    config = Lfm2Config(
        vocab_size=65536,
        hidden_size=1024,
        intermediate_size=4608,
        block_auto_adjust_ff_dim=False,
        num_hidden_layers=16,
        num_attention_heads=16,
        num_key_value_heads=8,
        max_position_embeddings=32768,
        layer_types=["full_attention" if i in ATTENDING else "conv" for i in range(16)],
        tie_word_embeddings=True,
    )
    config._attn_implementation = "sdpa"
    config.use_cache = False
    return config


def make_model(options: argparse.Namespace) -> Lfm2ForCausalLM:
    torch.manual_seed(0)
    model = Lfm2ForCausalLM(describe_model()).float()
    if options.weights is not None:
        from safetensors.torch import load_file

        missing, unexpected = model.load_state_dict(load_file(options.weights), strict=False)
        if unexpected or set(missing) - {"lm_head.weight"}:
            sys.exit(f"{options.weights}: missing tensors {missing}, unexpected tensors {unexpected}")
        model.tie_weights()
    if options.recompute:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model.train().cuda()


def distribute(model: Lfm2ForCausalLM, options: argparse.Namespace):
    if options.parallel == "data":
        return torch.nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
    if options.parallel == "fsdp":
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        for layer in model.model.layers:
            fully_shard(layer, mp_policy=policy)
        fully_shard(model, mp_policy=policy)
    return model


def read_batch(options: argparse.Namespace, vocabulary: int, step: int, rank: int):
    shape = (options.batch, options.length + 1)
    count = shape[0] * shape[1]
    if options.tokens is None:
        ids = torch.randint(0, vocabulary, shape, generator=torch.Generator().manual_seed(1 + rank))
    else:
        flat = numpy.fromfile(options.tokens, dtype="<i4", count=count, offset=4 * step * count)
        ids = torch.from_numpy(flat.astype(numpy.int64)).reshape(shape)
    ids = ids.cuda()
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def main() -> None:
    warnings.filterwarnings("ignore")
    options = read_options()
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    if options.parallel != "none":
        dist.init_process_group("nccl")
    torch.set_float32_matmul_precision("high")
    model = make_model(options)
    count = sum(p.numel() for p in model.parameters())
    wrapped = distribute(model, options)
    parameters = list(wrapped.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.95), eps=1e-8, fused=True)

    def measure_loss(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            logits = wrapped(input_ids=inputs, use_cache=False).logits
            return cross_entropy(logits.flatten(0, 1), targets.flatten())

    loss_of = torch.compile(measure_loss) if options.compile else measure_loss

    def run_step(step: int) -> torch.Tensor:
        inputs, targets = batches[step % len(batches)]
        loss = loss_of(inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    total = options.warmup + options.steps
    batches = [
        read_batch(options, model.config.vocab_size, step, rank) for step in range(total if options.tokens else 1)
    ]
    start = time.perf_counter()
    losses = [run_step(0).item()]
    first = time.perf_counter() - start
    losses += [run_step(step).item() for step in range(1, options.warmup)]
    torch.cuda.synchronize()
    start = time.perf_counter()
    timed = [run_step(options.warmup + step) for step in range(options.steps)]
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - start) / options.steps
    losses += [loss.item() for loss in timed]
    if rank == 0:
        tokens = options.batch * options.length
        flops = 6 * count + 6 * len(ATTENDING) * options.length * 1024
        name = "torch" + (".compile" if options.compile else "")
        print(
            json.dumps(
                {
                    "name": name + ("" if options.parallel == "none" else f" {options.parallel}={world}"),
                    "params": count,
                    "batch": options.batch,
                    "length": options.length,
                    "devices": world,
                    "msPerStep": round(1e3 * seconds, 3),
                    "tokensPerSecond": round(world * tokens / seconds, 1),
                    "tokensPerSecondPerDevice": round(tokens / seconds, 1),
                    "mfu": flops * tokens / seconds / 989e12,
                    "firstStepSeconds": round(first, 2),
                    "peakBytes": torch.cuda.max_memory_allocated(),
                    "losses": losses,
                    "version": torch.__version__,
                    "device": torch.cuda.get_device_name(),
                }
            )
        )
    if options.parallel != "none":
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
