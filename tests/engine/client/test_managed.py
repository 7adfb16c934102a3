"""The engine process: one for all clients with the same settings, restarted after every end."""

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

from benchmarks.robustness.processes import engines_in
from engine.api import EngineState, GenerationRequest, Health
from engine.client.companion import model_to_reserve_for
from engine.client.endpoint import RuntimeFiles
from engine.client.engine_key import engine_key
from engine.client.managed import ManagedEngine
from engine.errors import (
    EngineLostError,
    EngineReplacedError,
    EngineSilentError,
    EngineStartError,
    ModelNotFoundError,
)
from engine.settings import EngineSettings
from tests.checkpoint_maker import make_checkpoint
from tests.engine.server.serving import until

LONG = GenerationRequest((20, 21, 22), 8000)
SHORT = GenerationRequest((20, 21, 22), 2)

PRINT_PID = """
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
    """A model with a window so long that an output takes seconds."""
    return make_checkpoint(tmp_path_factory.mktemp("long"), n_positions=8192)


@pytest.fixture(autouse=True)
async def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """Give the test its own directories, and kill the engines started there at its end."""
    directory = tmp_path / "run"
    monkeypatch.setenv("STARCODER_LSP_RUNTIME_DIR", str(directory))
    monkeypatch.setenv("STARCODER_LSP_LOG_DIR", str(tmp_path / "log"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield directory
    for process in engines_in(directory):
        process.kill()
        process.wait(10)


Make = Callable[..., ManagedEngine]


@pytest.fixture
async def make(long_checkpoint: Path) -> AsyncIterator[Make]:
    engines: list[ManagedEngine] = []

    def managed(
        *, unix: bool | None = None, companion: EngineSettings | None = None, **settings: Any
    ) -> ManagedEngine:
        own = settings_of(long_checkpoint, **{"model": str(long_checkpoint), **settings})
        engines.append(ManagedEngine(own, companion=companion, unix=unix))
        return engines[-1]

    yield managed
    for engine in engines:
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


async def test_servers_that_start_together_share_one_engine(
    long_checkpoint: Path, make: Make, runtime: Path
) -> None:
    servers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", PRINT_PID, str(long_checkpoint), stdout=subprocess.PIPE
        )
        for _ in range(3)
    ]
    pids = [int((await server.communicate())[0]) for server in servers]
    assert len(set(pids)) == 1
    assert [process.pid for process in engines_in(runtime)] == pids[:1]
    # The engine outlives those servers, and later clients find it.
    first, second = make(), make()
    assert (await first.info()).pid == (await second.info()).pid == pids[0]


async def test_only_this_user_can_connect(make: Make, runtime: Path, long_checkpoint: Path) -> None:
    runtime.mkdir(mode=0o755)
    info = asyncio.create_task(make().info())
    await until(lambda: bool(list(runtime.glob("*.sock"))), 20)
    info.cancel()
    sockets = list(runtime.glob("*.sock"))
    key = engine_key(settings_of(long_checkpoint))
    assert [path.name for path in sockets] == [f"engine-{key}.sock"]
    assert mode(sockets[0]) == 0o600
    assert mode(runtime) == 0o700


async def test_without_unix_sockets_loopback_needs_a_token_from_a_file(
    make: Make, runtime: Path
) -> None:
    engine = make(unix=False)
    assert await text(engine, SHORT) == await text(make(unix=False), SHORT)
    assert list(runtime.glob("*.sock")) == []
    (file,) = runtime.glob("*.json")
    assert mode(file) == 0o600
    token = json.loads(file.read_text(encoding="utf-8"))["token"]
    (process,) = engines_in(runtime)
    assert token not in " ".join(process.cmdline())
    listening = [c for c in process.net_connections() if c.status == "LISTEN"]
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}


async def test_an_engine_killed_during_a_request_is_restarted_by_the_next(make: Make) -> None:
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


async def test_an_engine_killed_between_requests_is_restarted(make: Make, runtime: Path) -> None:
    engine = make()
    output = await text(engine, SHORT)
    first = await pid_of(engine)
    kill(first)
    (stale,) = runtime.glob("*.sock")
    # The stale socket delays neither the connected client nor a new one.
    new_client = make()
    assert await text(new_client, SHORT) == output
    assert await text(engine, SHORT) == output
    assert await pid_of(engine) == await pid_of(new_client) != first
    assert stale.exists()
    kill(await pid_of(engine))
    assert await text(engine, SHORT) == output  # no other client has started it meanwhile


async def test_a_start_that_is_killed_is_repeated(
    tmp_path: Path, runtime: Path, long_checkpoint: Path
) -> None:
    """As by the kernel when memory runs out. But a process that always ends is not repeated."""
    starts = tmp_path / "starts"
    script = (
        "import os, signal, sys; "
        f"open({str(starts)!r}, 'a').write('x'); "
        f"len(open({str(starts)!r}).read()) <= NUMBER and os.kill(os.getpid(), signal.SIGKILL); "
        "os.execv(sys.executable, [sys.executable, '-m', 'engine', *sys.argv[1:]])"
    )
    settings = settings_of(long_checkpoint)
    engine = ManagedEngine(settings, [sys.executable, "-c", script.replace("NUMBER", "2")])
    assert (await engine.info()).pid == engines_in(runtime)[0].pid
    await engine.aclose()
    kill(engines_in(runtime)[0].pid)
    starts.unlink()
    engine = ManagedEngine(settings, [sys.executable, "-c", script.replace("NUMBER", "99")])
    with pytest.raises(EngineStartError, match="status -9"):
        await asyncio.wait_for(engine.info(), 30)
    assert len(starts.read_text()) == 3
    await engine.aclose()


async def test_an_engine_that_is_stopped_is_reported_and_not_replaced(
    make: Make, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.client.watchdog.SILENCE_S", 0.2)
    monkeypatch.setattr("engine.client.connection._HEALTH_SECONDS", 0.5)
    engine = make()
    output = await text(engine, SHORT)
    (process,) = engines_in(runtime)
    process.suspend()
    try:
        for client in (engine, make()):
            with pytest.raises(EngineSilentError, match="does not answer"):
                await asyncio.wait_for(text(client, SHORT), 10)
            health = await client.health()
            assert health.state is EngineState.FAILED
            assert "does not answer" in health.detail
    finally:
        process.resume()
    assert await text(engine, SHORT) == output
    assert engines_in(runtime) == [process]


async def test_an_engine_that_has_ended_is_starting(make: Make, runtime: Path) -> None:
    engine = make()
    await engine.info()
    kill(await pid_of(engine))
    assert (await engine.health()).state is EngineState.STARTING
    assert (await make().health()).state is EngineState.STARTING
    assert engines_in(runtime) == []


async def test_a_restarted_engine_with_another_model_gets_no_old_token_ids(make: Make) -> None:
    """The setting `auto` may choose another model when the engine starts again."""
    engine = make()
    await engine.info()
    engine._known_model = "another"
    with pytest.raises(EngineReplacedError, match="now has the model"):
        await text(engine, SHORT)
    assert await text(engine, SHORT)  # the caller knows the model now


async def test_an_idle_engine_exits_and_the_next_request_restarts_it(
    make: Make, runtime: Path
) -> None:
    engine = make(idle_timeout_s=1.5)
    output = await text(engine, SHORT)
    (process,) = engines_in(runtime)
    (path,) = runtime.glob("*.sock")
    await asyncio.to_thread(process.wait, 15)
    assert not path.exists()
    assert engines_in(runtime) == []
    assert await text(engine, SHORT) == output
    (another,) = engines_in(runtime)
    assert another.pid != process.pid


async def test_an_engine_that_is_exiting_does_not_block_the_next(
    make: Make, runtime: Path, long_checkpoint: Path
) -> None:
    runtime.mkdir(mode=0o700)
    exiting = FileLock(runtime / f"engine-{engine_key(settings_of(long_checkpoint))}.alive")
    exiting.acquire()
    engine = make()
    info = asyncio.create_task(engine.info())
    log = RuntimeFiles.for_settings(settings_of(long_checkpoint)).log_file
    await until(lambda: log.exists() and "already serves" in log.read_text(), 20)
    exiting.release()
    assert (await asyncio.wait_for(info, 20)).pid is not None


async def test_a_model_that_cannot_be_loaded_is_reported_with_its_message(
    make: Make, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    engine = make(model=str(tmp_path / "empty"))
    with pytest.raises(ModelNotFoundError, match=r"config\.json") as raised:
        await engine.info()
    health = await engine.health()
    assert health.state is EngineState.FAILED
    assert health.detail == raised.value.user_message


def reserves_of(runtime: Path) -> list[str]:
    """Return the models for which the running engines reserve memory."""
    return [
        argument.removeprefix("--reserve-for=")
        for process in engines_in(runtime)
        for argument in process.cmdline()
        if argument.startswith("--reserve-for=")
    ]


async def test_the_first_of_two_engines_reserves_memory_for_the_second(
    make: Make, runtime: Path, long_checkpoint: Path, tiny_checkpoint: Path
) -> None:
    companion = settings_of(tiny_checkpoint)
    first = make(companion=companion)
    await first.info()
    assert reserves_of(runtime) == [str(tiny_checkpoint)]
    second = make(model=str(tiny_checkpoint), companion=settings_of(long_checkpoint))
    await second.info()
    assert reserves_of(runtime) == [str(tiny_checkpoint)]
    assert len(engines_in(runtime)) == 2
    # Clients with another companion, or without one, share the engine.
    assert (await make().info()).pid == (await first.info()).pid


@pytest.mark.parametrize(
    ("state", "pid", "seconds", "expected"),
    [
        (EngineState.READY, 1, 30.0, None),
        (EngineState.FAILED, 1, 30.0, None),
        (EngineState.FAILED, None, 30.0, "other"),  # nothing answers at a stale socket
        (EngineState.STARTING, None, 30.0, "other"),
        (EngineState.LOADING, 1, 0.0, "other"),
    ],
)
async def test_memory_is_reserved_for_a_model_that_is_not_in_memory_yet(
    monkeypatch: pytest.MonkeyPatch,
    state: EngineState,
    pid: int | None,
    seconds: float,
    expected: str | None,
) -> None:
    async def health(*_: object) -> Health:
        return Health(state, pid=pid)

    monkeypatch.setattr("engine.client.companion.health_of", health)
    monkeypatch.setattr("engine.client.companion.MAX_WAIT_S", seconds)
    assert await model_to_reserve_for(EngineSettings("other"), None) == expected


async def test_an_engine_starts_after_its_companion_has_loaded(
    monkeypatch: pytest.MonkeyPatch, make: Make, runtime: Path, tiny_checkpoint: Path
) -> None:
    state = EngineState.LOADING

    async def health(*_: object) -> Health:
        return Health(state, pid=1)

    monkeypatch.setattr("engine.client.companion.health_of", health)
    engine = make(companion=settings_of(tiny_checkpoint))
    info = asyncio.create_task(engine.info())
    await asyncio.sleep(0.3)
    assert engines_in(runtime) == []
    assert str(tiny_checkpoint) in (await engine.health()).detail
    state = EngineState.READY
    await asyncio.wait_for(info, 20)
    assert reserves_of(runtime) == []


async def test_a_failing_command_is_reported_with_its_last_log_line() -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such luck')"]
    engine = ManagedEngine(EngineSettings(), command)
    with pytest.raises(EngineStartError, match="no such luck"):
        await engine.info()


async def test_a_health_check_starts_no_engine(make: Make, runtime: Path) -> None:
    health = await make().health()
    assert health.state is EngineState.STARTING
    assert health.pid is None
    await asyncio.sleep(0.2)
    assert engines_in(runtime) == []


async def test_a_cancelled_request_does_not_cancel_the_start(make: Make, runtime: Path) -> None:
    engine = make()
    cancelled = asyncio.create_task(text(engine, SHORT))
    await until(lambda: len(engines_in(runtime)) == 1, 20)
    cancelled.cancel()
    with suppress(asyncio.CancelledError):
        await cancelled
    (process,) = engines_in(runtime)
    assert (await engine.info()).pid == process.pid


async def test_nothing_is_imported_from_the_users_project(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Editors start the server in the project, whose modules may have any name."""
    project = tmp_path / "project"
    project.mkdir()
    for name in ("engine", "numbers", "torch", "chat"):
        (project / f"{name}.py").write_text("raise SystemExit('the project ran')\n")
    monkeypatch.chdir(project)
    engine = ManagedEngine(EngineSettings(model=str(tiny_checkpoint), device="cpu"))
    assert (await engine.info()).model == str(tiny_checkpoint)
    await engine.aclose()
