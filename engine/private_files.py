"""Files and folders that only this user may read and write. Imports no torch.

Folders for sockets, locks and compiled code may lie in a place that other users can write to, such
as the system's temporary folder. There another user can put a folder, a file or a link of the same
name first. So nothing here follows a link in the last part of a path. The owner and the mode are
those of the opened file, which nobody can exchange after the check.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
"""Mode bits with which other users can change a file."""
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
"""Opening a FIFO would wait for its other end."""
_HAS_OWNERS = hasattr(os, "getuid")


class NotPrivateError(OSError):
    """A file or folder cannot be trusted; the message says why, as the end of a sentence."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} {problem}")
        self.path = path
        self.problem = problem


def make_private_folder(path: Path) -> bool:
    """Create a folder with mode 0700, or give an existing one of this user that mode.

    Return whether other users could write to it before. Raises NotPrivateError for a link, for
    something that is no folder, and for a folder of another user, and OSError if the folder cannot
    be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)  # the umask can only remove bits
    if not _HAS_OWNERS:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _NO_FOLLOW)
    except OSError as error:
        raise _not_private(path, error) from None
    try:
        state = os.fstat(descriptor)
        if state.st_uid != os.getuid():
            raise NotPrivateError(path, "belongs to another user")
        if stat.S_IMODE(state.st_mode) != 0o700:
            os.fchmod(descriptor, 0o700)
        return bool(state.st_mode & OTHERS_WRITE)
    finally:
        os.close(descriptor)


def open_private_file(path: Path, flags: int, *, repair: bool = False) -> int:
    """Return a descriptor of an ordinary file of this user; a new one has mode 0600.

    `flags` are those of os.open. Raises NotPrivateError for a link, for something that is no
    ordinary file, and for a file of another user or one that other users can write to, and OSError
    if the file cannot be opened. With `repair` a file that others can write to gets mode 0600: use
    it only if nothing depends on what is in the file.
    """
    try:
        descriptor = os.open(path, flags | _NO_FOLLOW | _NO_WAIT, 0o600)
    except OSError as error:
        raise _not_private(path, error) from None
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise NotPrivateError(path, "is no ordinary file")
        if _HAS_OWNERS and state.st_uid != os.getuid():
            raise NotPrivateError(path, "belongs to another user")
        if _HAS_OWNERS and state.st_mode & OTHERS_WRITE:
            if not repair:
                raise NotPrivateError(path, "can be written by other users")
            os.fchmod(descriptor, 0o600)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def read_private_file(path: Path) -> bytes:
    """Return the contents of an ordinary file of this user; raises as `open_private_file`."""
    with os.fdopen(open_private_file(path, os.O_RDONLY), "rb") as file:
        return file.read()


def write_private_file(path: Path, content: bytes) -> None:
    """Write a file that only this user can read; nobody sees half of it.

    Raises OSError if the folder cannot be written.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    descriptor = open_private_file(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    os.replace(partial, path)


def _not_private(path: Path, error: OSError) -> OSError:
    """Return a clearer error for a path that is a link or of another kind."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return error
    if stat.S_ISLNK(mode):
        return NotPrivateError(path, "is a link")
    if isinstance(error, NotADirectoryError):
        return NotPrivateError(path, "is no folder")
    is_special = not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
    return NotPrivateError(path, "is no ordinary file") if is_special else error
