"""The address at which the engine for given settings listens on this machine."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import platformdirs
from filelock import FileLock, Timeout

from engine.client.engine_key import engine_key
from engine.errors import EngineStartError
from engine.private_files import (
    NotPrivateError,
    make_private_folder,
    open_private_file,
    read_private_file,
    write_private_file,
)
from engine.settings import EngineSettings, Listen

log = logging.getLogger(__name__)

_APP = "starcoder-lsp"
_RUNTIME_VARIABLE = "STARCODER_LSP_RUNTIME_DIR"
_LOG_VARIABLE = "STARCODER_LSP_LOG_DIR"
_MAX_SOCKET_PATH = 100
"""Longest path of a Unix socket, in bytes. Systems allow 104 to 108 (unix(7))."""
_MAX_LOG_BYTES = 2_000_000
_MAX_ALIASES = 4
"""Number of aliases that are followed from one key to the engine."""
_KEY = re.compile(r"[0-9a-f]{12}")
_ADDRESS = re.compile(rf"engine-({_KEY.pattern})\.(?:sock|json)")
_RECORD = re.compile(rf"engine-({_KEY.pattern})\.process")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of an engine."""

    url: str
    uds: Path | None = None
    """Path of the Unix socket, if the engine listens on one."""
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RuntimeFiles:
    """The files by which language servers and the engine for the same settings find each other."""

    directory: Path
    key: str
    """Key of the settings (`engine.client.engine_key`); those with one key share one engine."""
    unix: bool
    """Whether they use a Unix socket; otherwise loopback TCP with a token in a file."""

    @classmethod
    def for_settings(cls, settings: EngineSettings, *, unix: bool | None = None) -> RuntimeFiles:
        """Return the files for these settings in this user's runtime directory."""
        has_unix = hasattr(socket, "AF_UNIX") if unix is None else unix
        return cls(runtime_dir(), engine_key(settings), has_unix)

    @classmethod
    def of_address(cls, listen: Listen) -> RuntimeFiles | None:
        """Return the files to which an address belongs; None for one that a user chose."""
        path = listen.uds or listen.endpoint_file
        match = None if path is None else _ADDRESS.fullmatch(path.name)
        if path is None or match is None:
            return None
        return cls(path.parent, match[1], listen.uds is not None)

    @classmethod
    def running(cls, *, unix: bool | None = None) -> list[RuntimeFiles]:
        """Return the files of all engine processes that this user has running.

        A process that is about to exit, because another one has its model, is left out.
        """
        has_unix = hasattr(socket, "AF_UNIX") if unix is None else unix
        directory = runtime_dir()
        names = [_RECORD.fullmatch(path.name) for path in directory.glob("engine-*.process")]
        every = [cls(directory, name[1], has_unix) for name in names if name is not None]
        return [files for files in every if files.is_served() and files.resolved() == files]

    @property
    def start_lock(self) -> Path:
        """Lock file held while a client starts the engine, so that only one client does."""
        return self.directory / f"engine-{self.key}.lock"

    @property
    def alive_lock(self) -> Path:
        """Lock file that the engine process holds while it has the model of this key."""
        return self.directory / f"engine-{self.key}.alive"

    @property
    def process_file(self) -> Path:
        """File to which the engine process writes its id, in case that it stops answering."""
        return self.directory / f"engine-{self.key}.process"

    def is_served(self) -> bool:
        """Return whether a process has the model of this key."""
        if not self.alive_lock.exists():
            return False
        lock = FileLock(self.alive_lock)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:
            return False
        lock.release()
        return False

    @property
    def _alias_file(self) -> Path:
        """File with the key of the engine that has the model of this key, if it is another."""
        return self.directory / f"engine-{self.key}.alias"

    def write_alias(self, key: str) -> None:
        """Publish that the engine of another key has the model of this one."""
        write_private_file(self._alias_file, key.encode())

    def remove_alias(self) -> None:
        """Publish nothing, because the model of this key has an engine of its own."""
        with contextlib.suppress(OSError):
            self._alias_file.unlink(missing_ok=True)

    def resolved(self) -> RuntimeFiles:
        """Return the files of the engine that has the model of this key."""
        files = self
        for _ in range(_MAX_ALIASES):
            try:
                key = read_private_file(files._alias_file).decode("ascii", "replace")
            except OSError:
                break
            if _KEY.fullmatch(key) is None:
                break
            files = replace(files, key=key)
        return files

    @property
    def log_file(self) -> Path:
        """File that receives the engine's stdout and stderr, if it can be written."""
        directory = Path(os.environ.get(_LOG_VARIABLE) or platformdirs.user_log_dir(_APP))
        return directory / f"engine-{self.key}.log"

    def open_log(self) -> tuple[BinaryIO, Path]:
        """Open the file that receives the engine's output, and return it with its path.

        If `log_file` cannot be used, the file is in the runtime directory. If that cannot be used
        either, the engine has no log: it is more useful than its log. A long file is emptied.
        """
        fallback = self.directory / f"engine-{self.key}.log"
        for path in (self.log_file, fallback):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
                descriptor = open_private_file(path, flags, repair=True)
            except OSError as error:
                log.warning("the engine cannot log to %s: %s", path, error.strerror or error)
                continue
            if os.fstat(descriptor).st_size > _MAX_LOG_BYTES:
                os.ftruncate(descriptor, 0)
            return os.fdopen(descriptor, "ab"), path
        return Path(os.devnull).open("ab"), Path(os.devnull)

    @property
    def listen(self) -> Listen:
        """Address that a started engine listens on."""
        if self.unix:
            return Listen(uds=self._socket)
        return Listen(endpoint_file=self._endpoint_file)

    def endpoint(self) -> Endpoint | None:
        """Return the address to try; None if no engine can be listening."""
        if self.unix:
            return Endpoint("http://engine", uds=self._socket) if self._socket.exists() else None
        try:
            address = json.loads(read_private_file(self._endpoint_file))
        except (OSError, ValueError, RecursionError):
            return None
        match address:
            case {"port": int(port), "token": str(token)} if 0 < port < 1 << 16 and token:
                return Endpoint(f"http://127.0.0.1:{port}", token=token)
        return None

    @property
    def _socket(self) -> Path:
        return self.directory / f"engine-{self.key}.sock"

    @property
    def _endpoint_file(self) -> Path:
        return self.directory / f"engine-{self.key}.json"


def runtime_dir() -> Path:
    """Return the directory for sockets and locks, which other users cannot read.

    Creates it if it does not exist. Raises EngineStartError if it belongs to another user, is a
    link, or cannot be used.
    """
    override = os.environ.get(_RUNTIME_VARIABLE)
    path = Path(override or _system_runtime_dir())
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH - len("/engine-0123456789ab.sock"):
        path = _temporary_dir()
    try:
        try:
            make_private_folder(path)
        except NotPrivateError:
            raise
        except OSError:
            if override or path == _temporary_dir():
                raise
            # The login session may have ended, or its variables belong to another machine.
            path = _temporary_dir()
            make_private_folder(path)
    except NotPrivateError as error:
        raise EngineStartError(
            f"The runtime directory {path} {error.problem}. Set {_RUNTIME_VARIABLE} to a directory "
            "of your own."
        ) from None
    except OSError as error:
        raise EngineStartError(
            f"The runtime directory {path} cannot be used ({error.strerror}). Set "
            f"{_RUNTIME_VARIABLE} to a directory of your own."
        ) from None
    return path


def _system_runtime_dir() -> Path:
    if not sys.platform.startswith("linux"):
        return Path(platformdirs.user_runtime_dir(_APP))
    # Without a login session, for example in a container, Linux has no runtime directory.
    # platformdirs would print a warning then, and choose a folder that other programs share.
    session = os.environ.get("XDG_RUNTIME_DIR", "")
    return Path(session) / _APP if os.path.isabs(session) else _temporary_dir()


def _temporary_dir() -> Path:
    return Path(tempfile.gettempdir()) / f"{_APP}-{_user()}"


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
