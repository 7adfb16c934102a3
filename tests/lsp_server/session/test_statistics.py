"""Suggestions are counted when they are shown, accepted and kept; their text is never stored."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fim.snapshot import CompletionResult, Snapshot, Source, Suggestion
from lsp_server.session import statistics
from lsp_server.session.statistics import Statistics, read

SNAPSHOT = Snapshot("file:///a.py", "python", "x = \n", 4)


def completion(source: Source, suggestion_id: str = "1") -> CompletionResult:
    suggestion = Suggestion(suggestion_id, "secret_value()", 4, 4, source)
    return CompletionResult((suggestion,), source, "")


class Background:
    """Runs coroutines in the background and waits for them on request."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[Any]] = []

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    async def finish(self) -> None:
        while self.tasks:
            await self.tasks.pop()


@dataclass
class Recording:
    """Statistics and the file that they are written to."""

    recorder: Statistics
    background: Background
    file: Path

    async def counts(self) -> list[statistics.Count]:
        await self.background.finish()
        return read(self.file)


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recording:
    monkeypatch.setattr(statistics, "KEPT_AFTER_S", (("kept 30 s", 0.01), ("kept 5 min", 0.03)))
    background, file = Background(), tmp_path / "deep" / "stats.sqlite3"
    return Recording(Statistics(background.spawn, lambda: "demo", file), background, file)


async def test_a_suggestion_is_counted_once_while_it_is_typed_through(
    recording: Recording,
) -> None:
    recorder = recording.recorder
    recorder.record_shown(SNAPSHOT, completion(Source.MODEL))
    recorder.record_shown(SNAPSHOT, completion(Source.TYPED_THROUGH, "2"))
    recorder.record_shown(SNAPSHOT, CompletionResult((), Source.NONE, "nothing"))
    recorder.record_accepted("2", "all", lambda _: "x = secret_value()  # kept\n")
    (count,) = await recording.counts()
    assert (count.language, count.model) == ("python", "demo")
    assert count.characters == len("secret_value()")
    assert count.events == {"shown": 1, "accepted": 1, "kept 30 s": 1, "kept 5 min": 1}


@pytest.mark.parametrize("text", ["x = 2\n", None])
async def test_a_suggestion_in_a_changed_or_closed_document_was_not_kept(
    recording: Recording, text: str | None
) -> None:
    recorder = recording.recorder
    recorder.record_shown(SNAPSHOT, completion(Source.MODEL))
    recorder.record_accepted("1", "all", lambda _: text)
    recorder.record_accepted("unknown", "all", lambda _: text)
    (count,) = await recording.counts()
    assert count.events == {"shown": 1, "accepted": 1}


async def test_accepted_words_and_lines_are_counted_separately(recording: Recording) -> None:
    recording.recorder.record_shown(SNAPSHOT, completion(Source.MODEL))
    for part in ("word", "word", "line"):
        recording.recorder.record_accepted("1", part, lambda _: "")
    (count,) = await recording.counts()
    assert (count.events["accepted a word"], count.events["accepted a line"]) == (2, 1)
    assert "accepted" not in count.events


async def test_the_file_contains_no_text_and_no_file_name(recording: Recording) -> None:
    recording.recorder.record_shown(SNAPSHOT, completion(Source.MODEL))
    recording.recorder.record_accepted("1", "all", lambda _: "")
    await recording.background.finish()
    content = recording.file.read_bytes()
    assert b"secret_value" not in content
    assert b"a.py" not in content


async def test_a_file_that_cannot_be_written_raises_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    background = Background()
    recorder = Statistics(background.spawn, lambda: "demo", tmp_path / "file" / "stats.sqlite3")
    recorder.record_shown(SNAPSHOT, completion(Source.MODEL))
    await background.finish()


def test_a_file_that_does_not_exist_has_no_counts(tmp_path: Path) -> None:
    assert read(tmp_path / "none") == []


def not_a_database(file: Path) -> None:
    file.write_bytes(b"not a database, but as long as one" * 200)


@pytest.mark.parametrize(
    "damage",
    [not_a_database, Path.mkdir, os.mkfifo, lambda file: file.symlink_to(file.with_name("target"))],
)
async def test_statistics_switch_themselves_off_with_one_log_line(
    tmp_path: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    file, background = tmp_path / "stats.sqlite3", Background()
    damage(file)
    recorder = Statistics(background.spawn, lambda: "demo", file)
    for _ in range(3):
        recorder.record_shown(SNAPSHOT, completion(Source.MODEL))
        recorder.record_accepted("1", "word", lambda _: None)
    await background.finish()
    recorder.record_shown(SNAPSHOT, completion(Source.MODEL))
    assert background.tasks == [], "it goes on after the failure"
    assert [record.levelname for record in caplog.records if record.levelno >= 30] == ["WARNING"]
    assert not (tmp_path / "target").exists()
