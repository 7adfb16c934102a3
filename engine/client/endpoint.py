"""The address at which the engine for given settings listens on this machine."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import platformdirs

from engine.errors import EngineStartError
from engine.private_files import (
    NotPrivateError,
    make_private_folder,
    open_private_file,
    read_private_file,
)
from engine.settings import EngineSettings, Listen

log = logging.getLogger(__name__)

_APP = "starcoder-lsp"
_RUNTIME_VARIABLE = "STARCODER_LSP_RUNTIME_DIR"
_LOG_VARIABLE = "STARCODER_LSP_LOG_DIR"
_MAX_SOCKET_PATH = 100
"""Longest path of a Unix socket, in bytes. Systems allow 104 to 108 (unix(7))."""
_MAX_LOG_BYTES = 2_000_000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of an engine."""

    url: str
    uds: Path | None = None
    """Path of the Unix socket, if the engine listens on one."""
    token: str | None = None


@dataclass(frozen=True, slots=True)
class RuntimeFiles:
    """The files by which language servers and the engine for the same settings find each other."""

    directory: Path
    key: str
    """Name of the settings; equal settings share one engine."""
    unix: bool
    """Whether they use a Unix socket; otherwise loopback TCP with a token in a file."""

    @classmethod
    def for_settings(cls, settings: EngineSettings, *, unix: bool | None = None) -> RuntimeFiles:
        """Return the files for these settings in this user's runtime directory."""
        has_unix = hasattr(socket, "AF_UNIX") if unix is None else unix
        return cls(runtime_dir(), settings.key, has_unix)

    @property
    def start_lock(self) -> Path:
        """Lock file held while a client starts the engine, so that only one client does."""
        return self.directory / f"engine-{self.key}.lock"

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
    path = Path(os.environ.get(_RUNTIME_VARIABLE) or _system_runtime_dir())
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH - len("/engine-0123456789ab.sock"):
        path = _temporary_dir()
    try:
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
    # Without a login session, for example in a container, Linux has no runtime directory.
    if sys.platform.startswith("linux") and "XDG_RUNTIME_DIR" not in os.environ:
        return _temporary_dir()
    return Path(platformdirs.user_runtime_dir(_APP))


def _temporary_dir() -> Path:
    return Path(tempfile.gettempdir()) / f"{_APP}-{_user()}"


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
