"""What lm-evaluation-harness says of each item of its own tasks, over local files, by its own hf model; and of a text in windows.

Usage: python tools/oracles/likelihood_tasks.py OUT.jsonl --model FOLDER_OR_GGUF --data BENCHMARKS_FOLDER --items 4 --text FILE --window 64
Each line: {"task", "item", "logprobs", "greedy", "acc", "acc_norm"}, as the harness has them; the last {"text": sum of ln p}.
The fixture: ... test/fixtures/evaluate/harness.jsonl --model weights/brook-7m --data test/fixtures/evaluate/data
  --text test/fixtures/evaluate/text.txt --window 48
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"

import lm_eval  # noqa: E402
import torch  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

SOURCES = {
    "hellaswag": ("hellaswag/hellaswag.yaml", "validation", "hellaswag/validation.jsonl"),
    "arc_easy": ("arc/arc_easy.yaml", "test", "ai2_arc/ARC-Easy/test.jsonl"),
    "arc_challenge": ("arc/arc_easy.yaml", "test", "ai2_arc/ARC-Challenge/test.jsonl"),
    "piqa": ("piqa/piqa.yaml", "validation", "piqa/validation.jsonl"),
    "lambada_openai": ("lambada/lambada_openai.yaml", "test", "lambada_openai/test.jsonl"),
}
UNPACK = "const z=require('zlib'),f=require('fs');process.stdout.write(z.brotliDecompressSync(f.readFileSync(process.argv[1])))"


def lines_of(path):
    if path.exists():
        return path.read_text(encoding="utf-8").splitlines()
    packed = subprocess.run(["node", "-e", UNPACK, f"{path}.br"], check=True, capture_output=True)
    return packed.stdout.decode("utf-8").splitlines()


def localised(folder, task, items, data):
    """The harness's own definition with nothing changed but where its lines come from."""
    source, split, name = SOURCES[task]
    home = pathlib.Path(lm_eval.__file__).parent / "tasks" / pathlib.Path(source).parent
    place = folder / task
    place.mkdir()
    for helper in home.glob("*.py"):
        shutil.copy(helper, place)
    lines = lines_of(pathlib.Path(data) / name)[:items]
    (place / "items.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    kept = []
    for line in (home / pathlib.Path(source).name).read_text().splitlines():
        key = line.split(":")[0]
        if key == "task":
            kept.append(f"task: local_{task}")
        elif key == "dataset_path":
            kept += ["dataset_path: json", "dataset_kwargs:", f"  data_files: {{ {split}: {place}/items.jsonl }}"]
        elif key.endswith("_split"):
            kept += [line] if key == f"{split}_split" else []
        elif key not in ("dataset_name", "tag", "  - multiple_choice", "  - ai2_arc", "  - lambada"):
            kept.append(line)
    (place / f"{task}.yaml").write_text("\n".join(kept) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--tasks", default=",".join(SOURCES))
    parser.add_argument("--items", type=int, default=50)
    parser.add_argument("--text")
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    folder, name = os.path.split(os.path.abspath(args.model))
    where = {"pretrained": folder, "gguf_file": name} if name.endswith(".gguf") else {"pretrained": args.model}
    model = HFLM(**where, dtype="float32", device="cpu", batch_size=4, max_length=2048)
    records = []
    with tempfile.TemporaryDirectory() as temporary:
        tasks = args.tasks.split(",")
        for task in tasks:
            localised(pathlib.Path(temporary), task, args.items, args.data)
        found = lm_eval.simple_evaluate(
            model=model,
            tasks=[f"local_{task}" for task in tasks],
            num_fewshot=0,
            bootstrap_iters=0,
            task_manager=TaskManager(include_path=temporary, include_defaults=False),
        )
        for task in tasks:
            for sample in sorted(found["samples"][f"local_{task}"], key=lambda each: each["doc_id"]):
                answers = sample["filtered_resps"]
                records.append(
                    {
                        "task": task,
                        "item": sample["doc_id"],
                        "logprobs": [round(float(answer[0]), 4) for answer in answers],
                        "greedy": [bool(answer[1]) for answer in answers],
                        **{key: sample[key] for key in ("acc", "acc_norm") if key in sample},
                    }
                )
            print(task, found["results"][f"local_{task}"])
    if args.text:
        from lm_eval.api.instance import Instance

        model._max_length = args.window
        # Of a text only its own tokens are predicted.
        model.add_bos_token = False
        text = pathlib.Path(args.text).read_text(encoding="utf-8")
        request = Instance(request_type="loglikelihood_rolling", doc={}, arguments=(text,), idx=0)
        records.append({"text": float(model.loglikelihood_rolling([request])[0])})
    pathlib.Path(args.out).write_text("".join(json.dumps(record) + "\n" for record in records))


main()
