"""The engine of chat: shared with completions, or its own."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from engine.api import EngineInfo, EngineState, GenerationRequest, Health
from engine.client.managed import ManagedEngine
from engine.client.remote import RemoteEngine
from engine.errors import ModelNotFoundError, RequestError
from engine.scripted import ScriptedEngine
from engine.settings import EngineSettings
from lsp_server.session.background_tasks import BackgroundTasks
from lsp_server.session.chat_engine import ChatEngineSession
from lsp_server.session.engine_choice import (
    EngineChoice,
    chat_engine,
    completion_engine,
    create_engine,
)
from lsp_server.session.engine_session import EngineSession
from lsp_server.session.status import ChatStatus, State, StatusReporter
from lsp_server.settings import Settings
from tests.remote_server import running, write_tokenizer

REQUEST = GenerationRequest((5,), 10)


class FakeServer:
    """A server that keeps the status notifications, and whose client shows no progress."""

    client_capabilities = types.ClientCapabilities()

    def __init__(self) -> None:
        self.protocol = self
        self.sent: list[Any] = []
        self.messages: list[str] = []

    def notify(self, method: str, params: Any) -> None:
        self.sent.append(params)

    def window_show_message(self, params: Any) -> None:
        self.messages.append(params.message)


@dataclass
class NamedEngine(ScriptedEngine):
    """An engine that can be loading or fail."""

    name: str = ""
    closed: bool = False
    state: EngineState = EngineState.READY
    error: Exception | None = None
    loaded: asyncio.Event = field(default_factory=asyncio.Event)

    async def health(self) -> Health:
        return Health(self.state, f"loading {self.name}")

    async def info(self) -> EngineInfo:
        if self.error is not None:
            raise self.error
        if self.state is not EngineState.READY:
            await self.loaded.wait()
        return EngineInfo(self.name, "", 100, "cpu", "", False)

    async def aclose(self) -> None:
        self.closed = True


class Session:
    """The two engine sessions, and the engines that they made."""

    def __init__(self) -> None:
        self.engines: dict[str, NamedEngine] = {}
        self.server = FakeServer()
        self.status = StatusReporter(self.server)  # type: ignore[arg-type]
        background = BackgroundTasks()
        self.main = EngineSession(
            self.make, Settings(), self.status, background, on_unavailable=lambda: None
        )
        self.chat = ChatEngineSession(self.make, self.main, self.status, background)

    def make(self, choice: EngineChoice) -> NamedEngine:
        name = choice.model or choice.process.model
        self.engines[name] = NamedEngine(lambda _: "words", name=name)
        return self.engines[name]

    async def apply(self, **settings: Any) -> None:
        self.main.apply_settings(Settings(**settings))
        self.chat.apply_settings(Settings(**settings))
        await asyncio.sleep(0.01)

    async def ask(self) -> str:
        await self.chat.current.info()
        return "".join([chunk.text async for chunk in self.chat.current.stream(REQUEST)])


async def test_without_a_chat_model_the_engine_of_completions_is_used() -> None:
    session = Session()
    await session.apply()
    assert session.chat.current is session.main.current
    await session.apply(model="new")
    assert session.chat.current is session.main.current is session.engines["new"]
    assert session.status.current.chat is None


async def test_an_own_engine_is_shown_from_its_first_request_on() -> None:
    session = Session()
    await session.apply(chat_model="words")
    assert session.status.current.chat == ChatStatus("words")
    assert session.engines["words"].requests == []
    assert await session.ask() == "words"
    assert session.status.current.chat == ChatStatus("words", "cpu", State.READY)
    assert session.engines["auto"].requests == []


async def test_counting_the_tokens_of_an_attachment_starts_the_engine_too() -> None:
    session = Session()
    await session.apply(chat_model="words")
    await session.chat.current.tokenizer()
    assert session.status.current.chat == ChatStatus("words", "", State.READY)


async def test_progress_and_error_belong_to_the_chat() -> None:
    session = Session()
    await session.apply(chat_model="words")
    before = session.status.current
    engine = session.engines["words"]
    engine.state = EngineState.LOADING
    asking = asyncio.create_task(session.ask())
    await asyncio.sleep(0.05)
    assert session.status.current.chat == ChatStatus("words", "", State.STARTING, "loading words")
    assert session.status.current.state is before.state
    engine.state, engine.error = EngineState.READY, ModelNotFoundError("No such model.")
    engine.loaded.set()
    assert await asking == "words"
    with pytest.raises(ModelNotFoundError):
        await session.ask()
    chat = session.status.current.chat
    assert chat == ChatStatus("words", "cpu", State.ERROR, "No such model.")
    assert session.status.current.state is before.state
    assert session.server.messages == []
    engine.error = None
    await session.ask()
    assert session.status.current.chat == ChatStatus("words", "cpu", State.READY)


async def test_a_refused_request_is_no_failure_of_the_engine() -> None:
    session = Session()
    await session.apply(chat_model="words")
    await session.ask()
    session.engines["words"].error = RequestError("No such adapter.")
    with pytest.raises(RequestError):
        await session.ask()
    assert session.status.current.chat == ChatStatus("words", "cpu", State.READY)


async def test_a_changed_chat_model_ends_nothing_that_runs() -> None:
    session = Session()
    await session.apply(chat_model="old")
    main = session.main.current
    stream = session.chat.current.stream(REQUEST)
    await anext(stream)
    await session.apply(chat_model="new")
    assert session.status.current.chat == ChatStatus("new")
    assert session.main.current is main
    # The answer of the replaced engine goes on, and does not change the status.
    assert "".join([chunk.text async for chunk in stream]) == "ords"
    assert session.status.current.chat == ChatStatus("new")
    await session.apply()
    assert session.status.current.chat is None
    assert session.chat.own is None
    await session.chat.aclose()
    assert session.engines["old"].closed
    assert session.engines["new"].closed


async def test_settings_that_name_the_same_chat_engine_keep_it() -> None:
    session = Session()
    await session.apply(chat_model="words")
    engine = session.chat.current
    await session.apply(chat_model="words", eagerness="eager", revision="v2")
    assert session.chat.current is engine


def test_nothing_is_sent_while_settings_are_applied() -> None:
    """They are applied before the response to `initialize`."""

    async def apply() -> None:
        session = Session()
        session.chat.apply_settings(Settings(chat_model="words"))
        assert session.server.sent == []

    asyncio.run(apply())


def test_each_engine_gets_the_settings_of_its_model_and_knows_the_other() -> None:
    settings = Settings(
        model="main",
        revision="v2",
        draft_model="small",
        context_window=128,
        dtype="int8",
        device="cpu",
        offline=True,
        idle_timeout_seconds=7,
        chat_model="chat",
    )
    completions, chat = completion_engine(settings), chat_engine(settings)
    assert chat is not None
    assert chat.process == EngineSettings(
        "chat", dtype="int8", device="cpu", offline=True, idle_timeout_s=7
    )
    assert chat.companion == completions.process
    assert completions.companion == chat.process
    plain = completion_engine(settings.model_copy(update={"chat_model": ""}))
    assert plain == completions  # so that a changed chat model does not restart it
    assert plain.companion is None


def test_the_next_process_reserves_memory_for_a_changed_chat_model() -> None:
    status = StatusReporter(FakeServer())  # type: ignore[arg-type]
    session = EngineSession(create_engine, Settings(), status, BackgroundTasks(), lambda: None)
    engine = session.current
    session.apply_settings(Settings(chat_model="words"))
    assert session.current is engine
    assert isinstance(engine, ManagedEngine)
    assert engine.companion == EngineSettings("words")


async def test_the_chats_next_process_reserves_memory_for_a_changed_model() -> None:
    status, background = StatusReporter(FakeServer()), BackgroundTasks()  # type: ignore[arg-type]
    main = EngineSession(create_engine, Settings(), status, background, lambda: None)
    chats: list[ManagedEngine] = []

    def make(choice: EngineChoice) -> ManagedEngine:
        chats.append(ManagedEngine(choice.process, companion=choice.companion))
        return chats[-1]

    session = ChatEngineSession(make, main, status, background)
    session.apply_settings(Settings(chat_model="words"))
    session.apply_settings(Settings(chat_model="words", model="new"))
    (engine,) = chats
    assert engine.companion == EngineSettings("new")


async def test_at_a_url_the_chat_model_is_requested_by_name() -> None:
    url = "http://127.0.0.1:9"
    settings = Settings(engine_url=url, engine_token="secret", tokenizer="a", chat_model="auto")
    choice = chat_engine(settings)
    assert choice is not None
    assert (choice.url, choice.token, choice.model) == (url, "secret", "auto")
    assert "secret" not in repr(choice)
    assert choice.tokenizer is None  # the tokenizer of another model is of no use
    engine = create_engine(choice)
    assert isinstance(engine, RemoteEngine)
    await engine.aclose()
    assert chat_engine(Settings(engine_url=url)) is None


async def test_an_answer_does_not_hide_the_note_on_a_server(tmp_path: Path) -> None:
    async with running() as server:
        server.models = [{"id": "talk"}]
        status, background = StatusReporter(FakeServer()), BackgroundTasks()  # type: ignore[arg-type]
        main = EngineSession(
            lambda _: ScriptedEngine(lambda _: ""), Settings(), status, background, lambda: None
        )
        session = ChatEngineSession(create_engine, main, status, background)
        folder = str(write_tokenizer(tmp_path))
        session.apply_settings(
            Settings(engine_url=server.url, chat_model="talk", chat_tokenizer=folder)
        )
        await asyncio.sleep(0.01)
        chunks = [chunk.text async for chunk in session.current.stream(REQUEST)]
        assert "".join(chunks) == "1"
        chat = status.current.chat
        assert chat is not None
        assert chat.state is State.READY
        assert "2,048 tokens are assumed" in chat.message
        await session.aclose()
