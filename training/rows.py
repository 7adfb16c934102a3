"""From the corpus to the packed sequences of a stage, on disk."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tokenizers

from training.collect import Document
from training.dialogues import chatml
from training.fim import FimIds, transform
from training.formats import Token, commit, header, ids_of, notebook
from training.packing import PAD, Rows, pack, pieces
from training.prepare import read_commits, read_dialogues, read_documents, read_notebooks
from training.recipe import Stage
from training.tokenizer import encode, train_tokenizer

_OTHER_FILE_SHARE = 0.3
"""Of a piece's characters: what another file of its project may show before it."""


def make_rows(folder: Path, tokenizer: tokenizers.Tokenizer, length: int, stage: Stage) -> Rows:
    """Return the sequences of a stage, shuffled: (count, length), from the corpus in `folder`."""
    rng = random.Random(stage.seed)
    encoded = list(_files(folder, tokenizer, length, stage, rng))
    if stage.formats:
        encoded += _other_formats(folder, tokenizer, rng)
    if stage.dialogue_share:
        encoded += _dialogues(folder, tokenizer, sum(map(len, encoded)), stage, rng)
    rng.shuffle(encoded)
    rows = np.stack(list(pack(encoded, length)))
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


def _files(
    folder: Path, tokenizer: tokenizers.Tokenizer, length: int, stage: Stage, rng: random.Random
) -> Iterator[list[int]]:
    """Yield the pieces of files with their holes, in no order that a file or project would give."""
    found = list(read_documents(folder / "train.jsonl"))
    by_project: dict[str, list[Document]] = {}
    for document in found:
        by_project.setdefault(document.project, []).append(document)
    limit = int(length * stage.characters_per_token)
    cut = [
        (document, piece)
        for document in found
        for piece in pieces(document.text, limit, rng, stage.sizes)
        if piece.strip()
    ]
    rng.shuffle(cut)
    # A stage reads no more than its steps need: the rest would only be encoded.
    wanted, made = stage.tokens(length), 0
    ids = FimIds.of(tokenizer)
    for document, piece in cut:
        if made > wanted:
            return
        body = transform(piece, tokenizer, ids, stage.fim, rng)
        body = _with_context(document, piece, body, by_project, tokenizer, stage, rng)
        made += len(body)
        yield body


def _with_context(
    document: Document,
    piece: str,
    body: list[int],
    by_project: dict[str, list[Document]],
    tokenizer: tokenizers.Tokenizer,
    stage: Stage,
    rng: random.Random,
) -> list[int]:
    """Put a header or an excerpt of another file of the project before a piece, at times."""
    others = by_project[document.project]
    if len(others) > 1 and rng.random() < stage.other_file_rate:
        other = rng.choice(others)
        size = int(len(piece) * _OTHER_FILE_SHARE)
        start = rng.randint(0, max(0, len(other.text) - size))
        excerpt = other.text[start : start + size]
        shown: list[Token | str] = [
            Token("<filename>"),
            f"{other.path}\n{excerpt}\n",
            Token("<filename>"),
        ]
        return [*ids_of([*shown, f"{document.path}\n"], tokenizer), *body]
    return [*ids_of(header(rng, document.project, document.path), tokenizer), *body]


def _other_formats(
    folder: Path, tokenizer: tokenizers.Tokenizer, rng: random.Random
) -> list[list[int]]:
    books = [ids_of(notebook(cells), tokenizer) for cells in read_notebooks(folder)]
    changes = [ids_of(commit(change, rng), tokenizer) for change in read_commits(folder)]
    return [*books, *changes]


def _dialogues(
    folder: Path, tokenizer: tokenizers.Tokenizer, others: int, stage: Stage, rng: random.Random
) -> Iterator[list[int]]:
    """Yield dialogues until they are the stage's share, or there are no more."""
    wanted = others * stage.dialogue_share / (1 - stage.dialogue_share)
    turns = list(read_dialogues(folder))
    rng.shuffle(turns)
    made = 0
    for turn in turns:
        if made > wanted:
            return
        ids = ids_of(chatml(turn), tokenizer)
        made += len(ids)
        yield ids


_SAMPLE = 8
"""One document of so many trains a tokenizer that is only to be measured."""


def sampled_tokenizer(folder: Path, vocab_size: int) -> tokenizers.Tokenizer:
    """Return a tokenizer trained on a sample of the corpus."""
    found = read_documents(folder / "train.jsonl")
    texts = (document.text for i, document in enumerate(found) if i % _SAMPLE == 0)
    return train_tokenizer(texts, vocab_size)


def average_characters(folder: Path, tokenizer: tokenizers.Tokenizer) -> dict[str, float]:
    """Return characters a token, by language, over a sample of the corpus."""
    characters, tokens = dict[str, int](), dict[str, int]()
    for document in read_documents(folder / "train.jsonl"):
        language = document.language
        if tokens.get(language, 0) < 300_000:
            characters[language] = characters.get(language, 0) + len(document.text)
            tokens[language] = tokens.get(language, 0) + len(encode(tokenizer, document.text))
    return {name: round(characters[name] / tokens[name], 2) for name in sorted(tokens)}
