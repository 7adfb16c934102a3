"""Listens on a Unix socket that only this user may open. Imports no torch; both servers use it."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import ConfigurationError

_BACKLOG = 128
"""Number of connections that the system keeps until they are accepted."""
_PROBE_SECONDS = 1.0
_LOCK_SECONDS = 5.0


@contextmanager
def unix_socket(path: Path) -> Iterator[socket.socket]:
    """Listen on a Unix socket that only this user may open.

    Replaces a socket of this user on which nobody answers, as a killed process leaves it. Raises
    ConfigurationError for anything else that exists there. The folder must exist.
    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with bound:
        with _locked_folder(path):
            _remove_stale(path)
            _bind(bound, path)
            ours = path.lstat()
        try:
            yield bound
        finally:
            bound.close()
            with contextlib.suppress(OSError, ConfigurationError), _locked_folder(path):
                # Another process may have replaced it in the meantime.
                if os.path.samestat(path.lstat(), ours):
                    path.unlink()


def _bind(bound: socket.socket, path: Path) -> None:
    umask = os.umask(stat.S_IRWXG | stat.S_IRWXO | stat.S_IXUSR)
    try:
        bound.bind(str(path))
        bound.listen(_BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(
            f"Nothing can listen on {path}: {reason}. Choose another --uds."
        ) from None
    finally:
        os.umask(umask)


def _remove_stale(path: Path) -> None:
    try:
        state = path.lstat()  # does not follow a link
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be used: {error.strerror}.") from None
    if not stat.S_ISSOCK(state.st_mode):
        raise ConfigurationError(
            f"{path} exists and is not a socket. Choose another --uds, or remove it yourself."
        )
    if state.st_uid != os.getuid():
        raise ConfigurationError(f"{path} belongs to another user. Choose another --uds.")
    if _answers(path):
        raise ConfigurationError(f"Another process listens on {path}. Choose another --uds.")
    path.unlink()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True  # busy, or not ours to judge
    return True


@contextmanager
def _locked_folder(path: Path) -> Iterator[None]:
    """Hold a lock on the folder of a socket, so that no two processes replace the same socket."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigurationError(
            f"The folder {path.parent} cannot be used: {error.strerror}. Create it first."
        ) from None
    try:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                # In a shared folder any user may hold the lock.
                if time.monotonic() > deadline:
                    raise ConfigurationError(
                        f"Another process has locked the folder {path.parent}. Choose another "
                        "--uds."
                    ) from None
                time.sleep(0.01)
        yield
    finally:
        os.close(folder)
