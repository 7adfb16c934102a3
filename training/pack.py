"""A pack: the corpus in compressed parts, to move it to a machine for training.

The parts are `NAME-NN.jsonl.xz`, which `training.corpus.read_rows` reads like `NAME.jsonl`.
Documents are sorted by language and project, so that similar files lie within xz's dictionary.
"""

from __future__ import annotations

import json
import lzma
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from training.corpus import read_rows

PART_BYTES = 130_000_000
"""Bytes of the rows of a part before compression, which makes about a sixth of it."""
MAX_PART_BYTES = 30_000_000
"""Maximum bytes of a compressed part: one transfer may be limited to some tens of megabytes."""

_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 26}]
_NAMES = ("train", "dialogues", "notebooks", "commits", "held_out")
_PLAIN_FILES = ("tokenizer.json", "corpus.json")


def write_pack(folder: Path, target: Path, num_workers: int = 2) -> list[Path]:
    """Write the corpus in `folder` to parts in `target` and return all files.

    Raises ValueError if a part is larger than MAX_PART_BYTES.
    """
    target.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(num_workers) as pool:
        futures = [
            pool.submit(_compress, content, target / f"{name}-{number:02}.jsonl.xz")
            for name in _NAMES
            for number, content in enumerate(_parts(folder, name))
        ]
        files = [future.result() for future in futures]
    for name in _PLAIN_FILES:
        files.append(Path(shutil.copyfile(folder / name, target / name)))
    for file in files:
        if file.stat().st_size > MAX_PART_BYTES:
            raise ValueError(f"{file} has more than {MAX_PART_BYTES} bytes: lower PART_BYTES")
    return files


def _parts(folder: Path, name: str) -> Iterator[bytes]:
    """Yield the lines of the parts of one kind of rows."""
    part, size = list[bytes](), 0
    for row in sorted(read_rows(folder, name), key=_order):
        line = json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
        if part and size + len(line) > PART_BYTES:
            yield b"".join(part)
            part, size = [], 0
        part.append(line)
        size += len(line)
    yield b"".join(part)


def _order(row: Any) -> tuple[str, str, str]:
    """Return the sort key of a row: extension, project and path of a document."""
    if not isinstance(row, dict) or "path" not in row:
        return "", "", ""
    return Path(row["path"]).suffix, row["project"], row["path"]


def _compress(content: bytes, file: Path) -> Path:
    file.write_bytes(lzma.compress(content, filters=_FILTERS))
    return file
