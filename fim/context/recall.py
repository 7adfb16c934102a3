"""Passages of one project: which texts its memory holds, and which of them still count."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from fim.context.files import SourceFiles, Times
from fim.context.open_files import OpenFile
from fim.memory.worker import MemoryWorker
from fim.snapshot import Passage, Snapshot
from syntax.languages import LANGUAGES


class ProjectRecall:
    """Finds passages in the files of a project and in the documents that are open."""

    def __init__(self, files: SourceFiles) -> None:
        self._files = files
        self._worker = MemoryWorker(self._read_outdated)
        self.memory = self._worker.memory
        self.times: Times = {}
        """Modification times of the files on disk that the memory holds."""
        self._open: dict[str, str] = {}
        """The stored texts of the documents that are open and may be shown, by path."""
        self._hidden: set[str] = set()
        """Paths of the open documents that must not be shown."""
        self._outdated: set[str] = set()
        """Paths of files to read again."""
        self._lock = threading.Lock()
        self._num_closed = 0
        """Number of documents closed so far. A request from before a close stores nothing after."""
        self.needs_listing = False
        """Whether git's rules have changed since the files were listed."""

    async def find(
        self,
        snapshot: Snapshot,
        path: str,
        open_files: Sequence[OpenFile],
        max_wait_s: float | None,
    ) -> tuple[Passage, ...]:
        """Return the passages for a snapshot; none if that takes longer than `max_wait_s`."""
        num_closed = self._num_closed

        def find() -> tuple[Passage, ...]:
            for file in open_files:
                self._store(file, num_closed)
            return self.memory.passages(path, snapshot.text, snapshot.cursor, self._usable_files())

        passages = await self._worker.search(find, max_wait_s)
        self._start_build()
        return passages

    def add(self, path: str, text: str) -> None:
        """Store a file on disk, unless it is open in the editor."""
        with self._lock:
            if path not in self._open:
                self.memory.put(path, text)

    def remove(self, path: str) -> None:
        """Forget a file that is not on disk or must not be read any more."""
        with self._lock:
            if path not in self._open:
                self.memory.forget(path)

    def end_listing(self) -> None:
        """Forget open documents that must not be shown any more; index what was added."""
        self.needs_listing = False
        self._hidden.clear()
        for path in list(self._open):
            if not self._files.may_show(path):
                with self._lock:
                    self._hide(path)
        self._start_build()

    def close(self, path: str) -> None:
        """Use the version on disk again after a document was closed."""
        with self._lock:
            self._num_closed += 1
            self._hidden.discard(path)
            if self._open.pop(path, None) is not None:
                self.memory.forget(path)
                self._outdated.add(path)
        self._start_build()

    def stop(self) -> None:
        """Stop indexing."""
        self._worker.stop()

    def _start_build(self) -> None:
        self._worker.start_build(is_outdated=bool(self._outdated))

    def _store(self, file: OpenFile, num_closed: int) -> None:
        """Store the text of an open document if it has changed."""
        path = file.path
        if path in self._hidden or self._open.get(path) is file.text:
            return
        may_show = path in self._open or self._files.may_show(path)
        with self._lock:
            if num_closed != self._num_closed:
                return
            if may_show:
                self._open[path] = file.text
                self.memory.put(path, file.text)
            else:
                self._hide(path)

    def _hide(self, path: str) -> None:
        self._open.pop(path, None)
        self._hidden.add(path)
        self.memory.forget(path)

    def _usable_files(self) -> Callable[[str], bool]:
        """Return a function that says whether what is stored of another document still counts."""
        has_other_rules = self._files.changed_rules()
        answers: dict[str, bool] = {}

        def is_usable(path: str) -> bool:
            if path not in answers:
                self.needs_listing |= has_other_rules(path)
                answers[path] = not has_other_rules(path) and self._is_current(path)
            return answers[path]

        return is_usable

    def _is_current(self, path: str) -> bool:
        if path in self._open:
            # A file without a language may hold anything, for example passwords.
            return Path(path).suffix in LANGUAGES
        if path in self.times and self._files.time(path) == self.times[path]:
            return True
        self.remove(path)
        self._outdated.add(path)
        return False

    def _read_outdated(self) -> None:
        """Read files again that have changed since they were stored."""
        while self._outdated:
            path = self._outdated.pop()
            if path in self._open or path not in self.times:
                continue
            changed, text = self._files.time(path), self._files.read(path)
            if changed is None or text is None:
                self.times.pop(path, None)
                self.remove(path)
            else:
                self.times[path] = changed
                self.add(path, text)
