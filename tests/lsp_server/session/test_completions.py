"""A completion session decides whether to ask the model, and reports the outcome."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pygls.workspace import Workspace

from engine.api import Engine
from engine.errors import EngineUnavailableError
from engine.scripted import ScriptedEngine
from fim.snapshot import Snapshot, Source, Trigger
from lsp_server.session.background_tasks import BackgroundTasks
from lsp_server.session.completions import CompletionSession
from lsp_server.session.engine_session import EngineSession
from lsp_server.session.projects import Projects
from lsp_server.session.statistics import Statistics
from lsp_server.session.status import State, StatusReporter
from lsp_server.session.workspace_documents import WorkspaceDocuments
from lsp_server.settings import Settings

SETTINGS = Settings(eagerness="eager", statistics=False)
SNAPSHOT = Snapshot("file:///project/a.py", "python", "x = \n", 4)


class FakeServer:
    """Receives the notifications and messages of a status reporter."""

    def __init__(self) -> None:
        self.protocol = self
        self.messages: list[str] = []

    def notify(self, method: str, params: Any) -> None:
        pass

    def window_show_message(self, params: Any) -> None:
        self.messages.append(params.message)


class UnreachableEngine(ScriptedEngine):
    """An engine whose process does not answer."""

    async def info(self) -> Any:
        raise EngineUnavailableError("No engine answers.")

    async def tokenizer(self, adapter: str | None = None) -> Any:
        raise EngineUnavailableError("No engine answers.")


class Session:
    """A completion session with its parts, without a connection to a client."""

    def __init__(self, engine: Engine, settings: Settings, folder: Path) -> None:
        self.server = FakeServer()
        self.background = BackgroundTasks()
        self.status = StatusReporter(self.server)  # type: ignore[arg-type]
        workspace = Workspace(folder.as_uri())
        self.engine = EngineSession(
            lambda _: engine,
            settings,
            self.status,
            self.background,
            on_unavailable=lambda: self.completions.forget_model(),
        )
        statistics = Statistics(self.background.spawn, lambda: "scripted", folder / "stats")
        self.completions = CompletionSession(
            settings, self.engine, WorkspaceDocuments(lambda: workspace), self.status, statistics
        )


async def test_a_suggestion_is_returned_and_shown_in_the_status(tmp_path: Path) -> None:
    session = Session(ScriptedEngine(lambda _: "1 + 1"), SETTINGS, tmp_path)
    result = await session.completions.complete(SNAPSHOT, Trigger.AUTOMATIC)
    assert [suggestion.text for suggestion in result.suggestions] == ["1 + 1"]
    assert session.status.current.suggested
    assert session.status.current.asked == 1


@pytest.mark.parametrize(
    ("changes", "trigger", "reason"),
    [
        ({"enabled": False}, Trigger.INVOKED, "switched off"),
        ({"disabled_languages": ("python",)}, Trigger.AUTOMATIC, "switched off for python"),
        ({"exclude": ("*.py",)}, Trigger.INVOKED, "a.py is excluded by starcoder.exclude"),
    ],
)
async def test_the_engine_is_not_asked_where_nothing_may_be_suggested(
    tmp_path: Path, changes: dict[str, Any], trigger: Trigger, reason: str
) -> None:
    engine = ScriptedEngine(lambda _: "1 + 1")
    session = Session(engine, SETTINGS.model_copy(update=changes), tmp_path)
    result = await session.completions.complete(SNAPSHOT, trigger)
    assert result.suggestions == ()
    assert session.status.current.why == reason
    assert engine.requests == []


async def test_changed_settings_are_used_for_the_next_request(tmp_path: Path) -> None:
    session = Session(ScriptedEngine(lambda _: "1 + 1"), SETTINGS, tmp_path)
    session.completions.apply_settings(SETTINGS.model_copy(update={"enabled": False}))
    result = await session.completions.complete(SNAPSHOT, Trigger.AUTOMATIC)
    assert result.source is Source.NONE


async def test_another_engine_drops_the_cache_and_another_chat_model_does_not(
    tmp_path: Path,
) -> None:
    first, second = ScriptedEngine(lambda _: "1 + 1"), ScriptedEngine(lambda _: "2 + 2")
    session = Session(first, SETTINGS, tmp_path)
    for changes, engine, expected, source in (
        ({}, first, "1 + 1", Source.MODEL),
        ({"chat_model": "demo"}, first, "1 + 1", Source.CACHE),
        ({"model": "demo"}, second, "2 + 2", Source.MODEL),
    ):
        session.engine.current = engine
        session.completions.apply_settings(SETTINGS.model_copy(update=changes))
        result = await session.completions.complete(SNAPSHOT, Trigger.AUTOMATIC)
        assert [suggestion.text for suggestion in result.suggestions] == [expected]
        assert result.source is source


async def test_an_unreachable_engine_gives_no_suggestion_and_one_message(tmp_path: Path) -> None:
    session = Session(UnreachableEngine(lambda _: ""), SETTINGS, tmp_path)
    for _ in range(2):
        result = await session.completions.complete(SNAPSHOT, Trigger.INVOKED)
        assert result.suggestions == ()
    assert session.status.current.state is State.ERROR
    assert session.server.messages == ["No engine answers."]


async def test_closing_a_document_cancels_its_request(tmp_path: Path) -> None:
    engine = ScriptedEngine(lambda _: "1 + 1", seconds_per_token=0.05)
    session = Session(engine, SETTINGS, tmp_path)
    request = asyncio.create_task(session.completions.complete(SNAPSHOT, Trigger.INVOKED))
    while not engine.tokens_written:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    session.completions.close_document(SNAPSHOT.uri)
    assert (await request).source is Source.NONE


@pytest.mark.parametrize(
    ("changes", "num_stopped"), [({"exclude": ("*.txt",)}, 1), ({"eagerness": "reserved"}, 0)]
)
async def test_files_are_read_again_only_if_other_ones_are_excluded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], num_stopped: int
) -> None:
    session = Session(ScriptedEngine(lambda _: ""), SETTINGS, tmp_path)
    stopped: list[Projects] = []
    monkeypatch.setattr(Projects, "stop", lambda projects: stopped.append(projects))
    session.completions.apply_settings(SETTINGS.model_copy(update=changes))
    assert len(stopped) == num_stopped
