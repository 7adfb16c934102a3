"""The training documents as blocks of text in memory-mapped files, which workers share.

A corpus has too many characters to keep a copy of it in each worker process. So its parts are
decompressed in parallel into plain text files, and cut at line ends into blocks. A block is the
unit that is shuffled: pieces of one large file are then spread over the whole run.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.corpus import read_files, row_files

BLOCK_CHARACTERS = 8192
"""Approximate size of a block."""

_INDEX = "index.json"


@dataclass(frozen=True, slots=True)
class DocumentName:
    """Project and path of a document."""

    project: str
    path: str


class Blocks:
    """The blocks of a corpus; reading maps the files into memory, and loads nothing."""

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        self.documents: list[DocumentName] = []
        self._maps: list[mmap.mmap] = []
        tables: list[npt.NDArray[np.int64]] = []
        for number, part in enumerate(index["parts"]):
            names = json.loads((folder / f"{part}.names.json").read_text(encoding="utf-8"))
            table = np.load(folder / f"{part}.npy")
            table[:, 0] += len(self.documents)
            tables.append(np.column_stack([np.full(len(table), number), table]))
            self.documents += [DocumentName(*name) for name in names]
            with (folder / f"{part}.text").open("rb") as file:
                self._maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self._table: npt.NDArray[np.int64] = np.concatenate(tables)
        self.num_bytes = int(self._table[:, 3].sum())
        self._of_project: dict[str, list[int]] = {}
        for block, document in enumerate(self._table[:, 1].tolist()):
            self._of_project.setdefault(self.documents[document].project, []).append(block)

    def __len__(self) -> int:
        return len(self._table)

    def text(self, block: int) -> str:
        """Return the text of a block."""
        part, _, start, size = map(int, self._table[block])
        return bytes(self._maps[part][start : start + size]).decode()

    def document(self, block: int) -> DocumentName:
        """Return the name of the document that a block is part of."""
        return self.documents[int(self._table[block, 1])]

    def of_project(self, project: str) -> list[int]:
        """Return the blocks of a project."""
        return self._of_project[project]


def write_blocks(corpus: Path, folder: Path, num_workers: int) -> None:
    """Write the blocks of the training documents in `corpus` to `folder`, unless they are there.

    Raises FileNotFoundError if the corpus has no training documents.
    """
    files = row_files(corpus, "train")
    source = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    index = folder / _INDEX
    if index.exists() and json.loads(index.read_text(encoding="utf-8"))["source"] == source:
        return
    folder.mkdir(parents=True, exist_ok=True)
    index.unlink(missing_ok=True)
    if num_workers > 1 and len(files) > 1:
        with ProcessPoolExecutor(num_workers, get_context("spawn")) as pool:
            parts = list(pool.map(_write_part, files, [folder] * len(files)))
    else:
        parts = [_write_part(file, folder) for file in files]
    content = {"source": source, "parts": [part for part in parts if part]}
    index.write_text(json.dumps(content), encoding="utf-8")


def _write_part(file: Path, folder: Path) -> str | None:
    """Write the texts, blocks and names of a part; return its name, or None if it is empty."""
    name = file.name.split(".")[0]
    names: list[tuple[str, str]] = []
    blocks: list[tuple[int, int, int]] = []
    offset = 0
    with (folder / f"{name}.text").open("wb") as texts:
        for row in read_files([file]):
            for block in _cut_blocks(row["text"]):
                data = block.encode(errors="replace")
                blocks.append((len(names), offset, len(data)))
                texts.write(data)
                offset += len(data)
            names.append((row["project"], row["path"]))
    np.save(folder / f"{name}.npy", np.array(blocks, dtype=np.int64).reshape(-1, 3))
    (folder / f"{name}.names.json").write_text(json.dumps(names), encoding="utf-8")
    return name if offset else None


def _cut_blocks(text: str) -> Iterator[str]:
    """Yield the blocks of a text, each up to a line end; blank ones are left out."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + BLOCK_CHARACTERS) + 1
        if not end or len(text) - end < BLOCK_CHARACTERS // 4:
            end = len(text)
        block = text[start:end]
        if block.strip():
            yield block
        start = end
