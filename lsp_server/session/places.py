"""Where a document lies: its path in the innermost workspace folder that contains it.

A client may name a folder by a link and a document by the real path, or the other way round.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lsp_server.session.uris import file_of, folder_of, parse_uri

_NOTEBOOK_CELL = "vscode-notebook-cell"
"""VS Code names a cell by this scheme, and otherwise by the parts of the notebook's URI."""


@dataclass(frozen=True, slots=True)
class Place:
    """A path of a document, for patterns."""

    path: str
    """Relative to the workspace folder; the whole path of a document that is in none."""
    is_in_folder: bool


@dataclass(frozen=True, slots=True)
class _Address:
    scheme: str
    authority: str
    path: PurePosixPath


def places_of(uri: str, folder_uris: Iterable[str]) -> list[Place]:
    """Return the places of a document, at least one. This reads links on disk.

    A file whose name or folders are links has two places: an excluded file stays excluded,
    whatever its name.
    """
    folder_uris = list(folder_uris)
    if (file := file_of(uri)) is not None:
        roots = [root for each in folder_uris if (root := folder_of(each)) is not None]
        return file_places(file, roots)
    address = _address_of(uri)
    inner = [
        address.path.relative_to(folder.path)
        for folder in map(_address_of, folder_uris)
        if address.scheme in (folder.scheme, _NOTEBOOK_CELL)
        and address.authority == folder.authority
        and address.path.is_relative_to(folder.path)
    ]
    path = min(inner, key=lambda each: len(each.parts), default=None)
    return [Place(str(path or address.path), path is not None)]


def file_places(file: Path, roots: Sequence[Path]) -> list[Place]:
    """Return the places of a file; see `places_of`."""
    real_file = Path(os.path.realpath(file))
    named = path_in(file, roots)
    real = path_in(real_file, [Path(os.path.realpath(root)) for root in roots])
    places = [Place(path, True) for path in dict.fromkeys((named, real)) if path is not None]
    if named is None and real is None:
        places.append(Place(file.as_posix(), False))
    if real is None and real_file.name != file.name:
        # The folders above the target have nothing to do with the project.
        places.append(Place(real_file.name, False))
    return places


def path_in(file: Path, roots: Sequence[Path]) -> str | None:
    """Return the path of a file in the innermost folder, None if no folder contains it."""
    root = innermost(file, roots)
    return None if root is None else file.relative_to(root).as_posix()


def innermost(file: Path, roots: Sequence[Path]) -> Path | None:
    """Return the innermost of the folders that contain a file."""
    parents = [root for root in roots if file.is_relative_to(root)]
    return max(parents, key=lambda root: len(root.parts), default=None)


def _address_of(uri: str) -> _Address:
    parts = parse_uri(uri)
    return _Address(parts.scheme, parts.authority.lower(), PurePosixPath(parts.path))
