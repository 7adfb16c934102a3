"""One engine process per machine: found, started, shared, replaced. Real processes throughout."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import EngineState, GenerationRequest
from engine.arguments import Listen, parse, to_argv
from engine.client.managed import ManagedEngine
from engine.errors import EngineLostError, EngineStartError, ModelNotFoundError
from engine.settings import EngineSettings
from tests.checkpoint_maker import make_checkpoint

PROMPT = tuple(range(30, 40))


def settings_of(path: Path, idle: float = 60.0) -> EngineSettings:
    return EngineSettings(model=str(path), idle_timeout_s=idle)


async def text_of(engine: ManagedEngine, count: int = 8) -> str:
    return "".join([c.text async for c in engine.stream(GenerationRequest(PROMPT, count))])


async def test_it_is_started_once_and_kept(tiny_checkpoint: Path, own_engines: Path) -> None:
    one, other = (ManagedEngine(settings_of(tiny_checkpoint)) for _ in range(2))
    assert (await one.health()).state is EngineState.STARTING
    assert not list(own_engines.glob("*.sock"))  # asking for its health starts nothing
    infos = await asyncio.gather(one.info(), other.info())
    assert infos[0].pid == infos[1].pid
    assert await text_of(one) == await text_of(other)
    (socket,) = own_engines.glob("*.sock")
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(own_engines.stat().st_mode) == 0o700
    await one.aclose()
    await other.aclose()


RACER = """
import asyncio, sys
from engine.client.managed import ManagedEngine
from engine.settings import EngineSettings
async def main():
    engine = ManagedEngine(EngineSettings(model=sys.argv[1], idle_timeout_s=60.0))
    print((await engine.info()).pid)
    await engine.aclose()
asyncio.run(main())
"""


@pytest.mark.usefixtures("own_engines")
def test_processes_that_race_get_one_engine(tiny_checkpoint: Path) -> None:
    command = [sys.executable, "-c", RACER, str(tiny_checkpoint)]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    pids = {racer.communicate(timeout=90)[0].strip() for racer in racers}
    assert len(pids) == 1
    assert psutil.pid_exists(int(pids.pop()))


@pytest.mark.usefixtures("own_engines")
async def test_killed_in_mid_stream_it_is_told_and_replaced(tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "m", n_positions=4096, n_embd=256, n_layer=8)
    engine = ManagedEngine(settings_of(model))
    pid = (await engine.info()).pid
    assert pid is not None
    stream = engine.stream(GenerationRequest(PROMPT, 4000))
    await anext(stream)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(EngineLostError, match="next one starts it again"):
        async for _ in stream:
            pass
    assert await text_of(engine)  # over the socket file that the dead one left
    assert (await engine.info()).pid != pid
    await engine.aclose()


async def test_idle_it_leaves_and_comes_back(tiny_checkpoint: Path, own_engines: Path) -> None:
    engine = ManagedEngine(settings_of(tiny_checkpoint, idle=1.0))
    before = await text_of(engine)
    async with asyncio.timeout(20):
        while list(own_engines.glob("*.sock")):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert await text_of(engine) == before
    await engine.aclose()


@pytest.mark.usefixtures("own_engines")
async def test_a_model_that_cannot_be_loaded_is_told_in_its_own_words(tmp_path: Path) -> None:
    engine = ManagedEngine(settings_of(tmp_path))
    with pytest.raises(ModelNotFoundError, match=r"no config\.json"):
        await engine.info()
    assert (await engine.health()).state is EngineState.FAILED
    await engine.aclose()


@pytest.mark.usefixtures("own_engines")
async def test_a_command_that_fails_is_told_with_its_last_words() -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such luck')"]
    engine = ManagedEngine(EngineSettings(), command)
    with pytest.raises(EngineStartError, match="no such luck"):
        await engine.info()


async def test_over_tcp_with_a_token_where_there_are_no_unix_sockets(
    tiny_checkpoint: Path, own_engines: Path
) -> None:
    one = ManagedEngine(settings_of(tiny_checkpoint), unix=False)
    other = ManagedEngine(settings_of(tiny_checkpoint), unix=False)
    assert (await one.info()).pid == (await other.info()).pid
    (file,) = own_engines.glob("*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(json.loads(file.read_text())["token"]) > 30
    await one.aclose()
    await other.aclose()


async def test_a_cancelled_request_does_not_abandon_the_start(
    tiny_checkpoint: Path, own_engines: Path
) -> None:
    engine = ManagedEngine(settings_of(tiny_checkpoint))
    for _ in range(5):  # as when somebody types while the engine starts
        asked = asyncio.create_task(text_of(engine))
        await asyncio.sleep(0.05)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
    assert await text_of(engine)
    running = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(own_engines) in part for part in process.info["cmdline"] or ())
    ]
    assert len(running) == 1
    await engine.aclose()


@given(
    model=st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1).filter(
        lambda text: not text.startswith("-")
    ),
    window=st.none() | st.integers(1, 10**6),
    offline=st.booleans(),
    idle=st.floats(0, 1e6),
)
def test_settings_survive_the_command_line(
    model: str, window: int | None, offline: bool, idle: float
) -> None:
    settings = EngineSettings(
        model=model, context_window=window, offline=offline, idle_timeout_s=idle
    )
    parsed, listen, _ = parse(to_argv(settings, Listen(uds=Path("/run/x.sock"))))
    assert parsed == settings
    assert parsed.key == settings.key
    assert listen.uds == Path("/run/x.sock")
