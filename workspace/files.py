"""Reads regular files of a folder that may be hostile.

A folder can contain links that leave it, devices, FIFOs that block for ever, and files without an
end. None of them is opened.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


class UnreadableFileError(OSError):
    """A file that is not read: it is not a regular file, leaves its folder, or is too large."""


class TooLargeError(UnreadableFileError):
    """A file that has more bytes than the caller wants to read."""


def read_bytes(path: Path, max_bytes: int, *, inside: Path | None = None) -> bytes:
    """Return the content of a regular file.

    `inside` is a folder that the file must not leave through a link; without it, links are
    followed. Raises TooLargeError if the file has more than `max_bytes` bytes, UnreadableFileError
    if it is not a regular file or leaves the folder, and OSError if the system cannot read it.
    """
    real_path = _real_path(path, inside)
    file = _open_regular(real_path, Path(real_path.anchor))
    with os.fdopen(file, "rb") as content:
        # The size that the system reports may be wrong: files of /proc report 0.
        data = content.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise TooLargeError(f"{path.name} has more than {max_bytes} bytes.")
    return data


def read_text(path: Path, max_bytes: int, *, inside: Path | None = None) -> str:
    """Return a file's UTF-8 text with `\\n` as line ending, as `Path.read_text` does.

    Raises UnicodeDecodeError, and the errors of `read_bytes`.
    """
    text = read_bytes(path, max_bytes, inside=inside).decode("utf-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def regular_file_stat(path: Path, *, inside: Path) -> os.stat_result | None:
    """Return the status of a regular file; None if it is special, missing or leaves the folder."""
    try:
        status = os.lstat(_real_path(path, inside))
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def leaves_folder(path: Path, folder: Path) -> bool:
    """Whether a path, which need not exist, leads out of a folder through links or `..`."""
    real_path = Path(os.path.realpath(path))
    return not real_path.is_relative_to(os.path.realpath(folder))


def _real_path(path: Path, inside: Path | None) -> Path:
    """Return the path without links; raises UnreadableFileError if it leaves the folder."""
    try:
        real_path = Path(os.path.realpath(path, strict=True))
    except ValueError:  # a null character
        raise UnreadableFileError(f"{path.name!r} is not a path.") from None
    if inside is not None and not real_path.is_relative_to(os.path.realpath(inside)):
        raise UnreadableFileError(f"{path.name} leads out of its folder.")
    return real_path


def _open_regular(path: Path, root: Path) -> int:
    """Return the descriptor of a regular file, given by a path without links.

    A link that replaces a part of the path meanwhile is not followed, so that the file cannot be
    exchanged between the check and the read.
    """
    if os.open not in os.supports_dir_fd:  # Windows
        _check_regular(os.lstat(path), path)
        return os.open(path, os.O_RDONLY)
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in path.relative_to(root).parent.parts:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner = os.open(part, flags, dir_fd=folder)
            os.close(folder)
            folder = inner
        # Opening a device can already have an effect, so its kind is checked before.
        _check_regular(os.stat(path.name, dir_fd=folder, follow_symlinks=False), path)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(path.name, flags, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        _check_regular(os.fstat(file), path)
    except UnreadableFileError:
        os.close(file)
        raise
    return file


def _check_regular(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableFileError(f"{path.name} is not a regular file.")
