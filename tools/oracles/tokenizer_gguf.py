"""Token ids of the real GGUF's tokenizer by transformers, over eight languages and hard cases, as hashes a group:
test/fixtures/tokenizer/real-gguf.json. Lines of text are read from ../shared and are not kept here.

Usage: python tools/oracles/tokenizer_gguf.py FILE.gguf [FOLDER of texts]   (tools/real-model.sh fetches the file)
"""
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXTS = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT.parent / "shared" / "data" / "text" / "multilingual"
OUT = ROOT / "test" / "fixtures" / "tokenizer" / "real-gguf.json"
LINES = 1250
INFLATE = "process.stdout.write(require('zlib').brotliDecompressSync(require('fs').readFileSync(process.argv[1])))"


def lines_of(language):
    text = subprocess.run(["node", "-e", INFLATE, str(TEXTS / f"{language}.txt.br")], stdout=subprocess.PIPE, check=True).stdout
    return [line for line in text.decode().split("\n") if line][:LINES]


def hard():
    """As src/text/tokenizer-gguf.test.ts makes them: every code point that is no surrogate in rows of 64, and runs."""
    points = [p for p in range(1, 0x110000) if not 0xD800 <= p < 0xE000]
    rows = ["".join(map(chr, points[i : i + 64])) for i in range(0, len(points), 64)]
    zwj = "\u200d".join(["\U0001f468", "\U0001f469", "\U0001f467", "\U0001f466"])
    runs = [s * n for s in ["a", " ", "\n", "\r\n", "7", "\u00bd", "\u4e2d", "!", zwj, "\t ", "'s"] for n in [1, 2, 3, 31, 500, 5000]]
    mixed = ["a\r\nb\r\n\r\nc\n\rd\r\re", "I'll they'RE It'S 12,345.6789\u00b2 \u0661\u0662 x1y22z333", "<|im_start|>user\n<|im_end|>", zwj + " " + zwj]
    return {"planes": rows, "runs": runs, "mixed": mixed}


def digest(tokenizer, lines):
    hashed, count = hashlib.sha256(), 0
    for line in lines:
        ids = tokenizer.encode(line, add_special_tokens=False).ids
        hashed.update(np.array([len(ids), *ids], dtype="<i4").tobytes())
        count += len(ids)
    return {"lines": len(lines), "tokens": count, "sha256": hashed.hexdigest()}


def main():
    folder, name = os.path.split(os.path.abspath(sys.argv[1]))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name).backend_tokenizer
    # Spelt-out special tokens stay text, as they do by default here.
    tokenizer.encode_special_tokens = True
    groups = {language: lines_of(language) for language in "ar de en es fr ja ko zh".split()} | hard()
    found = {group: digest(tokenizer, lines) for group, lines in groups.items()}
    # What the model was published with cuts at each digit; the loader of transformers leaves that out.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    for group, lines in groups.items():
        if digest(tokenizer, lines) != found[group]:
            print(f"{group}: the published splitting gives other tokens than the loader's")
            found[group]["loader"] = found[group]["sha256"]
            found[group] |= digest(tokenizer, lines)
    OUT.write_text(json.dumps(found, indent=2) + "\n")
    print(OUT.read_text())


main()
