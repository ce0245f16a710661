"""What IFEval's own checkers say (lm_eval's copy) of answers under instructions: the oracle of src/evaluate/instructions.

Usage: python tools/oracles/ifeval_checks.py CASES.json OUT.json, of a Python with lm_eval, langdetect and immutabledict.
CASES: {"answers": [text, ...], "instructions": [{"id", "kwargs"}, ...]}; OUT: for each instruction a string of 0 and 1, one an answer.
NLTK's sentence model is not needed: sentences are not asked about, and words are cut without it.
"""
import json
import logging
import sys

import nltk

nltk.download = lambda *_, **__: True
word_tokenize = nltk.word_tokenize
nltk.word_tokenize = lambda text: word_tokenize(text, preserve_line=True)

import langdetect  # noqa: E402
from lm_eval.tasks.ifeval import instructions_registry  # noqa: E402

langdetect.DetectorFactory.seed = 0
logging.disable(logging.CRITICAL)


def check(instruction, answer):
    checker = instructions_registry.INSTRUCTION_DICT[instruction["id"]](instruction["id"])
    checker.build_description(**{key: value for key, value in instruction["kwargs"].items() if value})
    return bool(answer.strip()) and bool(checker.check_following(answer))


cases = json.load(open(sys.argv[1], encoding="utf-8"))
found = ["".join("01"[check(one, answer)] for answer in cases["answers"]) for one in cases["instructions"]]
json.dump(found, open(sys.argv[2], "w"), indent=1)
