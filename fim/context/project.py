"""A project's files, indexed in the background, and asked for what helps at a cursor.

Nobody waits for it: what is not found in a moment is there for the next completion. What was found
stays for a while, since another beginning of the prompt would have to be computed anew.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fim.context.gather import related
from fim.context.index import Index
from fim.prompt.window import BLOCK_LINES
from fim.snapshot import Excerpt, Snapshot
from syntax.languages import LANGUAGES

log = logging.getLogger(__name__)

MOST_FILES = 5000
_MOST_BYTES = 200_000
"""A larger file is generated, or data."""
_PATIENCE_S = 0.05
_STAYS_S = 60.0
_LOOK_AGAIN_S = 300.0
_GIT_S = 20.0

_NOT_OURS = frozenset(
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
"""Folders that hold others' code, or what was made of ours."""


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A document as an editor has it now."""

    path: str
    language: str
    text: str
    version: int | None


@dataclass(frozen=True, slots=True)
class _Found:
    block: int
    at: float
    excerpts: tuple[Excerpt, ...]


class Project:
    """One folder. `allowed` says of a path within it whether it may be read."""

    def __init__(
        self,
        root: Path,
        allowed: Callable[[str], bool] = lambda _: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root
        self._allowed, self._clock = allowed, clock
        self._index = Index()
        self._seen: dict[str, int] = {}
        """Files on disk, by when they were changed, in nanoseconds."""
        self._versions: dict[str, int | None] = {}
        """Open files that the index has as the editor has them."""
        self._found: dict[str, _Found] = {}
        self._gathering: set[str] = set()
        self._looked: float | None = None
        self._looking = threading.Lock()
        self._stopped = False

    async def add_project_context(
        self, snapshot: Snapshot, path: str, open_: Iterable[OpenFile]
    ) -> Snapshot:
        """Return the snapshot of a file of the project with what helps of the others."""
        placed = replace(snapshot, project=self.root.name, path=path)
        return replace(placed, excerpts=await self.related(placed, open_))

    async def related(self, snapshot: Snapshot, open_: Iterable[OpenFile]) -> tuple[Excerpt, ...]:
        """Return parts of other files that help at the cursor, the most useful first.

        Waits a moment at most. `open_` are the documents that are open in the project.
        """
        now = self._clock()
        if self._looked is None or now - self._looked > _LOOK_AGAIN_S:
            self._looked = now
            looking = asyncio.get_running_loop().run_in_executor(None, self.scan)
            looking.add_done_callback(_tell)
        block = snapshot.text.count("\n", 0, snapshot.cursor) // BLOCK_LINES
        held = self._found.get(snapshot.uri)
        if held is not None and held.block == block and now - held.at < _STAYS_S:
            return held.excerpts
        before = held.excerpts if held is not None else ()
        if snapshot.uri in self._gathering:
            return before
        self._gathering.add(snapshot.uri)
        work = asyncio.get_running_loop().run_in_executor(
            None, self._gather, snapshot, block, now, list(open_)
        )
        work.add_done_callback(_tell)
        done, _ = await asyncio.wait({work}, timeout=_PATIENCE_S)
        return work.result() if done and work.exception() is None else before

    def scan(self) -> None:
        """Read what is new on disk, and forget what is gone. Takes seconds."""
        with self._looking:
            present = dict(self._on_disk())
            for path in self._seen.keys() - present.keys():
                self._index.remove(path)
            for path, changed in present.items():
                if self._stopped:
                    return
                if self._seen.get(path) != changed and path not in self._versions:
                    self._read(path)
            self._seen = present

    def stop(self) -> None:
        """End the reading: the server is about to, and must not wait for it."""
        self._stopped = True

    def close(self, uri: str, path: str) -> None:
        """A document was closed: what is on disk counts again."""
        self._found.pop(uri, None)
        self._versions.pop(path, None)
        self._seen.pop(path, None)

    def _on_disk(self) -> Iterator[tuple[str, int]]:
        """Yield the files that are not too large, and when each was changed."""
        for path in self._files():
            if self._stopped:
                return
            try:
                stat = (self.root / path).stat()
            except OSError:
                continue
            if stat.st_size <= _MOST_BYTES:
                yield path, stat.st_mtime_ns

    def _read(self, path: str) -> None:
        try:
            text = (self.root / path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return
        self._index.put(path, LANGUAGES[Path(path).suffix], text)

    def _gather(
        self, snapshot: Snapshot, block: int, now: float, open_: list[OpenFile]
    ) -> tuple[Excerpt, ...]:
        try:
            for file in open_:
                changed = self._versions.get(file.path, -1) != file.version
                if file.path != snapshot.path and changed and self._allowed(file.path):
                    self._index.put(file.path, file.language, file.text)
                    self._versions[file.path] = file.version
            recent = frozenset(file.path for file in open_)
            found = related(snapshot, self._index, recent)
            self._found[snapshot.uri] = _Found(block, now, found)
            return found
        finally:
            self._gathering.discard(snapshot.uri)

    def _files(self) -> Iterator[str]:
        """Yield source files within the project that may be read, at most `MOST_FILES`."""
        count = 0
        for path in _tracked(self.root) or _walked(self.root):
            if Path(path).suffix in LANGUAGES and self._allowed(path):
                yield path
                count += 1
                if count == MOST_FILES:
                    return


def _tell(work: asyncio.Future[Any]) -> None:
    """Log a failure: a completion is made without other files then."""
    if not work.cancelled() and (error := work.exception()) is not None:
        log.error("other files could not be read: %s", type(error).__name__)


def _tracked(root: Path) -> list[str]:
    """Return the files that git knows or would take, nothing where there is no git."""
    command = ["git", "-C", str(root), "ls-files", "-z", "-co", "--exclude-standard"]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=_GIT_S)
    except (OSError, subprocess.SubprocessError):
        return []
    return [path for path in done.stdout.decode("utf-8", "replace").split("\0") if path]


def _walked(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            one for one in folders if not one.startswith(".") and one not in _NOT_OURS
        )
        for name in sorted(names):
            yield (Path(folder) / name).relative_to(root).as_posix()
