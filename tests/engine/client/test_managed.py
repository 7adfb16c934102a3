"""The engine process: one for all who share its settings, back after every end."""

import asyncio
import json
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock

from engine.api import EngineState, GenerationRequest
from engine.client.endpoint import RuntimeFiles
from engine.client.managed import ManagedEngine
from engine.errors import EngineLostError, EngineStartError, ModelNotFoundError
from engine.settings import EngineSettings
from tests.checkpoint_maker import make_checkpoint
from tests.engine.server.serving import until

LONG = GenerationRequest((20, 21, 22), 8000)
SHORT = GenerationRequest((20, 21, 22), 2)

ASK = """
import asyncio, sys
from engine.client.managed import ManagedEngine
from engine.settings import EngineSettings

async def main():
    engine = ManagedEngine(EngineSettings(model=sys.argv[1], device="cpu"))
    print((await engine.info()).pid)
    await engine.aclose()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def long_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that writes for seconds."""
    return make_checkpoint(tmp_path_factory.mktemp("long"), n_positions=8192)


def engines_of(runtime: Path) -> list[psutil.Process]:
    """Every process that was told to listen in this directory."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(f"={runtime}/" in argument for argument in process.cmdline()):
                found.append(process)
    return found


@pytest.fixture(autouse=True)
async def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """Directories of the test's own; what was started there ends with it."""
    directory = tmp_path / "run"
    monkeypatch.setenv("STARCODER_LSP_RUNTIME_DIR", str(directory))
    monkeypatch.setenv("STARCODER_LSP_LOG_DIR", str(tmp_path / "log"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield directory
    for process in engines_of(directory):
        process.kill()
        process.wait(10)


Make = Callable[..., ManagedEngine]


@pytest.fixture
async def make(long_checkpoint: Path) -> AsyncIterator[Make]:
    made: list[ManagedEngine] = []

    def managed(*, unix: bool | None = None, **settings: Any) -> ManagedEngine:
        made.append(ManagedEngine(settings_of(long_checkpoint, **settings), unix=unix))
        return made[-1]

    yield managed
    for engine in made:
        await engine.aclose()


def settings_of(checkpoint: Path, **settings: Any) -> EngineSettings:
    return EngineSettings(**{"model": str(checkpoint), "device": "cpu", **settings})


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def pid_of(engine: ManagedEngine) -> int:
    pid = (await engine.health()).pid
    assert pid is not None
    return pid


def kill(pid: int) -> None:
    process = psutil.Process(pid)
    process.send_signal(signal.SIGKILL)
    process.wait(10)


async def text(engine: ManagedEngine, request: GenerationRequest) -> str:
    return "".join([chunk.text async for chunk in engine.stream(request)])


async def test_servers_that_start_at_once_share_one_engine(
    long_checkpoint: Path, make: Make, runtime: Path
) -> None:
    servers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", ASK, str(long_checkpoint), stdout=subprocess.PIPE
        )
        for _ in range(3)
    ]
    told = [int((await server.communicate())[0]) for server in servers]
    assert len(set(told)) == 1
    assert [process.pid for process in engines_of(runtime)] == told[:1]
    # It outlives them, and who comes later finds it.
    first, second = make(), make()
    assert (await first.info()).pid == (await second.info()).pid == told[0]


async def test_only_this_user_may_reach_it(
    make: Make, runtime: Path, long_checkpoint: Path
) -> None:
    runtime.mkdir(mode=0o755)
    asked = asyncio.create_task(make().info())
    await until(lambda: bool(list(runtime.glob("*.sock"))), 20)
    asked.cancel()
    sockets = list(runtime.glob("*.sock"))
    assert [path.name for path in sockets] == [f"engine-{settings_of(long_checkpoint).key}.sock"]
    assert mode(sockets[0]) == 0o600
    assert mode(runtime) == 0o700


async def test_over_loopback_with_a_token_in_a_file(make: Make, runtime: Path) -> None:
    engine = make(unix=False)
    assert await text(engine, SHORT) == await text(make(unix=False), SHORT)
    assert list(runtime.glob("*.sock")) == []
    (file,) = runtime.glob("*.json")
    assert mode(file) == 0o600
    token = json.loads(file.read_text(encoding="utf-8"))["token"]
    (process,) = engines_of(runtime)
    assert token not in " ".join(process.cmdline())
    assert {at.laddr.ip for at in process.net_connections() if at.status == "LISTEN"} == {
        "127.0.0.1"
    }


async def test_killed_in_mid_answer(make: Make) -> None:
    engine = make()
    stream = engine.stream(LONG)
    await anext(stream)
    first = await pid_of(engine)
    kill(first)
    with pytest.raises(EngineLostError):
        [chunk async for chunk in stream]
    await text(engine, SHORT)
    assert await pid_of(engine) != first
    assert (await engine.info()).pid == await pid_of(engine)


async def test_killed_while_nobody_asks(make: Make, runtime: Path) -> None:
    engine = make()
    said = await text(engine, SHORT)
    first = await pid_of(engine)
    kill(first)
    (stale,) = runtime.glob("*.sock")
    # Neither who was connected nor who comes now is held up by the file that is left.
    newcomer = make()
    assert await text(newcomer, SHORT) == said
    assert await text(engine, SHORT) == said
    assert await pid_of(engine) == await pid_of(newcomer) != first
    assert stale.exists()


async def test_an_idle_engine_leaves_and_comes_back_when_it_is_asked(
    make: Make, runtime: Path
) -> None:
    engine = make(idle_timeout_s=1.5)
    said = await text(engine, SHORT)
    (process,) = engines_of(runtime)
    (path,) = runtime.glob("*.sock")
    await asyncio.to_thread(process.wait, 15)
    assert not path.exists()
    assert engines_of(runtime) == []
    assert await text(engine, SHORT) == said
    (another,) = engines_of(runtime)
    assert another.pid != process.pid


async def test_an_engine_that_is_leaving_does_not_block_the_next(
    make: Make, runtime: Path, long_checkpoint: Path
) -> None:
    runtime.mkdir(mode=0o700)
    leaving = FileLock(runtime / f"engine-{settings_of(long_checkpoint).key}.alive")
    leaving.acquire()
    engine = make()
    asked = asyncio.create_task(engine.info())
    log = RuntimeFiles.for_settings(settings_of(long_checkpoint)).log_file
    await until(lambda: log.exists() and "already serves" in log.read_text(), 20)
    leaving.release()
    assert (await asyncio.wait_for(asked, 20)).pid is not None


async def test_a_model_that_cannot_be_loaded_is_told_in_its_own_words(
    make: Make, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    engine = make(model=str(tmp_path / "empty"))
    with pytest.raises(ModelNotFoundError, match=r"config\.json") as told:
        await engine.info()
    health = await engine.health()
    assert health.state is EngineState.FAILED
    assert health.detail == told.value.user_message


async def test_a_command_that_fails_is_told_with_its_last_words() -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such luck')"]
    engine = ManagedEngine(EngineSettings(), command)
    with pytest.raises(EngineStartError, match="no such luck"):
        await engine.info()


async def test_asking_for_health_starts_nothing(make: Make, runtime: Path) -> None:
    health = await make().health()
    assert health.state is EngineState.STARTING
    assert health.pid is None
    await asyncio.sleep(0.2)
    assert engines_of(runtime) == []


async def test_who_gives_up_does_not_abandon_the_start(make: Make, runtime: Path) -> None:
    engine = make()
    impatient = asyncio.create_task(text(engine, SHORT))
    await until(lambda: len(engines_of(runtime)) == 1, 20)
    impatient.cancel()
    with suppress(asyncio.CancelledError):
        await impatient
    (process,) = engines_of(runtime)
    assert (await engine.info()).pid == process.pid


async def test_nothing_is_imported_from_the_users_project(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor starts us in the project; its modules may have any name, and are not ours."""
    project = tmp_path / "project"
    project.mkdir()
    for name in ("engine", "numbers", "torch", "chat"):
        (project / f"{name}.py").write_text("raise SystemExit('the project ran')\n")
    monkeypatch.chdir(project)
    engine = ManagedEngine(EngineSettings(model=str(tiny_checkpoint), device="cpu"))
    assert (await engine.info()).model == str(tiny_checkpoint)
    await engine.aclose()
