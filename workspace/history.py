"""Reads earlier versions of the files in a folder from git's objects.

Nothing is checked out, so no filter, hook or other program of the repository runs. The paths in a
tree of an untrusted repository may be anything: those that are not plain are left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from workspace.git import GitError, run_git

_TIMEOUT_S = 60.0
_MAX_TREE_OUTPUT = 64 << 20
_MAX_BATCH_BYTES = 32 << 20
_HEADER_BYTES = 128
"""More bytes than `cat-file` writes about an object besides its content."""
_ENTRY = re.compile(rb"(100644|100755|100664) blob ([0-9a-f]{40,64}) +(\d+|BAD)\t(.+)", re.DOTALL)
"""An entry of a regular file. Links (120000) and submodules (160000) are no regular files.

The size of a content that is missing, as in a partial clone, is `BAD`.
"""
_HEADER = re.compile(rb"([0-9a-f]{40,64}) blob (\d+)\n")
_MISSING = "a file's content is missing in the repository. Is it a partial clone?"
_NO_REPLACEMENTS = {"GIT_NO_REPLACE_OBJECTS": "1"}
_MAX_PATH = 1000
_RESERVED = re.compile(r"[\x00-\x1f\\:]")
"""Characters that are not plain in a path on some system."""


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A regular file in a commit."""

    path: str
    """Path within the folder that was asked about, with `/`."""
    blob: str
    """Name of its content."""
    size: int
    """Number of bytes."""


def list_commits(folder: Path, revisions: str, max_count: int) -> list[str]:
    """Return the newest commits of a range or branch that change a folder, the newest first.

    Merges are left out, because their lines are those of the merged commits. So are commits without
    a parent, also those at which a shallow clone ends. Raises GitError, also if the folder is not
    in the working tree of a repository.
    """
    output = run_git(
        folder,
        *("rev-list", "--min-parents=1", "--max-parents=1", f"--max-count={max_count}"),
        *("--end-of-options", revisions, "--", "."),
        variables=_NO_REPLACEMENTS,
        timeout_s=_TIMEOUT_S,
    )
    return output.decode("ascii").split()


def list_tree(folder: Path, commit: str) -> list[TreeFile]:
    """Return the regular files that a folder had in a commit. Raises GitError."""
    output = run_git(
        folder,
        *("ls-tree", "-r", "-l", "-z", "--end-of-options", commit),
        variables=_NO_REPLACEMENTS,
        max_bytes=_MAX_TREE_OUTPUT,
        timeout_s=_TIMEOUT_S,
    )
    if len(output) == _MAX_TREE_OUTPUT:
        raise GitError(f"The commit {commit} has too many files.")
    entries = (_ENTRY.fullmatch(entry) for entry in output.split(b"\0"))
    files = []
    for entry in filter(None, entries):
        if entry[3] == b"BAD":
            raise GitError(_MISSING)
        if _is_plain(path := os.fsdecode(entry[4])):
            files.append(TreeFile(path, entry[2].decode("ascii"), int(entry[3])))
    return files


def read_blobs(folder: Path, files: Iterable[TreeFile]) -> dict[str, bytes]:
    """Return the contents of files by their names; the caller limits the sizes. Raises GitError."""
    contents: dict[str, bytes] = {}
    sizes = {file.blob: file.size for file in files}
    for batch in _batches(sizes):
        output = run_git(
            folder,
            *("cat-file", "--batch"),
            content="".join(f"{blob}\n" for blob in batch).encode("ascii"),
            variables=_NO_REPLACEMENTS,
            max_bytes=sum(sizes[blob] + _HEADER_BYTES for blob in batch),
            timeout_s=_TIMEOUT_S,
        )
        contents |= _parse_batch(output)
    return contents


def _is_plain(path: str) -> bool:
    """Whether a path stays below its folder, is no path of git's own, and has no odd characters."""
    if (
        len(path) > _MAX_PATH
        or _RESERVED.search(path)
        or any("\ud800" <= character <= "\udfff" for character in path)
    ):
        return False
    parts = path.split("/")
    return all(
        part not in ("", ".", "..") and part.lower() != ".git" and len(part.encode()) <= 255
        for part in parts
    )


def _batches(sizes: dict[str, int]) -> Iterator[list[str]]:
    """Yield the names of contents in groups, one for each run of git."""
    batch: list[str] = []
    total = 0
    for blob, size in sizes.items():
        if batch and total + size > _MAX_BATCH_BYTES:
            yield batch
            batch, total = [], 0
        batch.append(blob)
        total += size
    if batch:
        yield batch


def _parse_batch(output: bytes) -> dict[str, bytes]:
    """Return the contents that `cat-file --batch` wrote; raises GitError if one is missing."""
    contents = {}
    position = 0
    while position < len(output):
        match = _HEADER.match(output, position)
        if match is None:
            raise GitError(_MISSING)
        start, size = match.end(), int(match[2])
        contents[match[1].decode("ascii")] = output[start : start + size]
        position = start + size + 1
    return contents
