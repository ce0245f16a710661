"""Expected token ids for the kinds of tokenizers that the catalogue's models have: test/fixtures/tokenizer/kinds.json.

Real vocabularies are not at hand, so each kind is trained here on corpus.txt and then given the parts that the published
files of its models have: llama (Llama 2, OpenELM, Mixtral: Prepend and Replace, byte fallback), metaspace (the same as
transformers 5 writes it), phi3 (llama, with tokens that take the white space behind them), gemma2, qwen2 (NFC) and phi
(GPT-2, with runs of spaces as added tokens). `spm` is a GGUF's vocabulary with scores, whose merges transformers derives.

Usage: python tools/oracles/tokenizer_kinds.py            writes the fixture
       python tools/oracles/tokenizer_kinds.py --check    compares it with what this machine computes
"""

import hashlib
import json
import sys
import unicodedata

import numpy as np
from tokenizer import FIXTURES, HARD_STRINGS, LFM2_PATTERN, dump
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers.convert_slow_tokenizer import generate_merges
from transformers.models.gemma.tokenization_gemma import GemmaTokenizer
from transformers.models.llama.tokenization_llama import LlamaTokenizer
from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
STRINGS = HARD_STRINGS + [
    " leading",
    "   three",
    "a \u2581 mark \u2581\u2581marks",
    "<0x41><0x0A> spelt bytes",
    "<s>at the start</s>  and</s>\n behind<s> it",
    "turn<|end|>  \n\n next<|user|>\n  hi<|end|>",
    "\n\n\n\n  \n",
    "e\u0301\u0323 \u1100\u1161\u11a8 \u212b\u2126 \ufa0a \u0958 \u0344",
    "x" + " " * 33 + "y" + " " * 7 + "z",
    "the mill " * 40,
    "brook" * 60,
]


def train_characters(corpus, size, specials, across=False):
    """SentencePiece's kind: characters, then merges, no word before its mark unless `across`."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    if not across:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=True)
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=specials + BYTES, show_progress=False, max_token_length=12)
    text = corpus + " \n  \n    \n        x ::: ::::" * 8
    tokenizer.train_from_iterator(text.split("\n") if across else [text], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def llama(vocab, merges):
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(each, normalized=False, special=True) for each in ["<unk>", "<s>", "</s>"]])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", vocab["<s>"])])
    return tokenizer


def phi3(vocab, merges):
    tokenizer = llama(vocab, merges)
    tokenizer.add_special_tokens(
        [AddedToken(each, rstrip=True, normalized=False, special=True) for each in ["</s>", "<|user|>", "<|end|>"]]
    )
    tokenizer.add_tokens([AddedToken("mill", lstrip=True, normalized=False), AddedToken("brook b", normalized=True)])
    return tokenizer


def metaspace(vocab, merges):
    return LlamaTokenizer(vocab=vocab, merges=merges).backend_tokenizer


def gemma2(vocab, merges):
    tokenizer = GemmaTokenizer(vocab=vocab, merges=merges).backend_tokenizer
    runs = ["\n", "\n\n", "\n\n\n", "\u2581\u2581", "\u2581\u2581\u2581"]
    tokenizer.add_tokens([AddedToken(each, normalized=False) for each in runs])
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", vocab["<bos>"])])
    return tokenizer


def train_bytes(corpus, size, steps):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([corpus], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def qwen2(corpus):
    split = pre_tokenizers.Split(Regex(LFM2_PATTERN.replace("{1,3}", "")), "isolated")
    vocab, merges = train_bytes(corpus, 400, [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=merges, additional_special_tokens=["<|im_start|>", "<|im_end|>"])
    return tokenizer.backend_tokenizer


def phi(corpus):
    vocab, merges = train_bytes(corpus, 400, [pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer = Tokenizer(models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=True, trim_offsets=False)
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", normalized=True, special=True)])
    tokenizer.add_tokens([AddedToken(" " * count, normalized=True) for count in range(31, 1, -1)])
    tokenizer.add_tokens([AddedToken("\t" * count, normalized=True) for count in range(9, 1, -1)])
    return tokenizer


def spm(vocab, merges):
    """Scores as SentencePiece gives them: the earlier a token was made, the higher. Merges follow from them."""
    rank = {left + right: i for i, (left, right) in reversed(list(enumerate(merges)))}
    tokens = sorted(vocab, key=vocab.get)
    types = [2 if token == "<unk>" else 3 if token in ("<s>", "</s>") else 6 if token in BYTES else 1 for token in tokens]
    scores = [0.0 if kind != 1 else -float(rank.get(token, len(rank) + i)) for i, (token, kind) in enumerate(zip(tokens, types))]
    normal = {token: score for token, kind, score in zip(tokens, types, scores) if kind == 1}
    derived = generate_merges({token: vocab[token] for token in normal}, normal)
    return llama(vocab, derived), {"tokens": tokens, "types": types, "scores": scores}


def rows_of_planes():
    """Every code point that is no surrogate in rows of 64, as src/text/random-text.ts makes them."""
    points = [p for p in range(1, 0x110000) if not 0xD800 <= p < 0xE000]
    return ["".join(map(chr, points[start : start + 64])) for start in range(0, len(points), 64)]


def settled():
    """Ranges of rows in which Unicode 3.2 had assigned every code point: newer ones compose in newer libraries only."""
    ranges = []
    for i, row in enumerate(rows_of_planes()):
        if any(unicodedata.ucd_3_2_0.category(char) == "Cn" for char in row):
            continue
        if ranges and ranges[-1][1] == i:
            ranges[-1][1] = i + 1
        else:
            ranges.append([i, i + 1])
    return ranges


def digest_planes(tokenizer, ranges):
    rows = rows_of_planes()
    hashed = hashlib.sha256()
    for start, end in ranges:
        for row in rows[start:end]:
            ids = tokenizer.encode(row, add_special_tokens=False).ids
            hashed.update(np.array([len(ids), *ids], dtype="<i4").tobytes())
    return hashed.hexdigest()


def expect(tokenizer, ranges):
    rows, prefix = [], tokenizer.encode("").ids
    for text in STRINGS:
        tokenizer.encode_special_tokens = True
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = False
        parsed = tokenizer.encode(text, add_special_tokens=True).ids
        row, decoded = {"plain": plain}, tokenizer.decode(plain)
        # Left out where they say nothing new.
        row |= {} if parsed == prefix + plain else {"parsed": parsed}
        rows.append(row if decoded == text else {**row, "decoded": decoded})
    tokenizer.encode_special_tokens = True
    return {"tokenizer": json.loads(tokenizer.to_str()), "prefix": prefix, "rows": rows, "planes": digest_planes(tokenizer, ranges)}


def main():
    corpus = (FIXTURES / "corpus.txt").read_bytes().decode()
    specials = ["<unk>", "<s>", "</s>"]
    vocab, merges = train_characters(corpus, 430, specials)
    gemma_vocab, gemma_merges = train_characters(corpus, 460, ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"], across=True)
    rows = settled()
    from_scores, gguf = spm(vocab, merges)
    kinds = {
        "llama": expect(llama(vocab, merges), ((0, None),)),
        "phi3": expect(phi3(vocab, merges), rows),
        "metaspace": expect(metaspace(vocab, merges), rows),
        "gemma2": expect(gemma2(gemma_vocab, gemma_merges), rows),
        "qwen2": expect(qwen2(corpus), rows),
        "phi": expect(phi(corpus), rows),
        "spm": {**expect(from_scores, rows), "tokenizer": gguf},
    }
    text = dump({"strings": STRINGS, "settled": rows, "kinds": kinds}) + "\n"
    path = FIXTURES / "kinds.json"
    if "--check" not in sys.argv:
        path.write_text(text)
    elif path.read_text() != text:
        sys.exit("differs from the fixture: kinds.json")
    print("the fixture agrees" if "--check" in sys.argv else f"wrote {path}, {len(text)} characters")


if __name__ == "__main__":
    main()
