"""What lm-evaluation-harness says of each item of a task, as JSON lines on a file: of its own hf model, or of a server.

Usage, in a folder that holds the tasks' .jsonl files (npm run bench -- lm-eval does all of it):
  python lm_eval_scores.py OUT.jsonl --tasks arc_easy,lambada --items 100 --hf FOLDER/FILE.gguf [--threads 1]
  python lm_eval_scores.py OUT.jsonl --tasks arc_easy,lambada --items 100 --server http://127.0.0.1:8080 --model NAME
Answers are kept in OUT.jsonl.sqlite as they come, so a run that was broken off goes on where it ended.
"""
import argparse
import json
import os
import pathlib
import time

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"

import lm_eval  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

TASKS = pathlib.Path(__file__).resolve().parent / "lm_eval_tasks"
MOST_TOKENS = 2048


def model_of(args):
    if args.server:
        return "local-completions", {
            "model": args.model,
            "base_url": f"{args.server}/v1/completions",
            "tokenizer_backend": "remote",
            "num_concurrent": args.concurrent,
            "max_length": MOST_TOKENS,
        }
    import torch

    torch.set_num_threads(args.threads)
    folder, name = os.path.split(os.path.abspath(args.hf))
    # The harness's own classes read the file; float32, as `exact` computes.
    return "hf", {
        "pretrained": folder,
        "gguf_file": name,
        "dtype": "float32",
        "device": "cpu",
        "add_bos_token": False,
        "max_length": MOST_TOKENS,
    }


def records(name, samples):
    for sample in sorted(samples, key=lambda each: each["doc_id"]):
        metrics = {key: sample[key] for key in ("acc", "acc_norm", "perplexity", "exact_match") if key in sample}
        yield {"task": name, "item": sample["doc_id"], "answers": sample["filtered_resps"], **metrics}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--tasks", required=True)
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--hf")
    parser.add_argument("--server")
    parser.add_argument("--model")
    parser.add_argument("--concurrent", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    model, model_args = model_of(args)
    start = time.monotonic()
    found = lm_eval.simple_evaluate(
        model=model,
        model_args=model_args,
        tasks=[f"local_{task}" for task in args.tasks.split(",")],
        limit=args.items,
        num_fewshot=0,
        batch_size=1,
        bootstrap_iters=0,
        task_manager=TaskManager(include_path=str(TASKS), include_defaults=False),
        use_cache=f"{args.out}.sqlite",
    )
    lines = [record for name, samples in found["samples"].items() for record in records(name, samples)]
    summary = {"harness": lm_eval.__version__, "seconds": round(time.monotonic() - start, 1), "results": found["results"]}
    pathlib.Path(args.out).write_text("".join(json.dumps(each, default=str) + "\n" for each in [summary, *lines]))


main()
