"""A pack: the corpus in compressed parts, to move it to a machine for training.

The parts are `NAME-NN.jsonl.xz`, which `training.corpus.read_rows` reads like `NAME.jsonl`.
The files of a project are together, so that similar files lie within xz's dictionary. The projects
are in an order that has nothing to do with their language, so each part is a sample of the corpus.
`manifest.json` lists all files with their hashes, and a run refuses a pack that is not complete.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from training.corpus import read_rows

PART_BYTES = 130_000_000
"""Bytes of the rows of a part before compression, which makes about a sixth of it."""
MAX_PART_BYTES = 30_000_000
"""Maximum bytes of a compressed part: one transfer may be limited to some tens of megabytes."""

MANIFEST = "manifest.json"
"""Name of the file that lists all files of a pack."""

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
    return [*files, write_manifest(target, files)]


def write_manifest(target: Path, files: Iterable[Path]) -> Path:
    """Write the names and SHA-256 hashes of the files of a pack to its manifest."""
    manifest = target / MANIFEST
    hashes = {file.name: _hash(file) for file in files}
    manifest.write_text(json.dumps(hashes, indent=1) + "\n", encoding="utf-8")
    return manifest


def check_pack(folder: Path) -> None:
    """Check that a pack is complete; a folder without a manifest is no pack and is not checked.

    Raises ValueError that names the files that are missing or differ.
    """
    manifest = folder / MANIFEST
    if not manifest.exists():
        return
    hashes: dict[str, str] = json.loads(manifest.read_text(encoding="utf-8"))
    wrong = [name for name, value in hashes.items() if _hash(folder / name) != value]
    if wrong:
        raise ValueError(
            f"the pack in {folder} is not complete: {', '.join(wrong)} is missing or differs. "
            "Copy it again."
        )


def _hash(file: Path) -> str:
    """Return the SHA-256 hash of a file, an empty string if there is none."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""


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
    """Return the sort key of a row: hash of the project, extension and path of a document."""
    if not isinstance(row, dict) or "path" not in row:
        return "", "", ""
    project = hashlib.sha256(row["project"].encode()).hexdigest()
    return project, Path(row["path"]).suffix, row["path"]


def _compress(content: bytes, file: Path) -> Path:
    file.write_bytes(lzma.compress(content, filters=_FILTERS))
    return file
