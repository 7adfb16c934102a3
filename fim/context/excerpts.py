"""Excerpts of other files, recent edits and diagnostics for the prompts of one project.

They stay the same for a while, because other text at the beginning of the prompt would
invalidate the KV cache of all text after them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fim.context.files import MAX_BYTES, OUTDATED, SourceFiles, Times
from fim.context.gather import find_excerpts
from fim.context.index import Index
from fim.context.open_files import OpenFile
from fim.context.problems import nearest_problems
from fim.context.recent_edits import RecentEdits
from fim.prompt.window import BLOCK_LINES
from fim.snapshot import Edit, Excerpt, Problem, Snapshot
from syntax.languages import LANGUAGES

log = logging.getLogger(__name__)

MAX_TEXT_WAIT_S = 0.05
"""Seconds that a request waits for text for the start of its prompt."""
_VALID_S = 60.0


@dataclass(frozen=True, slots=True)
class RelatedText:
    """Text of a project for the start of a prompt."""

    excerpts: tuple[Excerpt, ...] = ()
    """Excerpts of other files, the most useful first."""
    edits: tuple[Edit, ...] = ()
    """Recent edits, the most useful first."""
    problems: tuple[Problem, ...] = ()
    """Diagnostics near the cursor."""


@dataclass(frozen=True, slots=True)
class _CachedText:
    block: int
    """Number of the block of lines in which the cursor was."""
    created: float
    text: RelatedText


class ProjectExcerpts:
    """Finds excerpts, and indexes files for that; records edits."""

    def __init__(self, files: SourceFiles, clock: Callable[[], float] = time.monotonic) -> None:
        self._files, self._clock = files, clock
        self._index = Index()
        self._recent_edits = RecentEdits(files)
        self.times: Times = {}
        """Modification times of the indexed files on disk."""
        self._versions: dict[str, int | None] = {}
        """Versions of the open files that are indexed as they are in the editor."""
        self._cached: dict[str, _CachedText] = {}
        """The last text for each document, by URI."""
        self._gathering: set[str] = set()
        """URIs of the documents for which text is being searched."""

    async def find(
        self, snapshot: Snapshot, open_files: Iterable[OpenFile], max_wait_s: float | None
    ) -> RelatedText:
        """Return excerpts, edits and diagnostics.

        If that takes longer than `max_wait_s`, the text is that of the request before.
        """
        now = self._clock()
        block = snapshot.text.count("\n", 0, snapshot.cursor) // BLOCK_LINES
        cached = self._cached.get(snapshot.uri)
        if cached is not None:
            is_valid = cached.block == block and now - cached.created < _VALID_S
            if is_valid:
                return cached.text
        previous = cached.text if cached is not None else RelatedText()
        if snapshot.uri in self._gathering:
            return previous
        self._gathering.add(snapshot.uri)
        work = asyncio.get_running_loop().run_in_executor(
            None,
            self._gather,
            snapshot,
            block,
            now,
            list(open_files),
            self._recent_edits.num_closed,
        )
        work.add_done_callback(log_failure)
        done, _ = await asyncio.wait({work}, timeout=max_wait_s)
        return work.result() if done and work.exception() is None else previous

    def add(self, path: str, text: str) -> None:
        """Index a file on disk, unless it is open in the editor."""
        if path not in self._versions:
            self._index.add(path, LANGUAGES[Path(path).suffix], text)

    def remove(self, path: str) -> None:
        """Forget a file that is not on disk or must not be read any more."""
        self._index.remove(path)
        self._recent_edits.remove(path)

    def close(self, path: str) -> None:
        """Use the version on disk again after a document was closed."""
        self._cached.clear()  # the text for other documents may be from this one
        self._versions.pop(path, None)
        self.times[path] = OUTDATED
        self._recent_edits.close(path)

    def _gather(
        self,
        snapshot: Snapshot,
        block: int,
        now: float,
        open_files: list[OpenFile],
        num_closed: int,
    ) -> RelatedText:
        """Index the open files that have changed, and select the text for a prompt."""
        try:
            for file in open_files:
                has_changed = self._versions.get(file.path, -1) != file.version
                if len(file.text) > MAX_BYTES:
                    continue  # as on disk
                is_other = file.path != snapshot.path
                if is_other and has_changed and self._files.may_show(file.path):
                    self._index.add(file.path, file.language, file.text)
                    self._versions[file.path] = file.version
            open_paths = frozenset(file.path for file in open_files)
            excerpts = find_excerpts(snapshot, self._index, open_paths)
            self._recent_edits.record(open_files, num_closed)
            edits = self._recent_edits.find(snapshot)
            text = RelatedText(excerpts, edits, nearest_problems(snapshot))
            if num_closed == self._recent_edits.num_closed:
                self._cached[snapshot.uri] = _CachedText(block, now, text)
            return text
        finally:
            self._gathering.discard(snapshot.uri)


def log_failure(work: asyncio.Future[Any]) -> None:
    """Log an error; the completion goes on without other files."""
    if not work.cancelled() and (error := work.exception()) is not None:
        log.error("cannot read other files of the project: %s", type(error).__name__)
