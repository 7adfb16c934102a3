"""A small corpus, and a tokenizer that is trained on it."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import tokenizers

from training.collect import CorpusDocument
from training.dialogues import MinedDialogue
from training.formats import Commit, NotebookCell
from training.prepare import write_tokenizer

CODE = '''\
"""Numbers and a stack."""

import math


def mean(numbers):
    """Return the arithmetic mean.

    Of no numbers it is 0.
    """
    if not numbers:
        return 0.0  # by convention
    total = 0
    for number in numbers:
        total += number
    return total / len(numbers)


class Stack:
    def __init__(self, name="größe 🚀"):
        self.items = []
        self.name = name

    def push(self, item):
        self.items.append(item)

    def area(self, radius=12):
        return math.pi * radius**2
'''


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that `collect` and `tokenizer` write."""
    folder = tmp_path_factory.mktemp("corpus")
    for name, project in (("train", "one"), ("held_out", "two")):
        texts = [CODE.replace("Stack", f"Stack{n}").replace("12", str(n)) for n in range(12)]
        rows = [
            asdict(CorpusDocument(project, f"{project}/{n}.py", t)) for n, t in enumerate(texts)
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    dialogue = MinedDialogue("explain", "What does `mean` do?", "It returns the arithmetic mean.")
    cells = [NotebookCell("code", "mean([1, 2])"), NotebookCell("output", "1.5")]
    commit = Commit("Name the radius", "area = 3\n", "radius = 3\n")
    for name, row in (
        ("dialogues", asdict(dialogue)),
        ("notebooks", [asdict(cell) for cell in cells]),
        ("commits", asdict(commit)),
    ):
        (folder / f"{name}.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    write_tokenizer(folder, 400)
    return folder


@pytest.fixture(scope="session")
def tokenizer(corpus: Path) -> tokenizers.Tokenizer:
    """The tokenizer of that corpus."""
    return write_tokenizer(corpus, 400)
