"""A server in processes of its own, which always end with the process that started it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import httpx2

from benchmarks.peers.process import peer_environment

_LEASH = Path(__file__).with_name("leash.py")
_POLL_S = 0.1
_ANSWER_S = 5.0
_STOP_S = 10.0
_LINES_OF_LOG = 15


class ServerProcess:
    """A server that was started with a command. `folder` is its home, and has its log."""

    def __init__(
        self,
        command: Sequence[object],
        folder: Path,
        port: int,
        *,
        token: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the server; `token` is the key that it asks for."""
        self.url, self.token, self.port = f"http://127.0.0.1:{port}", token, port
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "log"
        with self.log.open("ab") as log:
            self._leash = subprocess.Popen(
                [sys.executable, "-P", _LEASH, *map(str, command)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env=_environment(folder) | dict(environment or {}),
                start_new_session=True,  # what ends our process group must not end the leash first
            )
        assert self._leash.stdout is not None
        self._group = int(self._leash.stdout.readline())

    def wait_until_ready(self, seconds: float, path: str = "/health") -> None:
        """Wait until the server answers at `path`. Raises RuntimeError with the end of its log."""
        deadline = time.monotonic() + seconds
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        with httpx2.Client(headers=headers, timeout=_ANSWER_S, trust_env=False) as http:
            while time.monotonic() < deadline and self.is_running:
                with suppress(httpx2.HTTPError):
                    if http.get(f"{self.url}{path}").is_success:
                        return
                time.sleep(_POLL_S)
        log = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        raise RuntimeError("the server is not ready:\n" + "\n".join(log[-_LINES_OF_LOG:]))

    @property
    def is_running(self) -> bool:
        """Whether the server's first process has not ended."""
        return self._leash.poll() is None

    def suspend(self) -> None:
        """Stop all its processes, as a debugger does: they accept connections and never answer."""
        os.killpg(self._group, signal.SIGSTOP)

    def resume(self) -> None:
        """Let its processes go on."""
        os.killpg(self._group, signal.SIGCONT)

    def stop(self) -> None:
        """End all its processes."""
        assert self._leash.stdin is not None
        assert self._leash.stdout is not None
        self._leash.stdin.close()
        try:
            self._leash.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._group, signal.SIGKILL)
            self._leash.wait(_STOP_S)
        self._leash.stdout.close()


def free_port() -> int:
    """Return a port of 127.0.0.1 at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _environment(folder: Path) -> dict[str, str]:
    """Return an environment in which a server writes only to `folder`, and asks no hub."""
    inherited = ("PATH", "LANG", "LD_LIBRARY_PATH", "TMPDIR")
    environment = {name: value for name, value in peer_environment().items() if name in inherited}
    return environment | {
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
