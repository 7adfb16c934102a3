"""`make test-servers` installs the servers. Without them, these tests are skipped."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.servers.fleet import PARTS, Fleet
from benchmarks.servers.kinds import INSTALLED, Place
from benchmarks.servers.process import ServerProcess
from engine.client.endpoint import Endpoint
from engine.client.http import HttpEngine
from engine.client.remote_model import RemoteModel
from engine.loading.on_disk import EMBEDDED_DIR
from engine.local import LocalEngine
from engine.settings import EngineSettings
from tests.conftest import OPTIONAL

REPORT_NO_PROBABILITIES = {"litellm"}
"""LiteLLM drops the log-probabilities of its own server."""


def require(servers: Fleet, name: str) -> None:
    """Skip a test whose server is not installed, or fail it if all tests must run."""
    if reason := servers.why_missing(name):
        if os.environ.get("STARCODER_LSP_SERVERS") == "required":
            pytest.fail(reason)
        pytest.skip(OPTIONAL + reason)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """The servers of this session."""
    fleet = Fleet(Place(INSTALLED.resolve(), tmp_path_factory.mktemp("servers")))
    yield fleet
    fleet.stop()


@pytest.fixture(scope="session", params=PARTS)
def name(request: pytest.FixtureRequest) -> str:
    """The name of each server. All tests of one run before those of the next."""
    return str(request.param)


@pytest.fixture
def server(servers: Fleet, name: str) -> ServerProcess:
    """Each server, ready."""
    require(servers, name)
    return servers[name]


def client_of(server: ServerProcess, token: str | None = None) -> HttpEngine:
    """Return our client for a server; `token` is another key than its own."""
    return HttpEngine(
        Endpoint(server.url, token=token or server.token), RemoteModel(tokenizer=EMBEDDED_DIR)
    )


@pytest.fixture
async def remote(server: ServerProcess) -> AsyncIterator[HttpEngine]:
    """Our client for each server."""
    client = client_of(server)
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
def ours() -> Iterator[LocalEngine]:
    """Our engine with the demo model, in the number format of the servers."""
    engine = LocalEngine(EngineSettings(model="demo", device="cpu", dtype="float32"))
    yield engine
    asyncio.run(engine.aclose())


def settings_for(server: ServerProcess, **more: object) -> dict[str, object]:
    """Return the settings with which a user uses a server, for completions and for chat."""
    return {
        "engineUrl": server.url,
        "engineToken": server.token,
        "tokenizer": str(EMBEDDED_DIR),
        **more,
    }


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The runtime folder of the engine processes of this session."""
    folder = tmp_path_factory.mktemp("run")
    yield folder
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in part for part in process.info["cmdline"] or ()):
            process.kill()


@pytest.fixture(autouse=True)
def own_folders(runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Share no conversations, logs and engine processes with the user."""
    monkeypatch.setenv("STARCODER_LSP_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("STARCODER_LSP_CHATS", str(tmp_path / "chats.sqlite3"))
    monkeypatch.setenv("STARCODER_LSP_LOG_DIR", str(tmp_path / "log"))


async def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until a condition holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
