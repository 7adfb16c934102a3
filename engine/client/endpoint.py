"""Where the engine of given settings listens on this machine."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from engine.arguments import Listen
from engine.errors import EngineStartError
from engine.settings import EngineSettings

_APP = "starcoder-lsp"
_RUNTIME_VARIABLE = "STARCODER_LSP_RUNTIME_DIR"
_LOG_VARIABLE = "STARCODER_LSP_LOG_DIR"
_LONGEST_SOCKET_PATH = 100
"""The system's limit is 104 to 108 bytes (unix(7)); the rest is for its own sake."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address that can be asked."""

    url: str
    uds: Path | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class RuntimeFiles:
    """The files by which language servers and the engine of one kind of settings meet."""

    directory: Path
    key: str
    unix: bool
    """Over a Unix socket; else over loopback TCP with a token in a file."""

    @classmethod
    def for_settings(cls, settings: EngineSettings, *, unix: bool | None = None) -> RuntimeFiles:
        """Return the files of these settings in this user's runtime directory."""
        has_unix = hasattr(socket, "AF_UNIX") if unix is None else unix
        return cls(runtime_dir(), settings.key, has_unix)

    @property
    def start_lock(self) -> Path:
        """Held by whoever starts the engine, so that only one does."""
        return self.directory / f"engine-{self.key}.lock"

    @property
    def log_file(self) -> Path:
        """Where the engine's stderr goes."""
        directory = Path(os.environ.get(_LOG_VARIABLE) or platformdirs.user_log_dir(_APP))
        return directory / f"engine-{self.key}.log"

    @property
    def listen(self) -> Listen:
        """Where the engine is told to listen."""
        if self.unix:
            return Listen(uds=self.directory / f"engine-{self.key}.sock")
        return Listen(endpoint_file=self.directory / f"engine-{self.key}.json")

    def endpoint(self) -> Endpoint | None:
        """Return the address to try, None when surely nobody is there."""
        if self.unix:
            path = self.directory / f"engine-{self.key}.sock"
            return Endpoint("http://engine", uds=path) if path.exists() else None
        try:
            file = self.directory / f"engine-{self.key}.json"
            found = json.loads(file.read_text(encoding="utf-8"))
            return Endpoint(f"http://127.0.0.1:{found['port']}", token=found["token"])
        except (OSError, ValueError, KeyError):
            return None


def runtime_dir() -> Path:
    """Return the directory for sockets and locks, made if need be, closed to other users.

    Raises EngineStartError when somebody else owns it.
    """
    path = Path(os.environ.get(_RUNTIME_VARIABLE) or _system_runtime_dir())
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH - len("/engine-0123456789ab.sock"):
        path = _temporary_dir()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        state = path.stat()
    except OSError as error:
        raise EngineStartError(
            f"The runtime directory {path} cannot be used ({error.strerror}). Set "
            f"{_RUNTIME_VARIABLE} to a directory of your own."
        ) from None
    if hasattr(os, "getuid"):
        if state.st_uid != os.getuid():
            raise EngineStartError(
                f"The runtime directory {path} belongs to another user. Set {_RUNTIME_VARIABLE} to "
                "a directory of your own."
            )
        if stat.S_IMODE(state.st_mode) & 0o077:
            path.chmod(0o700)
    return path


def _system_runtime_dir() -> Path:
    # Without a login session, in a container say, Linux has no runtime directory for the user.
    if sys.platform.startswith("linux") and "XDG_RUNTIME_DIR" not in os.environ:
        return _temporary_dir()
    return Path(platformdirs.user_runtime_dir(_APP))


def _temporary_dir() -> Path:
    return Path(tempfile.gettempdir()) / f"{_APP}-{_user()}"


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
