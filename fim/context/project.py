"""A project: indexes its files in the background, for excerpts and passages.

A completion request waits only for a moment. What is not available then is used by the next one.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from fim.context.excerpts import MAX_TEXT_WAIT_S, ProjectExcerpts, RelatedText, log_failure
from fim.context.files import SourceFiles
from fim.context.open_files import OpenFile
from fim.context.recall import ProjectRecall
from fim.memory.worker import MAX_WAIT_S
from fim.snapshot import Passage, Snapshot

_SCAN_INTERVAL_S = 300.0
_MIN_SCAN_INTERVAL_S = 5.0
"""Seconds between two scans when git's rules change."""


_User = ProjectExcerpts | ProjectRecall


class Project:
    """The files of one folder."""

    def __init__(
        self,
        root: Path,
        is_allowed: Callable[[Path], bool] = lambda _: True,
        is_ignored: Callable[[Path], bool] = lambda _: False,
        clock: Callable[[], float] = time.monotonic,
        *,
        use_git: bool = True,
    ) -> None:
        """`is_allowed` says whether prompts may contain a file, `is_ignored` if git ignores it.

        Both are called in threads and may read the disk.
        """
        self.root = root
        self._clock = clock
        self._files = SourceFiles(root, is_allowed, is_ignored, use_git=use_git)
        self._excerpts = ProjectExcerpts(self._files, clock)
        self._recall = ProjectRecall(self._files)
        self._users: tuple[_User, ...] = ()
        """What the files have been read for so far, in the background."""
        self._last_scan: float | None = None
        self._scan_lock = threading.Lock()

    async def add_excerpts(
        self,
        snapshot: Snapshot,
        path: str,
        open_files: Iterable[OpenFile],
        max_wait_s: float | None = MAX_TEXT_WAIT_S,
    ) -> Snapshot:
        """Add the project, the path `path`, excerpts of other files and edits to a snapshot.

        Of its diagnostics, those that are useful at the cursor remain.
        """
        in_project = replace(snapshot, project=self.root.name, path=path)
        text = await self.related_text(in_project, open_files, max_wait_s)
        return replace(in_project, excerpts=text.excerpts, edits=text.edits, problems=text.problems)

    async def related_text(
        self,
        snapshot: Snapshot,
        open_files: Iterable[OpenFile],
        max_wait_s: float | None = MAX_TEXT_WAIT_S,
    ) -> RelatedText:
        """Return text for the start of a prompt at the cursor.

        If that takes longer than `max_wait_s`, the text is that of the request before.
        """
        self._scan_if_needed(self._excerpts)
        return await self._excerpts.find(snapshot, open_files, max_wait_s)

    async def passages(
        self,
        snapshot: Snapshot,
        path: str,
        open_files: Iterable[OpenFile],
        max_wait_s: float | None = MAX_WAIT_S,
    ) -> tuple[Passage, ...]:
        """Return places of the project where the output may occur, the longest match first.

        None are returned if that takes longer than `max_wait_s`, if it is not None.
        """
        passages = await self._recall.find(snapshot, path, list(open_files), max_wait_s)
        self._scan_if_needed(self._recall)
        return passages

    def scan(self, users: Sequence[_User] | None = None) -> None:
        """Index new and changed files on disk, and remove deleted ones. This takes seconds.

        `users` says what for; without it, for excerpts and passages.
        """
        users = (self._excerpts, self._recall) if users is None else users
        with self._scan_lock:
            present = self._files.times()
            for user in users:
                for path in user.times.keys() - present.keys():
                    user.times.pop(path, None)
                    user.remove(path)
            for path, changed in present.items():
                outdated = [user for user in users if user.times.get(path) != changed]
                if self._files.stopped:
                    return
                text = self._files.read(path) if outdated else None
                for user in outdated:
                    user.times[path] = changed
                    if text is None:
                        user.remove(path)
                    else:
                        user.add(path, text)
        self._recall.end_listing()

    def build_memory(self) -> None:
        """Index the files for passages now, not in the background as usual."""
        self._recall.memory.build()

    def stop(self) -> None:
        """Stop the scan, because the server exits and must not wait for it."""
        self._files.stop()
        self._recall.stop()

    def close(self, path: str) -> None:
        """Use the version on disk again after a document was closed."""
        self._excerpts.close(path)
        self._recall.close(path)

    def _scan_if_needed(self, user: _User) -> None:
        """Scan in the background for a new use, after some time, or when git's rules change."""
        now = self._clock()
        elapsed = math.inf if self._last_scan is None else now - self._last_scan
        is_due = self._recall.needs_listing and elapsed > _MIN_SCAN_INTERVAL_S
        if user in self._users and not is_due and elapsed <= _SCAN_INTERVAL_S:
            return
        self._last_scan = now
        self._users = tuple(dict.fromkeys((*self._users, user)))
        work = asyncio.get_running_loop().run_in_executor(None, self.scan, self._users)
        work.add_done_callback(log_failure)
