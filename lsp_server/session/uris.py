"""Conversion between URIs and paths."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pygls.uris import from_fs_path, to_fs_path


def path_of(uri: str) -> Path:
    """Return the path of a URI; if it is not a file's URI, the path component of the URI."""
    return Path(to_fs_path(uri) or urlsplit(uri).path)


def file_of(uri: str) -> Path | None:
    """Return the path of a `file:` URI, None for any other URI."""
    path = to_fs_path(uri) if uri.startswith("file:") else None
    return Path(path) if path else None


def uri_of(path: Path | str) -> str:
    """Return the `file:` URI of a path."""
    return from_fs_path(str(path)) or ""
