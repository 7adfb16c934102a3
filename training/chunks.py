"""Training sequences, made in chunks while a run trains.

A chunk is a pure function of the corpus, a stage, a seed and its number. So any process can make
it at any time, and a resumed run reads the same sequences.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.blocks import Blocks
from training.corpus import load_commits, load_dialogues, load_notebooks
from training.dialogues import MinedDialogue, chatml_segments
from training.fim import transformed_segments
from training.formats import (
    Segments,
    SpecialToken,
    commit_segments,
    encode_documents,
    header_segments,
    notebook_segments,
)
from training.packing import Rows, cut_pieces, pack
from training.recipe import Stage
from training.tokenizer import load_tokenizer

CHUNK_BYTES = 1_000_000
"""Approximate bytes of text in a chunk: about 280 sequences of 1,024 tokens."""

_OTHER_FILE_SHARE = 0.3
"""Size of an excerpt of another file, as a share of the characters of the piece."""


class ChunkMaker:
    """Makes the chunks of all stages of a run."""

    def __init__(
        self,
        corpus: Path,
        blocks: Path,
        stages: Sequence[Stage],
        length: int,
        seed: int,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self._stages, self._length, self._seed = stages, length, seed
        self._tokenizer = load_tokenizer(corpus / "tokenizer.json")
        self._blocks = Blocks(blocks)
        self._notebooks = list(load_notebooks(corpus))
        self._commits = list(load_commits(corpus))
        self._dialogues = list(load_dialogues(corpus))
        self._chunks_per_epoch = max(1, round(self._blocks.num_bytes / chunk_bytes))
        self._permutation: tuple[object, npt.NDArray[np.int64]] = ((), np.empty(0, np.int64))

    @property
    def chunks_per_epoch(self) -> int:
        """Number of chunks after which all documents were used once."""
        return self._chunks_per_epoch

    def make(self, stage_number: int, number: int) -> Rows:
        """Return the sequences of a chunk, shuffled: (count, length).

        When all documents have been used, the next chunk starts again, with other holes and in
        another order.
        """
        stage = self._stages[stage_number]
        rng = random.Random(json.dumps([self._seed, stage.seed, number]))
        documents = list(self._pieces(stage, number, rng))
        num_characters = sum(
            len(part) for document in documents for part in document if isinstance(part, str)
        )
        documents += self._dialogues_for(stage, num_characters, rng)
        if stage.has_formats:
            documents += self._other_formats(stage, number, rng)
        encoded = encode_documents(documents, self._tokenizer)
        return np.stack(pack(encoded, self._length, rng))

    def _share(self, stage: Stage, number: int, count: int, kind: str) -> list[int]:
        """Return the indices of a chunk among `count` items: its part of a permutation."""
        epoch, part = divmod(number, self._chunks_per_epoch)
        key = [self._seed, stage.seed, epoch, count, len(kind)]
        order = self._permutation[1]
        if kind != "block" or self._permutation[0] != key:
            order = np.random.default_rng(key).permutation(count)
            if kind == "block":  # the others are few
                self._permutation = (key, order)
        start = part * count // self._chunks_per_epoch
        end = (part + 1) * count // self._chunks_per_epoch
        return [int(index) for index in order[start:end]]

    def _pieces(self, stage: Stage, number: int, rng: random.Random) -> Iterator[Segments]:
        """Yield pieces of files, with holes."""
        limit = int(self._length * stage.characters_per_token)
        for block in self._share(stage, number, len(self._blocks), "block"):
            for piece in cut_pieces(self._blocks.text(block), limit, rng, stage.piece_sizes):
                if piece.strip():
                    context = self._context(block, len(piece), stage.other_file_rate, rng)
                    yield [*context, *transformed_segments(piece, stage.fim, rng)]

    def _context(
        self, block: int, piece_size: int, other_file_rate: float, rng: random.Random
    ) -> list[SpecialToken | str]:
        """Return the segments before a piece: an excerpt of another file, a header, or nothing."""
        document = self._blocks.document(block)
        if rng.random() < other_file_rate:
            other_block = rng.choice(self._blocks.of_project(document.project))
            other = self._blocks.document(other_block)
            if other.path != document.path:
                text, size = self._blocks.text(other_block), int(piece_size * _OTHER_FILE_SHARE)
                start = rng.randint(0, max(0, len(text) - size))
                return [
                    SpecialToken("<filename>"),
                    f"{other.path}\n{text[start : start + size]}\n",
                    SpecialToken("<filename>"),
                    f"{document.path}\n",
                ]
        return header_segments(rng, document.project, document.path)

    def _other_formats(self, stage: Stage, number: int, rng: random.Random) -> Iterator[Segments]:
        for index in self._share(stage, number, len(self._notebooks), "notebook"):
            yield notebook_segments(self._notebooks[index])
        for index in self._share(stage, number, len(self._commits), "commit"):
            yield commit_segments(self._commits[index], rng)

    def _dialogues_for(
        self, stage: Stage, num_other_characters: int, rng: random.Random
    ) -> Iterator[Segments]:
        """Yield random dialogues until they are the stage's share of the characters."""
        remaining = num_other_characters * stage.dialogue_share / (1 - stage.dialogue_share)
        while remaining > 0 and self._dialogues:
            dialogue: MinedDialogue = rng.choice(self._dialogues)
            remaining -= len(dialogue.request) + len(dialogue.answer)
            yield chatml_segments(dialogue)
