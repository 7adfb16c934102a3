"""Counts of suggestions that were shown, accepted and kept; they stay on this machine.

One SQLite file contains events: time, event, language, model, number of characters. It never
contains text or file names.
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

from engine.private_files import open_private_file
from fim.snapshot import CompletionResult, Snapshot, Source

log = logging.getLogger(__name__)

KEPT_AFTER_S = (("kept 30 s", 30.0), ("kept 5 min", 300.0))
"""Events that record whether an accepted suggestion is still in the document, and after how many
seconds."""

_VARIABLE = "STARCODER_LSP_STATISTICS"
_MAX_OFFERS = 200
"""Number of shown suggestions that can still be reported as accepted."""
_NEW_SUGGESTION = frozenset({Source.MODEL, Source.JOINED})
"""Sources of new suggestions; others continue a suggestion that is already counted."""

_TABLE = """
create table if not exists events (
    time real not null, what text not null, language text not null, model text not null,
    characters integer not null
)
"""

Event = tuple[float, str, str, str, int]
"""One row: time in seconds since 1970, event, language, model, number of characters."""


def statistics_file() -> Path:
    """Return the path of the file; `STARCODER_LSP_STATISTICS` overrides the default."""
    override = os.environ.get(_VARIABLE)
    if override:
        return Path(override)
    return platformdirs.user_data_path("starcoder-lsp") / "stats.sqlite3"


@dataclass(frozen=True, slots=True)
class _Offer:
    """A suggestion that was shown."""

    uri: str
    language: str
    text: str


class Statistics:
    """Records the events of one editor window; several windows may write to one file."""

    def __init__(
        self,
        spawn: Callable[[Coroutine[Any, Any, Any]], None],
        current_model: Callable[[], str],
        file: Path | None = None,
    ) -> None:
        self._spawn = spawn
        self._current_model = current_model
        self._file = file or statistics_file()
        self._offers: OrderedDict[str, _Offer] = OrderedDict()
        self._is_usable = True
        """Whether the file could be written so far; after the first failure nothing is recorded."""

    def record_shown(self, snapshot: Snapshot, result: CompletionResult) -> None:
        """Record the suggestions of a completion request."""
        for suggestion in result.suggestions:
            offer = _Offer(snapshot.uri, snapshot.language_id, suggestion.text)
            self._offers[suggestion.id] = offer
            if suggestion.source in _NEW_SUGGESTION:
                self._record("shown", offer)
        while len(self._offers) > _MAX_OFFERS:
            self._offers.popitem(last=False)

    def record_accepted(
        self, suggestion_id: str, part: str, text_of: Callable[[str], str | None]
    ) -> None:
        """Record that `part` of a suggestion was accepted: `all`, `word` or `line`.

        A complete suggestion is looked up again later, to see whether it was kept. `text_of`
        returns a document's text by its URI, None if it is closed.
        """
        offer = self._offers.get(suggestion_id)
        if offer is None:
            return
        self._record("accepted" if part == "all" else f"accepted a {part}", offer)
        if part == "all":
            for event, seconds in KEPT_AFTER_S:
                self._spawn(self._record_if_kept(offer, event, seconds, text_of))

    async def _record_if_kept(
        self, offer: _Offer, event: str, seconds: float, text_of: Callable[[str], str | None]
    ) -> None:
        await asyncio.sleep(seconds)
        text = text_of(offer.uri)
        if text is not None and offer.text.strip() in text:
            self._record(event, offer)

    def _record(self, event: str, offer: _Offer) -> None:
        if self._is_usable:
            row = (time.time(), event, offer.language, self._current_model(), len(offer.text))
            self._spawn(self._write(row))

    async def _write(self, row: Event) -> None:
        if not await asyncio.to_thread(write, self._file, row) and self._is_usable:
            self._is_usable = False
            log.warning("statistics are off until the server is restarted")


def write(file: Path, event: Event) -> bool:
    """Add an event; return whether the file could be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(open_private_file(file, os.O_CREAT | os.O_RDWR, repair=True))
        with closing(sqlite3.connect(file, timeout=5.0)) as database, database:
            database.execute(_TABLE)
            database.execute("insert into events values (?, ?, ?, ?, ?)", event)
    except (OSError, sqlite3.Error) as error:
        log.info("%s cannot be written: %s", file, error)
        return False
    return True


@dataclass(frozen=True, slots=True)
class Count:
    """The events of one language and model."""

    language: str
    model: str
    events: dict[str, int]
    """Number of events by name."""
    characters: int
    """Number of characters in accepted suggestions."""


def read(file: Path, days: float | None = None) -> list[Count]:
    """Return counts by language and model, most shown first; empty if the file does not exist.

    Only events of the last `days` days are counted. Raises sqlite3.Error if the file is not a
    database of statistics.
    """
    if not file.exists():
        return []
    since = 0.0 if days is None else time.time() - days * 86400
    with closing(sqlite3.connect(file)) as database:
        rows = database.execute(
            "select language, model, what, count(*), sum(characters) from events "
            "where time >= ? group by language, model, what",
            (since,),
        ).fetchall()
    counts: dict[tuple[str, str], Count] = {}
    for language, model, event, number, characters in rows:
        key = (language, model)
        count = counts.setdefault(key, Count(language, model, {}, 0))
        count.events[event] = number
        if event == "accepted":
            counts[key] = Count(language, model, count.events, characters)
    return sorted(counts.values(), key=lambda count: -count.events.get("shown", 0))
