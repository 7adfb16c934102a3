"""A project: indexes its files in the background and finds excerpts for the prompt.

A completion request waits only for a moment. Excerpts that are not available then are used by the
next request. Excerpts stay the same for a while, because other excerpts at the beginning of the
prompt would invalidate the KV cache of all text after them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from fim.context.gather import find_excerpts
from fim.context.index import Index
from fim.prompt.window import BLOCK_LINES
from fim.snapshot import Excerpt, Snapshot
from syntax.languages import LANGUAGES
from workspace.files import read_text, regular_file_stat
from workspace.git import GitError, list_files
from workspace.repository import is_ignored

log = logging.getLogger(__name__)

MAX_FILES = 5000
_MAX_BYTES = 200_000
"""Maximum bytes of an indexed file. Larger files are data or generated code."""
_MAX_WAIT_S = 0.05
_EXCERPTS_VALID_S = 60.0
_SCAN_INTERVAL_S = 300.0

_EXCLUDED_FOLDERS = frozenset(
    {
        "node_modules",
        "__pycache__",
        "venv",
        "env",
        "site-packages",
        "target",
        "build",
        "dist",
        "vendor",
        "third_party",
    }
)
"""Folders with third-party code or build results."""


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file as it is open in the editor."""

    path: str
    language: str
    text: str
    version: int | None


@dataclass(frozen=True, slots=True)
class _CachedExcerpts:
    block: int
    """Number of the block of lines in which the cursor was."""
    created: float
    excerpts: tuple[Excerpt, ...]


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
        self._use_git = use_git
        self._is_allowed, self._is_ignored, self._clock = is_allowed, is_ignored, clock
        self._index = Index()
        self._mtimes: dict[str, int] = {}
        """Modification times of the indexed files on disk, in nanoseconds."""
        self._versions: dict[str, int | None] = {}
        """Versions of the open files that are indexed as they are in the editor."""
        self._excerpts: dict[str, _CachedExcerpts] = {}
        """The last excerpts for each document, by URI."""
        self._gathering: set[str] = set()
        """URIs of the documents for which excerpts are being searched."""
        self._last_scan: float | None = None
        self._scan_lock = threading.Lock()
        self._stopped = False

    async def add_project_context(
        self, snapshot: Snapshot, path: str, open_files: Iterable[OpenFile]
    ) -> Snapshot:
        """Add the project, the path `path` and excerpts of other files to a snapshot."""
        in_project = replace(snapshot, project=self.root.name, path=path)
        return replace(in_project, excerpts=await self.excerpts(in_project, open_files))

    async def excerpts(
        self, snapshot: Snapshot, open_files: Iterable[OpenFile]
    ) -> tuple[Excerpt, ...]:
        """Return excerpts of other files, the most useful first; waits `_MAX_WAIT_S` at most."""
        now = self._clock()
        if self._last_scan is None or now - self._last_scan > _SCAN_INTERVAL_S:
            self._last_scan = now
            scanning = asyncio.get_running_loop().run_in_executor(None, self.scan)
            scanning.add_done_callback(_log_failure)
        block = snapshot.text.count("\n", 0, snapshot.cursor) // BLOCK_LINES
        cached = self._excerpts.get(snapshot.uri)
        if cached is not None:
            is_valid = cached.block == block and now - cached.created < _EXCERPTS_VALID_S
            if is_valid:
                return cached.excerpts
        previous = cached.excerpts if cached is not None else ()
        if snapshot.uri in self._gathering:
            return previous
        self._gathering.add(snapshot.uri)
        work = asyncio.get_running_loop().run_in_executor(
            None, self._gather, snapshot, block, now, list(open_files)
        )
        work.add_done_callback(_log_failure)
        done, _ = await asyncio.wait({work}, timeout=_MAX_WAIT_S)
        return work.result() if done and work.exception() is None else previous

    def scan(self) -> None:
        """Index new and changed files on disk, and remove deleted ones. This takes seconds."""
        with self._scan_lock:
            present = dict(self._files_on_disk())
            for path in self._mtimes.keys() - present.keys():
                self._index.remove(path)
            for path, mtime in present.items():
                if self._stopped:
                    return
                if self._mtimes.get(path) != mtime and path not in self._versions:
                    self._read(path)
            self._mtimes = present

    def stop(self) -> None:
        """Stop the scan, because the server exits and must not wait for it."""
        self._stopped = True

    def close(self, uri: str, path: str) -> None:
        """Use the version on disk again after a document was closed."""
        self._excerpts.pop(uri, None)
        self._versions.pop(path, None)
        self._mtimes.pop(path, None)

    def _files_on_disk(self) -> Iterator[tuple[str, int]]:
        """Yield the path and the modification time of each file that is not too large."""
        for path in self._source_files():
            if self._stopped:
                return
            stat = regular_file_stat(self.root / path, inside=self.root)
            if stat is not None and stat.st_size <= _MAX_BYTES:
                yield path, stat.st_mtime_ns

    def _read(self, path: str) -> None:
        try:
            text = read_text(self.root / path, _MAX_BYTES, inside=self.root)
        except (OSError, UnicodeDecodeError):
            return
        self._index.add(path, LANGUAGES[Path(path).suffix], text)

    def _gather(
        self, snapshot: Snapshot, block: int, now: float, open_files: list[OpenFile]
    ) -> tuple[Excerpt, ...]:
        """Index the open files that have changed, and search excerpts."""
        try:
            for file in open_files:
                has_changed = self._versions.get(file.path, -1) != file.version
                if len(file.text) > _MAX_BYTES:
                    continue  # as on disk
                if file.path != snapshot.path and has_changed and self._may_show(file.path):
                    self._index.add(file.path, file.language, file.text)
                    self._versions[file.path] = file.version
            open_paths = frozenset(file.path for file in open_files)
            excerpts = find_excerpts(snapshot, self._index, open_paths)
            self._excerpts[snapshot.uri] = _CachedExcerpts(block, now, excerpts)
            return excerpts
        finally:
            self._gathering.discard(snapshot.uri)

    def _may_show(self, path: str) -> bool:
        """Whether prompts may contain an open document."""
        file = self.root / path
        return self._is_allowed(file) and not self._is_ignored(file)

    def _source_files(self) -> Iterator[str]:
        """Yield the paths of source files that may be read, at most `MAX_FILES`."""
        source_files = (path for path in self._files() if Path(path).suffix in LANGUAGES)
        allowed = (path for path in source_files if self._is_allowed(self.root / path))
        return islice(allowed, MAX_FILES)

    def _files(self) -> Iterable[str]:
        """Return the paths of all files that git tracks or does not ignore."""
        if self._use_git:
            with suppress(GitError):
                return list_files(self.root, untracked=True, should_stop=lambda: self._stopped)
        real_root = Path(os.path.realpath(self.root))
        return (path for path in _all_files(self.root) if not is_ignored(real_root / path))


def _log_failure(work: asyncio.Future[Any]) -> None:
    """Log an error; the completion goes on without other files."""
    if not work.cancelled() and (error := work.exception()) is not None:
        log.error("cannot read other files of the project: %s", type(error).__name__)


def _all_files(root: Path) -> Iterator[str]:
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(
            name
            for name in subfolders
            if not name.startswith(".") and name not in _EXCLUDED_FOLDERS
        )
        for name in sorted(names):
            yield (Path(folder) / name).relative_to(root).as_posix()
