"""A sample of a corpus with a chosen share of Python, for a run that continues another one."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from training.collect import CorpusDocument
from training.corpus import load_train, read_rows, write_json_lines

_OTHER_FILES = ("dialogues", "notebooks", "commits", "held_out")


def write_sample(
    folder: Path, target: Path, characters: int, python_share: float, seed: int
) -> dict[str, int]:
    """Write a sample of the training documents in `folder` to `target`, and all other rows.

    Languages other than Python keep their shares of each other. Returns the characters by language.
    """
    target.mkdir(parents=True, exist_ok=True)
    chosen = sample_documents(load_train(folder), characters, python_share, seed)
    write_json_lines(target / "train.jsonl", map(asdict, chosen))
    for name in _OTHER_FILES:
        write_json_lines(target / f"{name}.jsonl", read_rows(folder, name))
    for name in ("tokenizer.json", "corpus.json"):
        shutil.copyfile(folder / name, target / name)
    sizes: dict[str, int] = {}
    for document in chosen:
        sizes[document.language] = sizes.get(document.language, 0) + len(document.text)
    return sizes


def sample_documents(
    documents: Iterable[CorpusDocument], characters: int, python_share: float, seed: int
) -> list[CorpusDocument]:
    """Return random documents: up to `python_share` of the characters are Python."""
    rng = random.Random(seed)
    shuffled = list(documents)
    rng.shuffle(shuffled)
    remaining = {True: characters * python_share, False: characters * (1 - python_share)}
    chosen = []
    for document in shuffled:
        is_python = document.language == "python"
        if remaining[is_python] >= len(document.text):
            remaining[is_python] -= len(document.text)
            chosen.append(document)
    return chosen
