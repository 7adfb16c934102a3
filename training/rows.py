"""Make the packed training sequences of a stage from the corpus, and keep them on disk."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tokenizers

from training.collect import CorpusDocument
from training.corpus import load_commits, load_dialogues, load_notebooks, load_train
from training.dialogues import chatml_segments
from training.fim import FimIds, FimOptions, transform
from training.formats import (
    SpecialToken,
    commit_segments,
    encode_segments,
    header_segments,
    notebook_segments,
)
from training.packing import PAD, Rows, cut_pieces, pack
from training.recipe import Stage

_OTHER_FILE_SHARE = 0.3
"""Size of an excerpt of another file, as a share of the characters of the piece."""


@dataclass(frozen=True, slots=True)
class RowsReport:
    """Report on the training sequences of a stage; content of `rows-NUMBER.json`."""

    length: int
    """Tokens of a sequence."""
    stage: Stage
    rows: int
    """Number of sequences."""
    tokens: int
    """Number of tokens without padding."""

    @classmethod
    def load(cls, file: Path) -> RowsReport:
        """Load the report that `load_or_make_rows` wrote."""
        fields = json.loads(file.read_text(encoding="utf-8"))
        stage = fields["stage"]
        stage = Stage(**{**stage, "fim": FimOptions(**stage["fim"])})
        return cls(fields["length"], stage, fields["rows"], fields["tokens"])


def load_or_make_rows(
    folder: Path, tokenizer: tokenizers.Tokenizer, length: int, number: int, stage: Stage
) -> Rows:
    """Return the sequences of stage `number`; they are made once and then loaded from `folder`.

    A run reads them by index, so that it can be resumed exactly by its step number.
    """
    array, report = folder / f"rows-{number}.npy", folder / f"rows-{number}.json"
    settings = {"length": length, "stage": asdict(stage)}
    saved = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    if array.exists() and all(saved.get(key) == value for key, value in settings.items()):
        return np.asarray(np.load(array), dtype=np.uint16)
    rows = make_rows(folder, tokenizer, length, stage)
    np.save(array, rows)
    fields = asdict(RowsReport(length, stage, len(rows), int((rows != PAD).sum())))
    report.write_text(json.dumps(fields, indent=1), encoding="utf-8")
    return rows


def make_rows(folder: Path, tokenizer: tokenizers.Tokenizer, length: int, stage: Stage) -> Rows:
    """Return the sequences of a stage, shuffled: (count, length), from the corpus in `folder`."""
    rng = random.Random(stage.seed)
    encoded = list(_encode_pieces(folder, tokenizer, length, stage, rng))
    if stage.has_formats:
        encoded += _encode_other_formats(folder, tokenizer, rng)
    if stage.dialogue_share:
        encoded += _encode_dialogues(folder, tokenizer, sum(map(len, encoded)), stage, rng)
    rng.shuffle(encoded)
    rows = np.stack(list(pack(encoded, length)))
    np.random.default_rng(stage.seed).shuffle(rows)
    return rows


def _encode_pieces(
    folder: Path, tokenizer: tokenizers.Tokenizer, length: int, stage: Stage, rng: random.Random
) -> Iterator[list[int]]:
    """Yield encoded pieces of files, with holes, shuffled over all files and projects."""
    documents = list(load_train(folder))
    by_project: dict[str, list[CorpusDocument]] = {}
    for document in documents:
        by_project.setdefault(document.project, []).append(document)
    limit = int(length * stage.characters_per_token)
    pieces = [
        (document, piece)
        for document in documents
        for piece in cut_pieces(document.text, limit, rng, stage.piece_sizes)
        if piece.strip()
    ]
    rng.shuffle(pieces)
    # Pieces that the stage's steps will not read are not encoded.
    max_tokens, num_tokens = stage.num_tokens(length), 0
    ids = FimIds.from_tokenizer(tokenizer)
    for document, piece in pieces:
        if num_tokens > max_tokens:
            return
        body = transform(piece, tokenizer, ids, stage.fim, rng)
        others = by_project[document.project]
        context = _context_segments(document, len(piece), others, stage.other_file_rate, rng)
        body = [*encode_segments(context, tokenizer), *body]
        num_tokens += len(body)
        yield body


def _context_segments(
    document: CorpusDocument,
    piece_size: int,
    project: list[CorpusDocument],
    other_file_rate: float,
    rng: random.Random,
) -> list[SpecialToken | str]:
    """Return the segments before a piece: an excerpt of another file, a header, or nothing."""
    if len(project) > 1 and rng.random() < other_file_rate:
        other = rng.choice(project)
        size = int(piece_size * _OTHER_FILE_SHARE)
        start = rng.randint(0, max(0, len(other.text) - size))
        excerpt = other.text[start : start + size]
        return [
            SpecialToken("<filename>"),
            f"{other.path}\n{excerpt}\n",
            SpecialToken("<filename>"),
            f"{document.path}\n",
        ]
    return header_segments(rng, document.project, document.path)


def _encode_other_formats(
    folder: Path, tokenizer: tokenizers.Tokenizer, rng: random.Random
) -> list[list[int]]:
    notebooks = [notebook_segments(cells) for cells in load_notebooks(folder)]
    commits = [commit_segments(commit, rng) for commit in load_commits(folder)]
    return [encode_segments(segments, tokenizer) for segments in (*notebooks, *commits)]


def _encode_dialogues(
    folder: Path,
    tokenizer: tokenizers.Tokenizer,
    num_other_tokens: int,
    stage: Stage,
    rng: random.Random,
) -> Iterator[list[int]]:
    """Yield dialogues until they reach the stage's share, or until there are no more."""
    max_tokens = num_other_tokens * stage.dialogue_share / (1 - stage.dialogue_share)
    dialogues = list(load_dialogues(folder))
    rng.shuffle(dialogues)
    num_tokens = 0
    for dialogue in dialogues:
        if num_tokens > max_tokens:
            return
        ids = encode_segments(chatml_segments(dialogue), tokenizer)
        num_tokens += len(ids)
        yield ids
