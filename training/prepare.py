"""From source files on the machine to a tokenizer and packed sequences on disk."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import tokenizers

from training.collect import HELD_OUT, Document, documents, sources
from training.filters import Deduplicator, kept
from training.fim import FimIds, FimOptions, transform
from training.packing import PAD, Rows, pack, pieces
from training.recipe import Stage
from training.tokenizer import encode, load_tokenizer, special_id, train_tokenizer

CHARACTERS_PER_PROJECT = 10_000_000
"""No single project may speak for all of Python."""

_FILENAME_RATE = 0.2


def write_corpus(folder: Path, seed: int) -> dict[str, object]:
    """Write `train.jsonl` and `held_out.jsonl`; return what was kept and dropped, by project.

    Held-out projects are read first, so that near-duplicates of them in other projects go too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    duplicates = Deduplicator()
    counts: dict[str, int] = {}
    projects: dict[str, object] = {}
    found = sorted(sources(), key=lambda source: (source.project not in HELD_OUT, source.project))
    files = {
        True: (folder / "held_out.jsonl").open("w", encoding="utf-8"),
        False: (folder / "train.jsonl").open("w", encoding="utf-8"),
    }
    for source in found:
        chosen = list(kept(documents(source), duplicates, counts))
        chosen = _capped(chosen, random.Random(f"{seed} {source.project}"))
        for document in chosen:
            files[source.project in HELD_OUT].write(json.dumps(asdict(document)) + "\n")
        size = sum(len(document.text) for document in chosen)
        projects[source.project] = {
            "licence": source.licence, "files": len(chosen), "characters": size,
            "held_out": source.project in HELD_OUT,
        }  # fmt: skip
    for file in files.values():
        file.close()
    report = {"documents": counts, "projects": projects}
    (folder / "corpus.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    return report


def _capped(found: list[Document], rng: random.Random) -> list[Document]:
    rng.shuffle(found)
    size, chosen = 0, []
    for document in found:
        if size + len(document.text) <= CHARACTERS_PER_PROJECT:
            chosen.append(document)
            size += len(document.text)
    return chosen


def read_documents(file: Path) -> Iterator[Document]:
    """Yield the documents of a file that `write_corpus` wrote."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield Document(**json.loads(line))


def write_tokenizer(folder: Path, vocab_size: int) -> tokenizers.Tokenizer:
    """Train on the corpus in `folder` and write `tokenizer.json` there."""
    texts = (document.text for document in read_documents(folder / "train.jsonl"))
    inner = train_tokenizer(texts, vocab_size)
    inner.save(str(folder / "tokenizer.json"))
    return load_tokenizer(folder / "tokenizer.json")


def make_rows(folder: Path, tokenizer: tokenizers.Tokenizer, length: int, stage: Stage) -> Rows:
    """Return the sequences of a stage, shuffled: (count, length), from the corpus in `folder`."""
    rng = random.Random(stage.seed)
    limit = int(length * stage.characters_per_token)
    cut = [
        (document.path, piece)
        for document in read_documents(folder / "train.jsonl")
        for piece in pieces(document.text, limit, rng, stage.sizes)
    ]
    rng.shuffle(cut)
    rows = np.stack(list(pack(_encoded(cut, tokenizer, stage.fim, rng), length)))
    np.random.default_rng(stage.seed).shuffle(rows)
    return rows


def rows_for(
    folder: Path, tokenizer: tokenizers.Tokenizer, length: int, number: int, stage: Stage
) -> Rows:
    """Return the sequences of stage `number`, made once and then read from `folder`.

    A run reads them by index, so that it resumes to the bit by its step number. Beside them
    `rows-NUMBER.json` tells how they were made.
    """
    array, note = folder / f"rows-{number}.npy", folder / f"rows-{number}.json"
    wanted = {"length": length, "stage": stage.describe()}
    found = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
    if array.exists() and all(found.get(key) == value for key, value in wanted.items()):
        return np.asarray(np.load(array), dtype=np.uint16)
    rows = make_rows(folder, tokenizer, length, stage)
    np.save(array, rows)
    wanted |= {"rows": len(rows), "tokens": int((rows != PAD).sum())}
    note.write_text(json.dumps(wanted, indent=1), encoding="utf-8")
    return rows


def _encoded(
    cut: list[tuple[str, str]],
    tokenizer: tokenizers.Tokenizer,
    options: FimOptions,
    rng: random.Random,
) -> Iterator[list[int]]:
    ids = FimIds.of(tokenizer)
    filename = special_id(tokenizer, "<filename>")
    for path, piece in cut:
        if not piece.strip():
            continue
        body = transform(piece, tokenizer, ids, options, rng)
        if rng.random() < _FILENAME_RATE:
            body = [filename, *encode(tokenizer, f"{path}\n"), *body]
        yield body
