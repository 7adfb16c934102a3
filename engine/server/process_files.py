"""The files by which clients find a process that they started, and its locks."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from engine.client.endpoint import RuntimeFiles
from engine.errors import ConfigurationError
from engine.loading.sharing import Sharing
from engine.private_files import write_private_file
from engine.server.claim import Claim
from engine.settings import EngineSettings


def alive_file(path: Path) -> Path:
    """Return the lock file that a process holds while it serves the address in `path`."""
    return path.with_suffix(".alive")  # of a shared process, `RuntimeFiles.alive_lock`


@contextmanager
def exclusive_lock(lock_file: Path) -> Iterator[bool]:
    """Hold a lock inside the block; yields False if another process holds it.

    The operating system releases the lock of a killed process.
    """
    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise ConfigurationError(
            f"The engine cannot use the lock file {lock_file}: {error.strerror or error}. Delete "
            "it, or choose an address in a folder that you can write to."
        ) from None
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def published_address(path: Path, bound: socket.socket, token: str) -> Iterator[None]:
    """Write port and token of a TCP socket for clients, and delete the file after the block."""
    address = {"port": bound.getsockname()[1], "token": token}
    write_private_file(path, json.dumps(address).encode())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def claiming(files: RuntimeFiles, settings: EngineSettings) -> Iterator[Sharing]:
    """Let clients find this process inside the block, and yield what it shares with others."""
    claim = Claim(files, settings)
    record = {"pid": os.getpid(), "created": psutil.Process().create_time()}
    write_private_file(files.process_file, json.dumps(record).encode())
    try:
        yield Sharing(claim.is_loaded, claim.claim)
    finally:
        files.process_file.unlink(missing_ok=True)
        claim.release()
