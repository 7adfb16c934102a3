"""The servers under load: our `serve`, vLLM, or any server with OpenAI's API by its URL.

Each is started as an admin would start it, without the environment variables that configure
our engine's threads.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psutil

from benchmarks.load.connection import Address
from benchmarks.peers.process import peer_environment
from engine.client.servers.ours import is_our_model
from engine.loading.on_disk import EMBEDDED_DIR
from engine.server.users.key_file import StoredLimits, create_key

_ROOT = Path(__file__).parents[2]
_START_TIMEOUT_S = 300.0
_POLL_S = 0.5
_STOP_TIMEOUT_S = 30.0
_MIB = 1 << 20
_VLLM_MODEL = "starcoder-demo"
_VLLM_CACHE_GIB = "2"
"""Memory of vLLM's KV cache: that of 128 windows of the demo model takes less."""


@dataclass
class Server:
    """A running server."""

    name: str
    url: str
    model: str
    is_ours: bool
    tokens: Sequence[str] = ()
    """Keys of the users, in turn; empty if the server needs none."""
    process: psutil.Process | None = None
    """The server's first process; None for a server on another machine."""
    memory: list[tuple[float, float]] = field(default_factory=list)
    """Seconds of `time.perf_counter`, and resident memory of all its processes in MiB."""
    _processes: list[psutil.Process] = field(default_factory=list)

    @property
    def address(self) -> Address:
        """Host and port."""
        parts = urlsplit(self.url)
        return Address(parts.hostname or "127.0.0.1", parts.port or 80)

    @property
    def headers(self) -> dict[str, str]:
        """The headers with which this program itself asks the server."""
        return {"Authorization": f"Bearer {self.tokens[0]}"} if self.tokens else {}

    def token_of(self, user: int) -> str | None:
        """Return the key of a user, None if the server needs none."""
        return self.tokens[user % len(self.tokens)] if self.tokens else None

    def find_processes(self) -> None:
        """Find the processes of the server. This reads all processes of the machine, so it is done
        before a measurement."""
        if self.process is not None:
            self._processes = [self.process, *self.process.children(recursive=True)]

    def sample_memory(self) -> None:
        """Record the memory of all processes of the server."""
        total = 0
        for process in self._processes:
            with suppress(psutil.Error):
                total += process.memory_info().rss
        if total:
            self.memory.append((time.perf_counter(), total / _MIB))

    def processor_seconds(self) -> float:
        """Return the processor seconds of all processes of the server so far."""
        total = 0.0
        for process in self._processes:
            with suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def metrics(self) -> str:
        """Return the server's metrics in Prometheus' format, empty if it has none."""
        with suppress(httpx2.HTTPError):
            response = httpx2.get(f"{self.url}/metrics", headers=self.headers, timeout=10)
            return response.text if response.is_success else ""
        return ""


def existing_server(url: str, tokens: Sequence[str]) -> Server:
    """Return a server that runs already. Its memory is measured if it is ours on this machine."""
    base = url.rstrip("/").removesuffix("/v1")
    server = Server(url, base, "", is_ours=False, tokens=tokens)
    entry = httpx2.get(f"{base}/v1/models", headers=server.headers, timeout=10).json()["data"][0]
    server.model, server.is_ours = entry["id"], is_our_model(entry)
    if server.is_ours and server.address.host in ("127.0.0.1", "localhost"):
        health = httpx2.get(f"{base}/health", headers=server.headers, timeout=10).json()
        with suppress(psutil.Error, TypeError):
            server.process = psutil.Process(health.get("pid"))
    return server


@contextmanager
def our_server(model: str, port: int, num_users: int) -> Iterator[Server]:
    """Run `serve` until the end of the block, with a key for each user."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "keys.json"
        tokens = [create_key(file, f"user-{n}", StoredLimits()) for n in range(num_users)]
        command = [
            sys.executable,
            *("-m", "lsp_server", "serve", "--model", model, "--port", str(port)),
            *("--keys", str(file)),
        ]
        with _running("serve", command, port, tokens, {"PYTHONPATH": str(_ROOT)}) as server:
            yield server


@contextmanager
def vllm_server(python: Path, model: str, port: int) -> Iterator[Server]:
    """Run vLLM until the end of the block, with what makes it fastest for this use.

    Its graphs are compiled, prompts share prefixes, and completions come before chats.
    """
    folder = EMBEDDED_DIR if model == "demo" else Path(model)
    with tempfile.TemporaryDirectory() as home:
        command = [
            str(python),
            *("-m", "vllm.entrypoints.openai.api_server"),
            *("--model", str(folder), "--served-model-name", _VLLM_MODEL),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--max-model-len", "1024", "--dtype", "float32", "--generation-config", "vllm"),
            *("--enable-prefix-caching", "--enable-prompt-tokens-details"),
            *("--scheduling-policy", "priority", "--disable-uvicorn-access-log"),
        ]
        environment = {
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CPU_KVCACHE_SPACE": _VLLM_CACHE_GIB,
            "HOME": home,
            "VLLM_CACHE_ROOT": home,
        }
        with _running("vLLM", command, port, (), environment) as server:
            yield server


@contextmanager
def _running(
    name: str, command: Sequence[str], port: int, tokens: Sequence[str], variables: dict[str, str]
) -> Iterator[Server]:
    """Run a program until the end of the block. Raises RuntimeError with the end of its log."""
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**peer_environment(), **variables}
        )
        try:
            headers = {"Authorization": f"Bearer {tokens[0]}"} if tokens else {}
            while not _is_ready(url, headers):
                if process.poll() is not None:
                    log.seek(0)
                    end = log.read()[-2000:].decode(errors="replace")
                    raise RuntimeError(f"{name} ended with {process.returncode}:\n{end}")
                time.sleep(_POLL_S)
            server = existing_server(url, tokens)
            server.name, server.process = name, psutil.Process(process.pid)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _is_ready(url: str, headers: dict[str, str]) -> bool:
    """Return whether the server lists its model, which it does only when it is loaded."""
    try:
        return httpx2.get(f"{url}/v1/models", headers=headers, timeout=60).is_success
    except httpx2.HTTPError:
        return False
