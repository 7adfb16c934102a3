"""What became of suggestions, counted on this machine and sent nowhere.

One SQLite file holds events: when, what, in which language, by which model, how many characters.
No text and no file name is ever in it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from fim.snapshot import CompletionResult, Snapshot, Source

log = logging.getLogger(__name__)

KEPT_AFTER_S = (("kept 30 s", 30.0), ("kept 5 min", 300.0))
"""Whether what was accepted still stands there after a while."""

_VARIABLE = "STARCODER_LSP_STATISTICS"
_REMEMBERED = 200
_NEW = frozenset({Source.MODEL, Source.JOINED})
"""Answers that bring a suggestion; the others bring the rest of one that was counted."""

_TABLE = """
create table if not exists events (
    time real not null, what text not null, language text not null, model text not null,
    characters integer not null
)
"""


def statistics_file() -> Path:
    """Return where the numbers are; `STARCODER_LSP_STATISTICS` names another file."""
    named = os.environ.get(_VARIABLE)
    return Path(named) if named else platformdirs.user_data_path("starcoder-lsp") / "stats.sqlite3"


@dataclass(frozen=True, slots=True)
class _Offer:
    uri: str
    language: str
    text: str


class Statistics:
    """Counts for one editor window; several may write to one file."""

    def __init__(
        self, spawn: Callable[[Coroutine[Any, Any, Any]], None], file: Path | None = None
    ) -> None:
        self._spawn = spawn
        self._file = file or statistics_file()
        self._offers: OrderedDict[str, _Offer] = OrderedDict()
        self.model = ""

    def shown(self, snapshot: Snapshot, result: CompletionResult) -> None:
        """Count the suggestions of an answer."""
        for one in result.suggestions:
            self._offers[one.id] = _Offer(snapshot.uri, snapshot.language_id, one.text)
            if result.source in _NEW:
                self._note("shown", snapshot.language_id, len(one.text))
        while len(self._offers) > _REMEMBERED:
            self._offers.popitem(last=False)

    def accepted(self, suggestion_id: str, part: str, text_of: Callable[[str], str | None]) -> None:
        """Count an acceptance of `part`: all, word or line; look later whether it was kept.

        `text_of` returns a document's text by its URI, None once it is closed.
        """
        offer = self._offers.get(suggestion_id)
        if offer is None:
            return
        what = "accepted" if part == "all" else f"accepted a {part}"
        self._note(what, offer.language, len(offer.text))
        if part == "all":
            for name, seconds in KEPT_AFTER_S:
                self._spawn(self._look_later(offer, name, seconds, text_of))

    async def _look_later(
        self, offer: _Offer, name: str, seconds: float, text_of: Callable[[str], str | None]
    ) -> None:
        await asyncio.sleep(seconds)
        text = text_of(offer.uri)
        if text is not None and offer.text.strip() in text:
            self._note(name, offer.language, len(offer.text))

    def _note(self, what: str, language: str, characters: int) -> None:
        row = (time.time(), what, language, self.model, characters)
        self._spawn(asyncio.to_thread(write, self._file, row))


def write(file: Path, row: tuple[float, str, str, str, int]) -> None:
    """Add an event; a file that cannot be written costs a line in the log and nothing else."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file, timeout=5.0)) as base, base:
            base.execute(_TABLE)
            base.execute("insert into events values (?, ?, ?, ?, ?)", row)
    except (OSError, sqlite3.Error) as error:
        log.warning("statistics are not kept: %s", error)


@dataclass(frozen=True, slots=True)
class Count:
    """Events of one language and model."""

    language: str
    model: str
    events: dict[str, int]
    characters: int
    """Accepted."""


def read(file: Path, days: float | None = None) -> list[Count]:
    """Return counts by language and model, most shown first; empty where nothing was counted.

    Raises sqlite3.Error for a file that holds something else.
    """
    if not file.exists():
        return []
    since = 0.0 if days is None else time.time() - days * 86400
    found: dict[tuple[str, str], Count] = {}
    with closing(sqlite3.connect(file)) as base:
        rows = base.execute(
            "select language, model, what, count(*), sum(characters) from events "
            "where time >= ? group by language, model, what",
            (since,),
        ).fetchall()
    for language, model, what, count, characters in rows:
        one = found.setdefault((language, model), Count(language, model, {}, 0))
        one.events[what] = count
        if what == "accepted":
            found[language, model] = Count(language, model, one.events, characters)
    return sorted(found.values(), key=lambda one: -one.events.get("shown", 0))
