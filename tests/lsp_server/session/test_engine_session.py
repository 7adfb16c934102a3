"""The engine of a session, and the reports on its state."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from lsprotocol import types

from engine.api import EngineInfo, EngineState, Health
from engine.errors import ConfigurationError, EngineUnavailableError, StarcoderError
from engine.scripted import ScriptedEngine, byte_tokenizer
from engine.tokenizer import Tokenizer
from lsp_server.session.background_tasks import BackgroundTasks
from lsp_server.session.engine_choice import EngineChoice
from lsp_server.session.engine_session import EngineSession
from lsp_server.session.status import State, StatusReporter
from lsp_server.settings import Settings


class FakeServer:
    """A server whose client shows nothing."""

    client_capabilities = types.ClientCapabilities()

    def __init__(self) -> None:
        self.protocol = self

    def notify(self, method: str, params: Any) -> None:
        pass

    def window_show_message(self, params: Any) -> None:
        pass


@dataclass
class LoadingEngine(ScriptedEngine):
    """An engine that loads its model until `loaded` is set."""

    name: str = ""
    loaded: asyncio.Event = field(default_factory=asyncio.Event)

    async def info(self) -> EngineInfo:
        await self.loaded.wait()
        return replace(await super().info(), model=self.name)


def make_engine(choice: EngineChoice) -> LoadingEngine:
    return LoadingEngine(lambda _: "", name=choice.process.model)


def new_session(settings: Settings) -> tuple[EngineSession, StatusReporter]:
    status = StatusReporter(FakeServer())  # type: ignore[arg-type]
    session = EngineSession(make_engine, settings, status, BackgroundTasks(), lambda: None)
    return session, status


async def test_the_status_shows_the_current_engine_and_not_the_one_that_it_replaced() -> None:
    session, status = new_session(Settings(model="old"))
    old = session.current
    old_start = asyncio.create_task(session.start())
    await asyncio.sleep(0)
    session.apply_settings(Settings(model="new"))
    new = session.current
    assert isinstance(old, LoadingEngine)
    assert isinstance(new, LoadingEngine)
    new.loaded.set()
    while not status.current.model:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    old.loaded.set()
    await old_start
    assert status.current.model == "new"


@pytest.mark.parametrize(
    ("special", "words"),
    [(("<|endoftext|>",), "completes left to right"), (("<fim_prefix>",), "left to right")],
)
async def test_the_status_says_what_a_model_without_fim_tokens_cannot_do(
    special: tuple[str, ...], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    session, status = new_session(Settings(model="plain"))
    assert isinstance(session.current, LoadingEngine)
    session.current.model_tokenizer = byte_tokenizer(special)
    session.current.loaded.set()
    await session.start()
    assert status.current.state == "ready"
    assert words in status.current.message
    assert status.current.message in caplog.text


async def test_a_server_without_a_tokenizer_is_ready_nevertheless() -> None:
    @dataclass
    class WithoutTokenizer(LoadingEngine):
        async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
            raise ConfigurationError("no tokenizer")

    status = StatusReporter(FakeServer())  # type: ignore[arg-type]
    engine = WithoutTokenizer(lambda _: "", name="elsewhere")
    engine.loaded.set()
    session = EngineSession(lambda _: engine, Settings(), status, BackgroundTasks(), lambda: None)
    await session.start()
    assert (status.current.state, status.current.message) == ("ready", "")


async def test_settings_that_name_the_same_engine_keep_it() -> None:
    session, _ = new_session(Settings(model="old"))
    engine = session.current
    session.apply_settings(Settings(model="old", enabled=False))
    assert session.current is engine


async def test_an_engine_that_cannot_be_created_leaves_the_present_one_open() -> None:
    @dataclass
    class ClosingEngine(ScriptedEngine):
        closed: bool = False

        async def aclose(self) -> None:
            self.closed = True

    def make(choice: EngineChoice) -> ScriptedEngine:
        if choice.tokenizer is not None:
            raise RuntimeError("Could not determine home directory.")
        return ClosingEngine(lambda _: "")

    status, background = StatusReporter(FakeServer()), BackgroundTasks()  # type: ignore[arg-type]
    session = EngineSession(make, Settings(), status, background, lambda: None)
    engine = session.current
    assert isinstance(engine, ClosingEngine)
    for _ in range(2):  # a second time, since the settings that failed are not the current ones
        with pytest.raises(RuntimeError):
            session.apply_settings(Settings(tokenizer="~nobody/model"))
        await asyncio.sleep(0.01)
        assert session.current is engine
        assert not engine.closed
    session.apply_settings(Settings(model="new"))
    await asyncio.sleep(0.01)
    assert session.current is not engine
    assert engine.closed


async def test_only_an_engine_that_cannot_be_reached_may_return_with_another_model() -> None:
    num_unavailable = 0

    def on_unavailable() -> None:
        nonlocal num_unavailable
        num_unavailable += 1

    settings, status = Settings(), StatusReporter(FakeServer())  # type: ignore[arg-type]
    session = EngineSession(make_engine, settings, status, BackgroundTasks(), on_unavailable)
    session.report_failure(StarcoderError("The prompt is too long."))
    assert num_unavailable == 0
    session.report_failure(EngineUnavailableError("No engine answers."))
    assert num_unavailable == 1


@dataclass
class SlowEngine(ScriptedEngine):
    """An engine in a given state."""

    state: EngineState = EngineState.LOADING
    num_checks: int = 0

    async def health(self) -> Health:
        self.num_checks += 1
        return Health(self.state)


@pytest.mark.parametrize(
    ("state", "is_answered", "shown"),
    [
        (EngineState.LOADING, False, True),
        (EngineState.STARTING, False, True),
        (EngineState.READY, False, False),
        (EngineState.LOADING, True, False),
    ],
)
async def test_the_user_sees_that_the_engine_loads_if_no_answer_comes(
    monkeypatch: pytest.MonkeyPatch, state: EngineState, is_answered: bool, shown: bool
) -> None:
    monkeypatch.setattr("lsp_server.session.engine_session._SLOW_ANSWER_S", 0.01)
    engine = SlowEngine(lambda _: "", state=state)
    status = StatusReporter(FakeServer())  # type: ignore[arg-type]
    background = BackgroundTasks()
    session = EngineSession(lambda _: engine, Settings(), status, background, lambda: None)
    status.update(state=State.READY)
    num_starts = 0

    async def count_start() -> None:
        nonlocal num_starts
        num_starts += 1

    monkeypatch.setattr(session, "start", count_start)
    for _ in range(3):  # keys that cancel each other start one check together
        session.report_request()
    if is_answered:
        session.report_success()
    await asyncio.sleep(0.05)
    assert num_starts == shown
    assert engine.num_checks == (not is_answered)
    background.cancel_all()
