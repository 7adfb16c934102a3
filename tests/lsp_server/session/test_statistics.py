"""Suggestions are counted on this machine: what was shown, taken, kept; never any text."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from typer.testing import CliRunner

from fim.snapshot import CompletionResult, Snapshot, Source, Suggestion
from lsp_server.cli.app import app
from lsp_server.session import statistics
from lsp_server.session.statistics import Statistics, read
from tests.e2e.client import scripted, start

HERE = Snapshot("file:///a.py", "python", "x = \n", 4)


def answer(source: Source, name: str = "1") -> CompletionResult:
    one = Suggestion(name, "secret_value()", 4, 4, source)
    return CompletionResult((one,), source, "")


class Spawner:
    """Runs what is spawned, and waits for it when asked to."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[Any]] = []

    def __call__(self, work: Coroutine[Any, Any, Any]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    async def done(self) -> None:
        while self.tasks:
            await self.tasks.pop()


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Statistics, Spawner, Path]:
    monkeypatch.setattr(statistics, "KEPT_AFTER_S", (("kept 30 s", 0.01), ("kept 5 min", 0.03)))
    spawn, file = Spawner(), tmp_path / "deep" / "stats.sqlite3"
    made = Statistics(spawn, file)
    made.model = "demo"
    return made, spawn, file


async def test_a_suggestion_is_counted_once_however_far_it_is_typed_along(
    counted: tuple[Statistics, Spawner, Path],
) -> None:
    made, spawn, file = counted
    made.shown(HERE, answer(Source.MODEL))
    made.shown(HERE, answer(Source.TYPED_THROUGH, "2"))
    made.shown(HERE, CompletionResult((), Source.NONE, "nothing"))
    made.accepted("2", "all", lambda _: "x = secret_value()  # kept\n")
    await spawn.done()
    (row,) = read(file)
    assert (row.language, row.model, row.characters) == ("python", "demo", len("secret_value()"))
    assert row.events == {"shown": 1, "accepted": 1, "kept 30 s": 1, "kept 5 min": 1}


@pytest.mark.parametrize("text", ["x = 2\n", None])
async def test_what_was_changed_or_closed_was_not_kept(
    counted: tuple[Statistics, Spawner, Path], text: str | None
) -> None:
    made, spawn, file = counted
    made.shown(HERE, answer(Source.MODEL))
    made.accepted("1", "all", lambda _: text)
    made.accepted("unknown", "all", lambda _: text)
    await spawn.done()
    assert read(file)[0].events == {"shown": 1, "accepted": 1}


async def test_words_and_lines_are_counted_apart(
    counted: tuple[Statistics, Spawner, Path],
) -> None:
    made, spawn, file = counted
    made.shown(HERE, answer(Source.MODEL))
    for part in ("word", "word", "line"):
        made.accepted("1", part, lambda _: "")
    await spawn.done()
    events = read(file)[0].events
    assert (events["accepted a word"], events["accepted a line"]) == (2, 1)
    assert "accepted" not in events


async def test_no_text_and_no_name_is_in_the_file(
    counted: tuple[Statistics, Spawner, Path],
) -> None:
    made, spawn, file = counted
    made.shown(HERE, answer(Source.MODEL))
    made.accepted("1", "all", lambda _: "")
    await spawn.done()
    content = file.read_bytes()
    assert b"secret_value" not in content
    assert b"a.py" not in content


async def test_a_file_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    spawn = Spawner()
    (tmp_path / "file").write_text("")
    made = Statistics(spawn, tmp_path / "file" / "stats.sqlite3")
    made.shown(HERE, answer(Source.MODEL))
    await spawn.done()
    assert read(tmp_path / "none") == []


def events_in(file: Path) -> dict[str, int]:
    try:
        return {what: n for one in read(file) for what, n in one.events.items()}
    except sqlite3.OperationalError:  # the table is being made
        return {}


@pytest.mark.parametrize("wanted", [True, False])
async def test_the_server_counts_unless_told_not_to(tmp_path: Path, wanted: bool) -> None:
    file = tmp_path / "stats.sqlite3"
    environment = {"STARCODER_LSP_STATISTICS": str(file)}
    settings = {"statistics": wanted}
    async with start(scripted("1 + 1"), settings=settings, environment=environment) as editor:
        editor.open("x = ")
        answered: Any = await asyncio.wrap_future(editor.ask(4))
        item = answered.items[0]
        params = types.ExecuteCommandParams(item.command.command, item.command.arguments)
        await editor.client.workspace_execute_command_async(params)
        expected = {"shown": 1, "accepted": 1} if wanted else {}
        deadline = time.monotonic() + (20 if wanted else 0.5)
        while events_in(file) != expected or (not wanted and time.monotonic() < deadline):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
    assert file.exists() is wanted


def test_the_command_shows_and_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "stats.sqlite3"
    monkeypatch.setenv("STARCODER_LSP_STATISTICS", str(file))
    assert json.loads(CliRunner().invoke(app, ["stats", "--json"]).output) == []
    statistics.write(file, (1.0, "shown", "go", "demo", 3))
    assert json.loads(CliRunner().invoke(app, ["stats", "--json"]).output)[0]["events"] == {
        "shown": 1
    }
    assert json.loads(CliRunner().invoke(app, ["stats", "--json", "--days", "1"]).output) == []
    assert "go" in CliRunner().invoke(app, ["stats"]).output
    CliRunner().invoke(app, ["stats", "--forget"])
    assert not file.exists()
    file.write_text("no database, but long enough to be looked at " * 9)
    refused = CliRunner().invoke(app, ["stats"])
    assert refused.exit_code == 1
    assert "Delete it" in refused.output
    with pytest.raises(sqlite3.Error):
        read(file)
